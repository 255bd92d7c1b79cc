"""``tmrl-ray record`` and ``tmrl-ray dataset``, as a person types them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.datasets.conftest import FINISHED
from tmrl_ray.cli import run

SHORT = ["cut_offs.race_ms=600", "cut_offs.no_progress_ms=600"]


def tmrl(*arguments: str | Path) -> int:
    return run([str(each) for each in arguments])


def test_record_says_what_it_did_and_goes_on_with_the_rest(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [
        "record",
        "--tracks",
        "loop",
        "--size",
        "24x16",
        "--serial",
        "--out",
        tmp_path / "races",
        *SHORT,
        "--json",
    ]
    assert tmrl(*command, "--races", "1") == 0
    told = json.loads(capsys.readouterr().out)
    assert [race["name"] for race in told["recorded"]] == ["human-0-0000"]
    assert (told["races"], told["frames"]) == (1, 13)
    assert tmrl(*command, "--races", "2") == 0
    captured = capsys.readouterr()
    assert "1 of 2 races are there already" in captured.err
    assert [race["name"] for race in json.loads(captured.out)["recorded"]] == ["human-0-0001"]
    assert tmrl(*command, "--races", "2", "--fps", "10") == 2
    assert "was recorded with another fps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--tracks", "nowhere"], "there is no track 'nowhere'"),
        (["--driver", "inputs", "--races", "1"], "no file is given"),
        (["--run", "runs/none"], "--run goes with --driver trained"),
        (["--driver", "trained", "--run", "runs/none"], "has no evaluated weights"),
        (["--fps", "200"], "200.0 is not in the range"),
    ],
)
def test_record_refuses_what_cannot_be(
    tmp_path: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tmrl("record", "--out", tmp_path, "--serial", *arguments) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_info_shows_figures_and_a_sheet(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tmrl("dataset", "info", recorded, "--sheet", tmp_path / "sheet.png") == 0
    text = capsys.readouterr().out
    assert "3 on 2 maps, 3 with the car's states" in text
    assert "24x16 pixels, every 50 ms" in text
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 1000
    assert tmrl("dataset", "info", recorded, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert len(told["maps"][FINISHED]["finish_times_ms"]) == 2
    assert sum(told["held"].values()) == pytest.approx(1, abs=1e-3)


def test_defects_are_told_and_repaired(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(shutil.copytree(recorded, tmp_path / "races"))
    assert tmrl("dataset", "validate", root) == 0
    assert "3 races, 0 with defects" in capsys.readouterr().out
    sorted(root.glob("loop/*/*.png"))[3].unlink()
    (sorted(root.glob(f"{FINISHED}/*"))[0] / "manifest.json").write_text("{")
    assert tmrl("dataset", "validate", root, "--json") == 1
    told = json.loads(capsys.readouterr().out)
    assert {defect["defect"] for defect in told["defects"]} == {"missing picture", "unreadable"}
    assert tmrl("dataset", "repair", root, "--out", tmp_path / "new") == 0
    assert f"left out: {FINISHED}/human-0-0000" in capsys.readouterr().out
    assert tmrl("dataset", "validate", tmp_path / "new") == 1
    assert "2 races, 1 with defects" in (text := capsys.readouterr().out) and "jump in time" in text
    assert tmrl("dataset", "repair", root, "--out", tmp_path / "new") == 2
    assert "is there already" in capsys.readouterr().err


def test_conversions_and_caches(recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert tmrl("dataset", "convert", recorded, "--to", "parquet", "--out", tmp_path / "shards") == 0
    assert tmrl("dataset", "convert", tmp_path / "shards", "--to", "folders", "--out", tmp_path / "races") == 0
    capsys.readouterr()
    cache = ["dataset", "cache", tmp_path / "races", "--out", tmp_path / "cache", "--json", "frame_size=[12,8]"]
    assert tmrl(*cache) == 0
    first = json.loads(capsys.readouterr().out)
    assert first["built"] and first["races"] == 2 and first["frames_per_s"] > 0
    assert tmrl(*cache) == 0
    again = json.loads(capsys.readouterr().out)
    assert not again["built"] and again["key"] == first["key"]
    assert tmrl(*cache, "frame_sise=3") == 2
    assert "frame_sise" in capsys.readouterr().err
