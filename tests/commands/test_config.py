"""``tmrl-ray config``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tmrl_ray.cli import run
from tmrl_ray.config.loading import config_hash, load_config
from tmrl_ray.config.run import RunConfig


def test_show_prints_a_configuration_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "show", "game.camera=3", "driver.kind=human"]) == 0
    shown = capsys.readouterr().out
    path = tmp_path / "shown.yaml"
    path.write_text(shown)
    expected = load_config(None, ["game.camera=3", "driver.kind=human"])
    assert load_config(path) == expected
    assert shown.startswith(f"# hash {config_hash(expected)}\n")


def test_show_prints_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "show", "--json", "game.frame_size=[5, 7]"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["config"]["game"]["frame_size"] == [5, 7]
    assert len(shown["hash"]) == 64


def test_show_takes_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("game: {camera: 1}\n")
    assert run(["config", "show", str(path), str(path)]) == 2
    assert "one FILE at most" in capsys.readouterr().err
    assert run(["config", "show", str(tmp_path / "gone.yaml")]) == 2
    assert "gone.yaml' does not exist" in capsys.readouterr().err


def test_explain_narrows_to_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "explain", "driver", "--json"]) == 0
    notes = json.loads(capsys.readouterr().out)["settings"]
    assert {note["path"].partition("[")[0].partition(".")[0] for note in notes} == {"driver"}
    assert run(["config", "explain", "game.camera"]) == 0
    assert capsys.readouterr().out == (
        "game.camera\n    1 far, 2 near chase, 3 internal.\n    must be 1, 2 or 3\n    default: 2\n\n"
    )


def test_explain_of_an_unknown_key_names_the_groups(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "explain", "gmae"]) == 2
    error = capsys.readouterr().err
    assert "'gmae'" in error
    assert all(name in error for name in RunConfig.model_fields)


def test_validate_tells_about_every_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good, bad, worse = (tmp_path / name for name in ("good.yaml", "bad.yaml", "worse.yaml"))
    good.write_text("game: {camera: 1}\n")
    bad.write_text("game: {camera: 4}\n")
    worse.write_text("gmae: {}\n")
    assert run(["config", "validate", str(good), str(bad), str(worse), "game.grey=false"]) == 2
    out, err = capsys.readouterr()
    assert out == f"{good}: valid, hash {config_hash(load_config(good, ['game.grey=false']))}\n"
    assert "game.camera = 4" in err
    assert "did you mean game?" in err
    assert run(["config", "validate", str(good)]) == 0


def test_validate_needs_a_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["config", "validate", "game.camera=3"]) == 2
    assert "no FILE to check" in capsys.readouterr().err
