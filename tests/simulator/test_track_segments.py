"""Roads from segments: lengths, angles, easing, jumps, closed tracks and forks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.library import build, load_track
from tmrl_ray.simulator.segment_track import lay_segments
from tmrl_ray.simulator.track import Material, Track
from tmrl_ray.simulator.track_builder import LEAD_IN_M, RUN_OUT_M, Layout
from tmrl_ray.simulator.track_file import TrackSpec


def _layout(segments: list, **more: object) -> Layout:
    return lay_segments(TrackSpec.model_validate({"name": "test", "segments": segments, **more}))


def _heading(layout: Layout, sample: int) -> float:
    x, _, z = layout.forward[sample]
    return float(np.degrees(np.arctan2(x, z)))


bends = st.fixed_dictionaries(
    {
        "curve": st.sampled_from(["left", "right"]),
        "radius": st.integers(20, 90),
        "angle": st.integers(5, 175),
        "slope": st.integers(-12, 12),
        "bank": st.integers(0, 20),
    }
)


@settings(max_examples=40, deadline=None)
@given(st.lists(bends, min_size=1, max_size=5))
def test_a_line_has_even_spacing_exact_angles_and_orthogonal_frames(curves: list[dict]) -> None:
    layout = _layout([{"straight": 31}, *curves, {"straight": 31}, "finish"])
    steps = np.sqrt((np.diff(layout.points, axis=0) ** 2).sum(axis=1))
    assert np.abs(steps - 0.5).max() < 0.001
    turn = sum(c["angle"] * (1 if c["curve"] == "left" else -1) for c in curves)
    assert np.cos(np.radians(_heading(layout, -1) - turn)) == pytest.approx(1.0, abs=1e-9)
    assert np.abs((layout.forward * layout.up).sum(axis=1)).max() < 1e-12
    np.testing.assert_allclose((layout.up**2).sum(axis=1), 1.0, atol=1e-12)


def test_curvature_slope_and_bank_change_gradually() -> None:
    layout = _layout(
        [
            {"straight": 53},
            {"curve": "left", "radius": 37, "angle": 97, "slope": 9, "bank": 11},
            {"straight": 41},
            "finish",
        ]
    )
    tangents = np.diff(layout.forward, axis=0) / 0.5
    assert np.sqrt((tangents**2).sum(axis=1)).max() < 1.15 / 37  # never sharper than asked for
    jerk = np.diff(tangents, axis=0) / 0.5
    assert np.sqrt((jerk**2).sum(axis=1)).max() < 2.5 / 37 / 24  # the bend comes in over the 24 m of easing
    assert np.sqrt((np.diff(layout.up, axis=0) ** 2).sum(axis=1)).max() < 0.02


def test_distances_are_what_the_file_says() -> None:
    layout = _layout([{"straight": 47}, "checkpoint", {"curve": "right", "radius": 50, "angle": 90}, "finish"])
    assert layout.spawn == LEAD_IN_M / 0.5
    np.testing.assert_allclose(layout.points[layout.spawn], (512, 10, 512), atol=1e-9)
    assert [(c - layout.spawn) * 0.5 for c in layout.checkpoints] == [47.0]
    assert (layout.finish - layout.spawn) * 0.5 == pytest.approx(47 + 50 * np.pi / 2, abs=0.5)
    assert (len(layout.points) - 1 - layout.finish) * 0.5 == RUN_OUT_M


def test_a_climb_climbs_and_a_bank_leans_into_the_bend() -> None:
    layout = _layout([{"straight": 61, "climb": 5}, {"curve": "left", "radius": 70, "angle": 90, "bank": 9}, "finish"])
    assert layout.points[-1, 1] - 10 == pytest.approx(5.0, abs=0.2)
    middle = layout.finish - 110
    left = np.cross(layout.up[middle], layout.forward[middle])
    assert np.degrees(np.arcsin(-left[1])) == pytest.approx(9.0, abs=0.01)


def test_a_gap_is_a_hole_that_the_line_flies_over() -> None:
    segments = [{"straight": 60, "slope": 6}, {"gap": 21, "drop": 2}, {"straight": 60}, "finish"]
    layout = _layout(segments)
    ((lip, landing),) = layout.gaps
    flight = layout.points[landing] - layout.points[lip]
    assert np.hypot(flight[0], flight[2]) == pytest.approx(21.0)
    assert flight[1] == pytest.approx(-2.0)
    steps = np.sqrt((np.diff(layout.points, axis=0) ** 2).sum(axis=1))
    assert np.abs(steps - 0.5).max() < 0.01
    first, second = layout.roads
    np.testing.assert_allclose(first.points[-1], layout.points[lip])
    np.testing.assert_allclose(second.points[0], layout.points[landing])


def test_a_loop_comes_out_beside_where_it_went_in() -> None:
    layout = _layout([{"straight": 60}, {"loop": 13, "shift": 19}, {"straight": 60}, "finish"], road={"width": 12})
    assert layout.up[:, 1].min() < -0.8
    assert layout.points[:, 1].max() == pytest.approx(10 + 26, abs=1.5)
    assert layout.points[-1, 0] - layout.points[0, 0] == pytest.approx(19.0, abs=0.1)
    assert layout.points[-1, 1] == pytest.approx(10.0, abs=0.1)


def test_a_closed_track_meets_its_start() -> None:
    track = load_track("oval")
    assert track.laps == 3
    ends = track.line[0] - track.line[-1]
    assert np.sqrt(ends @ ends) == pytest.approx(0.5, abs=0.01)
    assert track.gates[-1].centre @ track.spawn.rotation[:, 2] > track.spawn.position @ track.spawn.rotation[:, 2]


def test_a_turbo_pad_is_a_stretch_of_road() -> None:
    segments = [{"straight": 40}, {"straight": 12, "material": "turbo"}, {"straight": 40}, "finish"]
    track = build(TrackSpec.model_validate({"name": "test", "segments": segments}), folder=None)
    pad = track.materials == Material.TURBO
    assert pad.any()
    assert (track.uv[pad, :, 1].min(), track.uv[pad, :, 1].max()) == (40.0, 52.0)


@pytest.mark.parametrize("name", ["jump_detour", "shortcut"])
def test_a_branch_begins_and_ends_on_the_main_road(name: str) -> None:
    track: Track = load_track(name)
    (branch,) = track.branches
    for end, point in ((0, branch.leaves), (-1, branch.joins)):
        offset = branch.line[end] - track.line[point]
        ahead = track.line[point + 1] - track.line[point]
        assert abs(offset @ ahead) / 0.5 < 1e-3
        assert np.sqrt(offset @ offset) == pytest.approx(track.half_width[point] + branch.half_width[end], abs=0.01)
        np.testing.assert_allclose(branch.line_up[end], track.line_up[point], atol=1e-3)
    steps = np.sqrt((np.diff(branch.line, axis=0) ** 2).sum(axis=1))
    assert 0.45 < steps.min() < steps.max() < 0.55
    assert np.abs(branch.line[len(branch.line) // 2] - track.line[(branch.leaves + branch.joins) // 2]).max() > 10


ROUND = {"curve": "left", "radius": 50, "angle": 180}
FORK = [
    {"straight": 60, "left": 24, "label": "a"},
    {"straight": 90},
    {"straight": 60, "left": 24, "label": "b"},
    "finish",
]


def _branch(segments: list, **more: object) -> dict:
    return {"branches": [{"name": "way", "side": "left", "leaves": "a", "joins": "b", "segments": segments} | more]}


WRONG = [
    ([{"straight": 40}], {}, "0 segments are 'finish', exactly one must be"),
    ([{"straight": 40}, "finish", "finish"], {}, "2 segments are 'finish'"),
    ([{"straight": 40}, "finish", {"straight": 9}, "checkpoint"], {}, "segments.3 is a checkpoint after the finish"),
    ([{"gap": 9}, {"straight": 40}, "finish"], {}, "cannot begin or end with a gap"),
    ([{"straight": 40}, ROUND, {"straight": 40}, "finish"], {"laps": 2}, "the start line is the finish"),
    ([{"straight": 40}, ROUND, {"straight": 90}, ROUND], {"laps": 2}, r"-50.0 m in z and \+0.0 degrees off"),
    ([{"straight": 40}, {"gap": 9}, {"straight": 40}], {"laps": 2}, "a closed track cannot have a gap"),
    (FORK, _branch([{"straight": 60}], leaves="c"), "branches.0.leaves: 'c' is no label; labels: a, b"),
    (FORK, _branch([{"straight": 60}]), "it ends -30.0 m ahead, .* and .*0.0 degrees off"),
    (FORK, _branch([{"straight": 90}], side="right"), r"leaves 0.0 m on the right at leaves 'a'"),
]


@pytest.mark.parametrize(("segments", "more", "message"), WRONG)
def test_a_wrong_layout_is_told_what_is_wrong(segments: list, more: dict, message: str) -> None:
    with pytest.raises(TrackError, match=message):
        _layout(segments, **more)
