from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from pretrain.records import csv_of
from tmrl_ray.analysis.stages import read_all, tables
from tmrl_ray.cli import run
from tmrl_ray.errors import RunError

LOSSES = (1.5, 1.1, 0.9, 1.0, 1.2, 1.3, 1.4)


def write_cloning(folder: Path, shift: float = 0.0) -> Path:
    """Write the figures of seven epochs, of which the third is the best."""
    epochs = [
        {
            "epoch": epoch,
            "train_loss": 2.0 / epoch,
            "val_loss": loss + shift,
            "val_acc": 1 - loss / 2,
            "val_acc_action_left": 0.1 * epoch,
            "val_acc_action_brake": None,
            "val_acc_offset_ms_-10": 0.7,
            "val_acc_offset_ms_100": 0.01 * epoch,
            "val_acc_offset_ms_0": 0.6,
            "val_copy_last_acc_offset_ms_100": 0.5,
        }
        for epoch, loss in enumerate(LOSSES, start=1)
    ]
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(csv_of(epochs))
    return folder


def write_visual(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "metrics.csv").write_text(csv_of([{"epoch": 1, "train_loss": 0.5}, {"epoch": 2, "train_loss": 0.25}]))
    return folder


def test_tables_tell_epochs_actions_and_offsets(tmp_path: Path) -> None:
    runs = read_all([write_cloning(tmp_path / "a/seed-1"), write_cloning(tmp_path / "b/seed-1", 0.5)])
    assert [each.name for each in runs] == ["a/seed-1", "b/seed-1"]
    by_epoch, best, by_action, by_offset = tables(runs, every=5)
    assert by_epoch.columns == ("run", "epoch", "train loss", "loss", "acc", "")
    assert [row[1] for row in by_epoch.rows] == 2 * ["1", "3", "5", "7"]
    assert by_epoch.rows[1] == ["a/seed-1", "3", "0.6667", "0.9000", "0.5500", "best"]
    assert best.columns == ("", "a/seed-1 best", "a/seed-1 last", "b/seed-1 best", "b/seed-1 last")
    assert best.rows[:2] == (["epoch", "3", "7", "3", "7"], ["loss", "0.9000", "1.4000", "1.4000", "1.9000"])
    assert by_action.rows == (["left", "0.3000", "0.3000"],)
    assert [row[0] for row in by_offset.rows] == ["-10", "0", "100"]
    assert by_offset.rows[2] == ["100", "0.0300", "0.5000", "0.0300", "0.5000"]


def test_a_run_without_validation_is_told_by_its_training(tmp_path: Path) -> None:
    (visual,) = read_all([write_visual(tmp_path / "vis")])
    assert (visual.measured, visual.best) == ("train", 1)
    assert [table.title for table in tables([visual])] == ["by epoch", "best and last epoch"]


def test_the_command_prints_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(write_cloning(tmp_path / "bc")), str(write_visual(tmp_path / "vis"))]
    plots = tmp_path / "plots"
    assert run(["analyze", "pretrain", *folders, "--plots", str(plots)]) == 0
    told = capsys.readouterr().out
    assert "accuracy by offset (ms), best epoch:\noffset (ms)" in told
    names = ["accuracy.png", "by_action.png", "by_offset_ms.png", "loss.png"]
    assert sorted(path.name for path in plots.iterdir()) == names
    assert all(min(Image.open(plots / name).size) > 200 for name in names)
    assert run(["analyze", "pretrain", *folders, "--json"]) == 0
    first, second = json.loads(capsys.readouterr().out)["runs"]
    assert (first["best_epoch"], first["last"]["val_loss"], second["epochs"]) == (3, 1.4, 2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no run of a stage"),
        ("epoch,train_loss\n", "no epoch was trained yet"),
        ("epoch,train_loss\n1,much\n", "does not hold figures"),
    ],
)
def test_what_is_no_stage_is_told(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(RunError, match=message):
        read_all([tmp_path])
