"""Tracks by name: all that ship can be built, and gates, spawns and lines are where a race needs them."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator import library
from tmrl_ray.simulator.library import TRACKS, load_track, track_names
from tmrl_ray.simulator.ribbon import SPAWN_DROP_M, SURFACE_TO_ORIGIN_M
from tmrl_ray.simulator.track import Material, Paint

SHIPPED = [name for name in track_names() if not name.startswith("generated")]


def test_the_tracks_of_the_quickstart_and_of_the_lessons_are_there() -> None:
    wanted = {
        "loop",
        "hairpin",
        "s_curves",
        "jump_detour",
        "shortcut",
        "dirt",
        "full",
        "long",
        "oval",
        "ice",
        "looping",
    }
    assert set(SHIPPED) == wanted
    assert len(track_names()) == len(wanted) + 50


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_track_is_ready_to_race(name: str) -> None:
    track = load_track(name)
    assert track.name == name
    steps = np.sqrt((np.diff(track.line, axis=0) ** 2).sum(axis=1))
    assert np.abs(steps - 0.5).max() < 0.01
    assert np.abs((np.diff(track.line, axis=0) / steps[:, None] * track.line_up[:-1]).sum(axis=1)).max() < 0.2
    height = (track.spawn.position - track.line[0]) @ track.line_up[0]
    assert height == pytest.approx(SURFACE_TO_ORIGIN_M + SPAWN_DROP_M, abs=1e-3)
    passed = [_passes(track.line, gate) for gate in track.gates]
    assert all(passes for passes in passed)
    if track.laps == 1:
        places = [passes[0] for passes in passed]
        assert places == sorted(places)
        assert len(track.line) - places[-1] > 40  # at least 20 m past the finish
    for gate in track.gates:
        np.testing.assert_allclose(gate.rotation.T @ gate.rotation, np.eye(3), atol=1e-8)
        assert np.linalg.det(gate.rotation) == pytest.approx(1.0)
        beyond = (gate.respawn.position - gate.centre) @ gate.rotation[:, 2]
        assert 1.5 < beyond < 2.5
    for paint in (Paint.FINISH, Paint.CHECKPOINT):
        assert not track.solid[track.paints == paint].any()


def _passes(line: np.ndarray, gate: object) -> list[int]:
    """Samples of the line between which it goes forwards through a gate."""
    local = (line - gate.centre) @ gate.rotation
    through = (local[:-1, 2] < 0) & (local[1:, 2] >= 0)
    inside = (np.abs(local[1:, 0]) <= gate.half_width) & (local[1:, 1] > -1) & (local[1:, 1] < gate.height)
    return np.flatnonzero(through & inside).tolist()


def test_tracks_have_what_their_names_promise() -> None:
    assert load_track("long").line.shape[0] * 0.5 > 4000
    assert len(load_track("long").triangles) >= 12_000
    assert (load_track("dirt").materials == Material.DIRT).sum() > 100
    assert (load_track("ice").materials == Material.ICE).any()
    assert (load_track("full").paints == Paint.TUNNEL).any()
    assert (load_track("full").materials == Material.TURBO).any()
    assert load_track("looping").line_up[:, 1].min() < -0.8
    assert 500 < len(load_track("loop").line) * 0.5 < 700
    assert [branch.name for branch in load_track("jump_detour").branches] == ["detour"]


def test_a_long_track_loads_in_half_a_second() -> None:
    times = []
    for _ in range(3):
        began = time.perf_counter()
        load_track.__wrapped__("long")
        times.append(time.perf_counter() - began)
    assert min(times) < 1.0  # 0.3 s on an idle core


def test_loaded_tracks_are_kept() -> None:
    assert load_track("loop") is load_track("loop")


def test_a_track_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\nsegments: [{straight: 67}, finish]\n")
    assert load_track(str(tmp_path / "mine.yaml")).name == "mine"


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match="there is no track 'lop'; shipped: dirt, full, hairpin, .*loop"):
        load_track("lop")
    with pytest.raises(TrackError, match="there is no track 'generated-train-40'"):
        load_track("generated-train-40")
    with pytest.raises(TrackError, match="cannot be read"):
        load_track(str(tmp_path / "lop.yaml"))


def test_the_file_of_generated_tracks_is_no_track() -> None:
    assert library.RECIPES.parent == TRACKS
    assert "generated" not in track_names()
