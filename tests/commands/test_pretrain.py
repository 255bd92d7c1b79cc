from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from pretrain.loop import EpochReport
from tests.pretrain.written_dataset import write_dataset, write_training
from tmrl_ray import cli
from tmrl_ray.commands.pretrain import _Bars, _show_epochs


@pytest.fixture(scope="module")
def arguments(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("pretrain")
    return [
        "--serial",
        f"rl_config_path={write_training(folder / 'training.yaml')}",
        f"data_dir={write_dataset(folder / 'races', maps=3)}",
        f"preprocess_cache_dir={folder / 'cache'}",
        "device=cpu",
        "threads=1",
        "batch_size=32",
        "epochs=1",
    ]


def test_both_stages_in_one_process(arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = f"run.folder={tmp_path}"
    assert cli.run(["pretrain", "visual", *arguments, folder, "mixture={ae: 1, simclr: 0.5}"]) == 0
    told = capsys.readouterr().out
    assert "samples of 2 maps" in told
    assert "more than an untrained one" in told
    assert "r2_pixels" in told
    assert f"learner.pretrained={tmp_path / 'vis'}" in told
    assert cli.run(["pretrain", "bc", *arguments, folder, f"encoder_init_path={tmp_path / 'vis'}"]) == 0
    assert "val copy last acc" in capsys.readouterr().out
    assert (tmp_path / "bc/best/encoder.safetensors").exists()
    assert cli.run(["pretrain", "bc", *arguments, folder]) == 2
    assert f"tmrl-ray pretrain bc -c {tmp_path / 'bc/config.yaml'} --resume" in capsys.readouterr().err
    assert cli.run(["pretrain", "bc", "-c", str(tmp_path / "bc/config.yaml"), "--serial", "--resume", "epochs=2"]) == 0
    assert "resumed after epoch 1" in capsys.readouterr().out


@pytest.mark.ray
@pytest.mark.slow
def test_a_stage_on_a_cluster_of_its_own(arguments: list[str]) -> None:
    """Paths are relative, as people type them: Ray's workers start in another directory."""
    here = Path(arguments[2].partition("=")[2]).parent
    words = [each.replace(f"{here}/", "") for each in arguments if each != "--serial"]
    with tempfile.TemporaryDirectory(prefix="r") as short:  # the paths of Ray's sockets must be
        done = subprocess.run(
            [sys.executable, "-m", "tmrl_ray.cli", "pretrain", "visual", *words, "run.folder=runs"],
            cwd=here,
            env={**os.environ, "RAY_TMPDIR": short},
            capture_output=True,
            text=True,
            timeout=300,
        )
    assert done.returncode == 0, done.stderr
    assert "announced as number 1 of vis" in done.stdout
    assert (here / "runs/vis/best/encoder.safetensors").exists()


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--submit"], 2, "--submit needs the cluster"),
        (["--serial", "--address", "127.0.0.1:1"], 2, "--serial is without Ray"),
        (["tsak=ae"], 2, "unknown key; did you mean task"),
        (["--serial", "data_dir=nowhere"], 2, "nowhere: there is no such folder"),
    ],
)
def test_mistakes_are_told_at_once(
    more: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["pretrain", "visual", *more]) == status
    assert message in capsys.readouterr().err


def test_a_dry_run_prints_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["pretrain", "bc", "--dry-run", "bc_time_offsets_ms=[0, 50]"]) == 0
    assert "bc_time_offsets_ms:" in capsys.readouterr().out


class Interrupted:
    """A run of four epochs, in one of which Ctrl-C is pressed."""

    def __init__(self, pressed_in: int) -> None:
        self.config = SimpleNamespace(epochs=4)
        self.loop = SimpleNamespace(epoch=0)
        self.told = list[str]()
        self._pressed_in = pressed_in

    def train(self, show: object) -> Iterator[EpochReport]:
        try:
            for epoch in range(1, 5):
                if epoch == self._pressed_in:
                    signal.raise_signal(signal.SIGINT)
                yield EpochReport(epoch, {"train_loss": 1.0, "samples_per_s": 7.0}, 1.0, best=True, stops=False)
            self.told.append("taken over")
        finally:
            self.told.append("closed")

    train_on_ray = train


@pytest.mark.parametrize("serial", [True, False])
def test_ctrl_c_ends_a_stage_with_its_epoch(serial: bool, capsys: pytest.CaptureFixture[str]) -> None:
    """What trains is closed before Ray is, which it needs for that; it promises no more than is saved."""
    run = Interrupted(pressed_in=2)
    assert not _show_epochs(run, _Bars(), serial=serial)  # type: ignore[arg-type]
    assert run.told == ["closed"]
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == f"stopped after epoch 2{'' if serial else ', which may not be saved yet'}"
    assert ("which is saved" in told.err) == serial
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_in_the_last_epoch_changes_nothing() -> None:
    run = Interrupted(pressed_in=4)
    assert _show_epochs(run, _Bars(), serial=False)  # type: ignore[arg-type]
    assert run.told == ["taken over", "closed"]
