"""``tmrl-ray eval``: greedy races with what a run has learned, on its own track and on others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands.test_train import train
from tmrl_ray.cli import run


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a run that has learned next to nothing."""
    folder = tmp_path_factory.mktemp("runs")
    assert train(folder, "training.env_steps=150", "training.report_s=0.1") == 0
    return folder


def evaluate(folder: Path, *words: str) -> int:
    return run(["eval", "quickstart", "--folder", str(folder), *words])


def test_another_track_is_driven(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert evaluate(folder, "--track", "hairpin", "--races", "2", "--json") == 0
    (told,) = json.loads(capsys.readouterr().out)["maps"]
    assert (told["map"], told["races"], told["finished"], told["best_time_s"]) == ("hairpin", 2, 0, None)


@pytest.mark.parametrize("which", ["best", "newest"])
def test_weights_of_either_kind_drive(folder: Path, which: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(folder, "--weights", which, "--races", "1") == 0
    assert "loop: 0 of 1 finished" in capsys.readouterr().out


def test_a_checkpoint_that_a_run_writes_meanwhile_is_left_alone(folder: Path) -> None:
    written = folder / "quickstart" / "checkpoints" / ".partial-checkpoint-000099"
    written.mkdir()
    assert evaluate(folder, "--weights", "newest", "--races", "1") == 0
    assert written.is_dir()


def test_without_a_finish_there_is_nothing_to_film(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert evaluate(folder, "--races", "1", "--json", "--video", str(tmp_path / "best.mp4")) == 1
    told = capsys.readouterr()
    assert json.loads(told.out)["maps"][0]["races"] == 1
    assert "nothing to film" in told.err
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_not_there_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert evaluate(tmp_path) == 2
    assert "quickstart" in capsys.readouterr().err
