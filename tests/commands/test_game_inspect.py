"""``tmrl-ray game inspect``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tmrl_ray.cli import run


def test_a_map_is_shown(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "inspect", str(real_data / "gbx" / "ESL-Hockolicious.Challenge.Gbx")]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert "map:         ESL-Hockolicious" in shown
    assert "medals:      author 55.10 s, gold 59.00 s, silver 67.00 s, bronze 83.00 s" in shown
    assert sum(line.startswith("checkpoint") for line in shown) == 13
    assert sum(line.startswith("finish") for line in shown) == 1


def test_a_replay_is_shown_with_its_map(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(real_data / "gbx" / "Rollin_B13-Obstacle.94.Replay.Gbx")
    assert run(["game", "inspect", path]) == 0
    shown = capsys.readouterr().out
    assert "1  24.94 s  8.02 s 14.73 s 20.95 s 24.94 s" in shown
    assert "map:         B13-Obstacle" in shown


def test_json_holds_everything(real_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(real_data / "gbx" / "Rollin_B13-Obstacle.94.Replay.Gbx")
    assert run(["game", "inspect", path, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ghosts"][0]["checkpoint_times_ms"] == [8020, 14730, 20950, 24940]
    assert len(report["map"]["blocks"]) == report["map"]["block_count"] == 216


def test_another_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "text.Gbx"
    path.write_text("no game file")
    assert run(["game", "inspect", str(path)]) == 2
    assert f"error: {path}: not a Gbx file" in capsys.readouterr().err
