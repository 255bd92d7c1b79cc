"""``tmrl-ray inject`` tells what a run would take over, and fails as the run would."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.learner.artifacts import parts_of
from tmrl_ray.cli import run
from tmrl_ray.config.loading import load_config
from tmrl_ray.iqn.network import IQN, build_network
from tmrl_ray.runs.artifact import Artifact, Origin
from tmrl_ray.training import Training

NETWORK = ("game.frame_size=[41,37]", "network.float_hidden=11", "network.head_hidden=13")


@pytest.fixture
def trained() -> IQN:
    training = Training.of(load_config(None, NETWORK))
    return build_network(training.config.network, training.io, seed=5)


@pytest.fixture
def artifact(trained: IQN, tmp_path: Path) -> Path:
    origin = Origin(stage="bc", task="full_policy", run="cloned", epochs_trained=7, epoch=5, metrics={"loss": 0.25})
    Artifact(origin, parts_of(trained)).write(tmp_path / "cloned")
    return tmp_path / "cloned"


def test_a_dry_run_lists_every_tensor(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inject", "--dry-run", *NETWORK, f"learner.pretrained={artifact}"]) == 0
    shown = capsys.readouterr().out
    assert "epoch:    5 of 7 trained" in shown
    (line,) = [line for line in shown.splitlines() if "advantage_head.last.weight" in line]
    assert line.split() == [
        "advantage_head", "advantage_head.last.weight", "12x13", "advantage_head@0ms.safetensors", "times", "0.01",
    ]  # fmt: skip
    assert "(100%)" in shown
    assert f"left out: {artifact}/advantage_head@10ms.safetensors" in shown
    assert run(["inject", "--dry-run", "--json", *NETWORK, f"learner.pretrained.encoder={artifact}"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert {each["part"] for each in told["taken"]} == {"encoder"}
    assert told["artifacts"][str(artifact)]["epochs_trained"] == 7


def test_it_fails_as_the_run_would(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = [*NETWORK, "network.head_hidden=17", f"learner.pretrained={artifact}", f"run.folder={artifact.parent}"]
    assert run(["inject", "--dry-run", *wrong]) == 1
    told = capsys.readouterr().err
    assert "value_head.last.weight is (1, 13), the network has (1, 17)" in told
    assert run(["train", "--serial", *wrong]) == 1
    assert capsys.readouterr().err == told
    assert [path.name for path in artifact.parent.iterdir()] == ["cloned"]  # no run was begun


def test_the_network_that_a_run_begins_with_is_written(artifact: Path, trained: IQN, tmp_path: Path) -> None:
    file = tmp_path / "begin.safetensors"
    wanted = [*NETWORK, f"learner.pretrained.artifact={artifact}", "learner.pretrained.logit_temperature=1.0"]
    assert run(["inject", "--output", str(file), *wanted]) == 0
    written = load_file(file)
    assert all(torch.equal(written[name], tensor) for name, tensor in trained.state_dict().items())


def test_nothing_to_take_over_is_an_error(artifact: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inject", "--dry-run"]) == 2
    assert "names no artifact" in capsys.readouterr().err
    assert run(["inject", f"learner.pretrained={artifact}"]) == 2
    assert "say --dry-run" in capsys.readouterr().err
