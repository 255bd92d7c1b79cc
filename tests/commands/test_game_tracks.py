"""``tmrl-ray game tracks``."""

from __future__ import annotations

import json

import pytest

from tmrl_ray.cli import run
from tmrl_ray.simulator.library import held_out_tracks, track_names


def test_shipped_tracks_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "tracks"]) == 0
    header, *rows = capsys.readouterr().out.splitlines()
    assert header.split() == ["track", "length", "(m)", "checkpoints", "laps", "pursuit", "(s)"]
    names = [row.split()[0] for row in rows]
    assert len(names) >= 8
    assert "loop" in names
    assert not any(name.startswith("generated") for name in names)


def test_generated_tracks_are_listed_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "tracks", "--generated", "--json"]) == 0
    tracks = {track["name"]: track for track in json.loads(capsys.readouterr().out)}
    assert list(tracks) == track_names()
    assert len(held_out_tracks()) == 10
    assert all(track["length_m"] > 200 for track in tracks.values())
    assert all(5 < track["pursuit_time_s"] < 120 for track in tracks.values())
    assert tracks["oval"]["laps"] == 3
    assert tracks["loop"]["checkpoints"] == 2
