"""Roads along a driven line."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.line_track import lay_line, read_line, write_track_yaml
from tmrl_ray.simulator.track import Material, Track
from tmrl_ray.simulator.track_builder import Layout
from tmrl_ray.simulator.track_file import Line, TrackSpec

RIDE_M = 0.0275


def _driven(spacing_m: float = 1.7) -> np.ndarray:
    """A hilly S of some 350 m, uneven and rounded to decimetres as recorded lines are."""
    s = np.arange(0, 353, spacing_m)
    s = s + 0.3 * np.sin(s)
    x = 600 + 60 * np.sin(s / 55)
    return np.round(np.stack([x, 9 + 3 * np.sin(s / 70) ** 2, 300 + s], axis=1), 1)


def _layout(**line: object) -> Layout:
    return lay_line(TrackSpec.model_validate({"name": "test", "line": {"file": "x.npy"} | line}), _driven())


def test_the_road_follows_the_line_below_the_car() -> None:
    layout = _layout()
    driven = _driven()
    inside = driven[5:-5]
    apart = inside[:, None] - layout.points[None]
    nearest = (apart**2).sum(axis=2).argmin(axis=1)
    rows = np.arange(len(inside))
    height = (apart[rows, nearest] * layout.up[nearest]).sum(axis=1)
    left = np.cross(layout.up, layout.forward)
    across = (apart[rows, nearest] * left[nearest]).sum(axis=1)
    assert np.abs(across).max() < 0.15
    assert height.mean() == pytest.approx(RIDE_M, abs=0.02)
    assert np.abs(height - RIDE_M).max() < 0.15


def test_points_are_half_a_metre_apart_and_run_past_the_line() -> None:
    layout = _layout()
    steps = np.sqrt((np.diff(layout.points, axis=0) ** 2).sum(axis=1))
    assert np.abs(steps - 0.5).max() < 0.01
    assert layout.spawn * 0.5 == 12.0
    assert (len(layout.points) - 1 - layout.finish) * 0.5 == pytest.approx(60.0, abs=0.6)
    ends = layout.points[[layout.spawn, layout.finish]] - _driven()[[0, -1]]
    assert np.abs(ends).max() < 0.6


def test_materials_walls_and_gaps_by_distance() -> None:
    layout = _layout(
        materials=[{"from": 50, "to": 70, "material": "ice"}],
        walls=[{"from": 20, "to": 30, "side": "left", "height": 2}],
        gaps=[{"from": 101, "to": 110}, {"from": 201, "to": 212}],
    )
    assert len(layout.roads) == 3
    assert [(b - a) * 0.5 for a, b in layout.gaps] == [9.0, 11.0]
    road = layout.roads[0]
    assert road.distance[0] == -12.0
    assert road.distance[-1] == 101.0
    assert set(road.distance[road.material == Material.ICE]) == set(np.arange(50, 70, 0.5))
    assert set(road.distance[road.wall_left_m == 2.0]) == set(np.arange(20, 30, 0.5))
    assert not road.wall_right_m.any()


def test_checkpoints_by_distance_and_by_position() -> None:
    place = _driven()[97].tolist()
    layout = _layout(checkpoints=[{"near": place}, {"at": 53}])
    assert layout.checkpoints[0] == layout.spawn + 106
    assert np.sqrt(((layout.points[layout.checkpoints[1]] - place) ** 2).sum()) < 0.5


def test_a_bank_leans_into_the_bends() -> None:
    level, banked = _layout(), _layout(bank=15)
    left = np.cross(banked.up, banked.forward)
    assert np.abs(np.cross(level.up, level.forward)[:, 1]).max() < 1e-9
    bend = banked.spawn + 200  # s = 100 of sin(s / 55): the road turns to the right
    assert left[bend, 1] > 0.1
    assert np.abs(np.degrees(np.arcsin(left[:, 1]))).max() <= 15.001


WRONG = [
    ({"checkpoints": [{"at": 900}]}, r"line.checkpoints.0 \(at 900 m\) is at 900.0 m, it must be between"),
    ({"checkpoints": [{"near": [0, 0, 0]}]}, r"line.checkpoints.0 .*the line stays .* m away"),
    ({"gaps": [{"from": 50, "to": 40}]}, "line.gaps.0 = 50 to 40 m must be a range within"),
    ({"finish": 900}, "line.finish = 900.0: the line is only"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_what_is_not_on_the_line_is_refused(line: dict, message: str) -> None:
    with pytest.raises(TrackError, match=message):
        _layout(**line)


def test_a_line_round_a_loop_is_refused_where_it_begins() -> None:
    angle = np.linspace(0.0, 2 * np.pi, 200)[1:]
    road = np.arange(0.0, 101.0, 0.5)
    along = np.concatenate([road, 100 + 30 * np.sin(angle), road + 100])
    height = np.concatenate([0 * road, 30 - 30 * np.cos(angle), 0 * road]) + 9.0
    points = np.stack([along, height, np.zeros_like(along)], axis=1)
    with pytest.raises(TrackError, match=r"too steep for a road, first at 1[23]\d m") as refused:
        lay_line(TrackSpec(name="round", line=Line(file="round.npy")), points)
    assert "loop" in str(refused.value.hint)


def test_lines_that_are_no_lines(tmp_path: Path) -> None:
    def refused(points: object, message: str) -> None:
        np.save(tmp_path / "x.npy", points)
        with pytest.raises(TrackError, match=message):
            read_line(tmp_path / "x.npy")

    refused(np.zeros((7, 2)), r"holds float64 \(7, 2\), a line must be numbers \(N, 3\)")
    refused(np.array([["a", "b", "c"]]), "a line must be numbers")
    refused(np.zeros((7, 3)), "the line is 0.0 m long, at least 50 m")
    refused(np.where(np.arange(211)[:, None] == 13, np.nan, _driven()[:1]), "position 13 is not finite")
    refused(np.concatenate([_driven(), _driven() + 90]), "positions 207 and 208 are .* m apart, at most 20 m")
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(TrackError, match="cannot be read as a .npy file"):
        read_line(tmp_path / "x.npy")
    with pytest.raises(TrackError, match="nowhere.npy: cannot be read"):
        read_line(tmp_path / "nowhere.npy")


def test_a_written_track_loads_from_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_track_yaml(_driven(), Path("made") / "s.yaml", line=Line(file="", width=13))
    track = load_track(str(tmp_path / "made" / "s.yaml"))
    assert track.name == "s"
    assert set(track.half_width) == {6.5}
    np.testing.assert_array_equal(np.load(tmp_path / "made" / "s.npy"), _driven())


def test_nothing_is_written_for_a_line_that_cannot_be_a_track(tmp_path: Path) -> None:
    too_wide = Line(file="", width=60)
    tight = np.stack(
        [20 * np.cos(np.arange(0, 3, 0.05)), 0 * np.arange(0, 3, 0.05), 20 * np.sin(np.arange(0, 3, 0.05))], 1
    )
    with pytest.raises(TrackError, match="the bend is tighter than the road is wide"):
        write_track_yaml(tight, tmp_path / "t.yaml", line=too_wide)
    with pytest.raises(TrackError, match='name = "?'):
        write_track_yaml(_driven(), tmp_path / "t.yaml", name="?")
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def hockolicious(real_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Track:
    line = real_data / "lines" / "ESL-Hockolicious_0.5m_cl2.npy"
    path = tmp_path_factory.mktemp("line") / "hock.yaml"
    write_track_yaml(read_line(line), path)
    began = time.perf_counter()
    track = load_track(str(path))
    assert time.perf_counter() - began < 2.0  # 0.3 s on an idle core
    return track


def test_the_real_line_is_a_long_track_of_many_triangles(hockolicious: Track) -> None:
    assert len(hockolicious.line) * 0.5 == pytest.approx(4048.7 + 60 - 20, abs=15)
    assert len(hockolicious.triangles) >= 12_000
    assert len(hockolicious.gates) == 10
    steps = np.sqrt((np.diff(hockolicious.line, axis=0) ** 2).sum(axis=1))
    assert np.abs(steps - 0.5).max() < 0.01
