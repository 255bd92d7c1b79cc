"""What makes a track undrivable is found and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.segment_track import lay_segments
from tmrl_ray.simulator.track import Paint, Pose, Track
from tmrl_ray.simulator.track_builder import Layout, build_track
from tmrl_ray.simulator.track_file import TrackSpec
from tmrl_ray.simulator.validate import cast, validate

PLAIN = [{"straight": 60}, "checkpoint", {"curve": "left", "radius": 40, "angle": 60}, {"straight": 60}, "finish"]


def _built(segments: list, **more: object) -> tuple[Track, Layout]:
    layout = lay_segments(TrackSpec.model_validate({"name": "test", "segments": segments, **more}))
    return build_track(layout), layout


def _faults(track: Track, layout: Layout) -> str:
    with pytest.raises(TrackError, match="track 'test' cannot be driven:") as caught:
        validate(track, layout)
    return str(caught.value)


def test_a_good_track_passes() -> None:
    validate(*_built(PLAIN))


def test_a_bend_tighter_than_the_road_is_wide() -> None:
    faults = _faults(
        *_built(
            [{"straight": 40}, {"curve": "left", "radius": 9, "angle": 180}, {"straight": 40}, "finish"],
            road={"width": 24},
        )
    )
    assert "road folds over itself on its left side from 43.0 m to 65.0 m" in faults


@pytest.mark.parametrize(
    ("climb", "fault"), [(0, "two roads lie on top of each other"), (3, "less than 4 m of free height")]
)
def test_a_road_that_crosses_itself_too_low(climb: float, fault: str) -> None:
    knot = [{"straight": 60}, {"curve": "left", "radius": 40, "angle": 270, "climb": climb}, {"straight": 90}, "finish"]
    if climb == 0:
        knot[1]["climb"] = 0.1
    assert fault in _faults(*_built(knot))


def test_a_road_that_crosses_itself_high_enough() -> None:
    validate(
        *_built(
            [{"straight": 60}, {"curve": "left", "radius": 40, "angle": 270, "climb": 9}, {"straight": 90}, "finish"]
        )
    )


def test_a_hole_in_the_road() -> None:
    track, layout = _built(PLAIN)
    at = track.vertices[track.triangles].mean(axis=1) - layout.points[layout.spawn + 60]
    hole = (track.paints == Paint.ROAD) & (np.sqrt((at**2).sum(axis=1)) < 9)
    solid = track.solid & ~hole
    faults = _faults(replace(track, solid=solid), layout)
    assert "no road under the line from 2" in faults
    assert "the road has a hole in its middle, from 2" in faults


def test_a_road_that_faces_down() -> None:
    track, layout = _built(PLAIN)
    triangles = track.triangles.copy()
    triangles[track.paints == Paint.ROAD] = triangles[track.paints == Paint.ROAD][:, ::-1]
    faults = _faults(replace(track, triangles=triangles), layout)
    assert "the road has a hole in its middle, from -11" in faults
    assert "the spawn is not on solid road" in faults


def test_numbers_and_triangles_that_are_none() -> None:
    track, layout = _built(PLAIN)
    vertices = track.vertices.copy()
    vertices[17, 1] = np.nan
    assert "vertices: 1 rows are not finite, the first is 17" in _faults(replace(track, vertices=vertices), layout)
    triangles = track.triangles.copy()
    triangles[[3, 5], 1] = triangles[[3, 5], 2]
    assert "triangles: 2 have no area, the first is 3" in _faults(replace(track, triangles=triangles), layout)


def test_gates_out_of_order_or_in_the_air() -> None:
    jump = [
        {"straight": 60},
        {"straight": 30, "slope": 6},
        {"gap": 12, "drop": 1},
        "checkpoint",
        {"straight": 60},
        "finish",
    ]
    assert "checkpoint 0 is in the gap at 90.0 m, or too near to it" in _faults(*_built(jump))
    track, layout = _built(PLAIN)
    layout = replace(layout, checkpoints=[300, 200], finish=150)
    faults = _faults(track, layout)
    assert "checkpoint 1 is not after checkpoint 0" in faults
    assert "the finish is not after checkpoint 1" in faults


def test_a_spawn_beside_the_road_or_facing_back() -> None:
    track, layout = _built(PLAIN)
    beside = Pose(track.spawn.position + [30.0, 0.0, 0.0], track.spawn.rotation)
    assert "the spawn is not on solid road" in _faults(replace(track, spawn=beside), layout)
    back = Pose(track.spawn.position, track.spawn.rotation * [-1.0, 1.0, -1.0])
    assert "the spawn does not face along the line" in _faults(replace(track, spawn=back), layout)


def test_all_faults_are_told_at_once_but_not_more_than_a_page() -> None:
    track, layout = _built(PLAIN)
    holed = replace(track, solid=track.solid & (np.arange(len(track.solid)) % 3 > 0))
    lines = _faults(holed, layout).splitlines()
    assert len(lines) == 22
    assert lines[-1].strip().startswith("and ")


def test_a_ray_meets_what_it_should() -> None:
    track, _ = _built(PLAIN)
    origins = np.array([[512.0, 13.0, 530.0], [512.0, 13.0, 530.0], [560.0, 13.0, 530.0]])
    directions = np.array([[0.0, -1.0, 0.0], [0.0, 1.0, 0.0], [0.0, -1.0, 0.0]])
    ray, along, facing = cast(track.contacts, origins, directions, 7.0)
    assert set(ray.tolist()) == {0, 2}
    np.testing.assert_allclose(along[ray == 0].min(), 3.0)
    np.testing.assert_allclose(along[ray == 2].min(), 4.0)
    assert facing[ray == 0][along[ray == 0].argmin()] == pytest.approx(-1.0)
