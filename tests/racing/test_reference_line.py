"""Building, loading, smoothing and extending a line, and binding checkpoints to its zones."""

import numpy as np
import pytest

from tests.racing.fake_game import line_from, straight_line
from tmrl_ray.config.race import LineSettings
from tmrl_ray.errors import LineError
from tmrl_ray.game.gbx import read_challenge
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import (
    Checkpoint,
    checkpoints_of_map,
    extend,
    line_of_points,
    line_of_track,
    load_line,
    load_points,
    resample,
    save_points,
    smooth,
)


def circle(radius: float, turns: float) -> np.ndarray:
    angle = np.arange(0.0, turns * 2 * np.pi, 0.5 / radius)
    return np.stack([radius * np.cos(angle), np.full_like(angle, 3.0), radius * np.sin(angle)], axis=1)


def test_zones_are_added_before_and_after():
    line = line_of_points(straight_line(30.0))
    assert len(line.zones) == 20 + 61 + 1000
    assert (line.first_zone, line.last_zone) == (20, 80)
    np.testing.assert_allclose(line.zones[0], [100, 10, 190])
    np.testing.assert_allclose(line.zones[-1], [100, 10, 230 + 500])
    assert line.length_m == pytest.approx(30.0)
    assert line.transitions_m[19] == pytest.approx(-0.25)
    assert line.transitions_m[0] == pytest.approx(-9.75)


def test_smoothing_is_the_middle_of_the_fifth_neighbours():
    points = np.random.default_rng(3).normal(size=(23, 3))
    smoothed = smooth(points, 5)
    np.testing.assert_array_equal(smoothed[:5], points[:5])
    np.testing.assert_array_equal(smoothed[-5:], points[-5:])
    for i in range(5, 18):
        np.testing.assert_allclose(smoothed[i], 0.5 * (points[i - 5] + points[i + 5]))
    np.testing.assert_array_equal(smooth(points, 0), points)


def test_extension_keeps_the_spacing_whatever_the_last_step_is():
    points = np.vstack((straight_line(10.0), [[100.0, 10.0, 210.31]]))
    extended = extend(points, before=3, after=7, spacing_m=0.5)
    np.testing.assert_allclose(extended[-7:, 2], 210.31 + 0.5 * np.arange(1, 8))
    np.testing.assert_allclose(extended[:3, 2], [198.5, 199.0, 199.5])


def test_segments_lead_from_transition_to_transition():
    line = line_of_points(circle(37.0, 0.9))
    middles = (line.zones[1:] + line.zones[:-1]) / 2
    ends = middles[:-1] + line.tangents * line.segments_m[:, None]
    np.testing.assert_allclose(ends, middles[1:], atol=1e-9)
    np.testing.assert_allclose(np.diff(line.transitions_m), line.segments_m)
    start, tangent, length, metres = line.segments[41]
    np.testing.assert_allclose(start, middles[41])
    np.testing.assert_allclose(tangent, line.tangents[41])
    assert (length, metres) == (line.segments_m[41], line.transitions_m[41])


def test_resampled_points_are_equally_far_apart_along_the_way_and_pass_its_end():
    rough = np.array([[0, 0, 0], [0, 0, 3.3], [0, 0, 3.3], [4.0, 0, 3.3], [4.0, 3.0, 3.3]])
    points = resample(rough, 0.5)
    assert len(points) == 1 + int(10.3 / 0.5) + 1
    np.testing.assert_allclose(points[1], [0, 0, 0.5])
    np.testing.assert_allclose(points[7], [0.2, 0, 3.3])
    np.testing.assert_allclose(points[-1], [4.0, 3.2, 3.3])


def test_resampling_refuses_what_goes_nowhere():
    with pytest.raises(LineError, match="two different positions"):
        resample(np.ones((5, 3)), 0.5)
    with pytest.raises(LineError, match="1 positions are not finite"):
        resample(np.array([[0, 0, 0], [0, np.nan, 0], [1, 1, 1.0]]), 0.5)


def test_a_line_survives_its_file(tmp_path):
    points = circle(50.0, 0.5)
    save_points(tmp_path / "line.npy", points)
    np.testing.assert_allclose(load_points(tmp_path / "line.npy"), points, atol=5.1e-5)
    assert load_line(tmp_path / "line.npy").last_zone == 20 + len(points) - 1


@pytest.mark.parametrize(
    ("points", "message"),
    [
        (np.zeros((5, 2)), "of shape"),
        (np.array(["a", "b"]), "of shape"),
        (straight_line(4.0), "at least 12 points"),
        (straight_line(60.0) * 2, "1.000 m apart, not 0.5 m"),
        (np.vstack((straight_line(20.0), straight_line(20.0) + [0, 0, 30.0])), "jumps 10.00 m after its point 40"),
        (np.vstack((straight_line(20.0), straight_line(20.0)[-1:])), "points 40 and 41 of the line are the same"),
        (np.where(np.arange(41)[:, None] == 7, np.inf, straight_line(20.0)), "point 7 of the reference line"),
    ],
)
def test_files_that_are_no_lines_are_refused(tmp_path, points, message):
    np.save(tmp_path / "line.npy", points)
    with pytest.raises(LineError, match=message):
        load_line(tmp_path / "line.npy")


def test_a_missing_and_a_garbage_file_are_refused(tmp_path):
    with pytest.raises(LineError, match="cannot read the reference line"):
        load_line(tmp_path / "none.npy")
    (tmp_path / "text.npy").write_text("no numpy file")
    with pytest.raises(LineError, match="cannot read the reference line"):
        load_line(tmp_path / "text.npy")


def test_a_pickle_is_not_opened(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(LineError, match="cannot read the reference line"):
        load_line(tmp_path / "objects.npy")


def gate(x: float, y: float, z: float, forward: tuple[float, float, float] | None = None) -> Checkpoint:
    direction = None if forward is None else np.array(forward)
    return Checkpoint(position=np.array([x, y, z]), radius_m=12.0, forward=direction)


def test_a_checkpoint_is_bound_to_the_nearest_zone():
    line = line_of_points(straight_line(100.0), [gate(105.0, 10.0, 240.1)])
    assert list(line.checkpoints) == [20 + 80]


def test_each_lap_binds_its_own_zone():
    points = circle(40.0, 2.9)
    line = line_of_points(points, [gate(*points[100])])
    per_lap = 2 * np.pi * 40 / 0.5
    assert list(line.checkpoints) == pytest.approx([120, 120 + per_lap, 120 + 2 * per_lap], abs=1)


def test_the_road_that_crosses_the_other_way_is_not_bound():
    way = np.vstack((straight_line(60.0), straight_line(200.0, start=(130.0, 10.0, 230.0), heading=-np.pi / 2)))
    points = resample(np.vstack((way[:121], [[130.0, 10.0, 300.0]], way[121:])), 0.5)
    both = line_of_points(points, [gate(100.0, 10.0, 230.0)])
    one = line_of_points(points, [gate(100.0, 10.0, 230.0, forward=(0, 0, 1))])
    assert len(both.checkpoints) == 2
    assert list(one.checkpoints) == [20 + 60]


def test_a_checkpoint_off_the_line_is_an_error_unless_none_is_asked_for():
    far = [gate(125.0, 10.0, 240.0)]
    with pytest.raises(LineError, match=r"does not pass checkpoint 0 .* 25.0 m"):
        line_of_points(straight_line(100.0), far)
    settings = LineSettings(checkpoint_radius_m=None)
    assert not line_of_points(straight_line(100.0), far, settings).checkpoints


def test_nearest_zone_is_between_start_and_finish():
    line = line_from(straight_line(30.0))
    assert line.nearest_zone(np.array([103.0, 10.0, 210.2])) == 20 + 20
    assert line.nearest_zone(np.array([100.0, 10.0, 400.0])) == line.last_zone


def test_the_line_of_a_track_ends_at_its_finish():
    library = pytest.importorskip("tmrl_ray.simulator.library")
    track = library.load_track("loop")
    line = line_of_track(track)
    finish = track.gates[-1]
    past = (line.zones[line.last_zone] - finish.centre) @ finish.rotation[:, 2]
    assert 0 <= past <= 1.0
    assert len(line.checkpoints) == len(track.gates)
    assert list(line.checkpoints) == sorted(line.checkpoints)


def test_the_real_line_passes_the_real_checkpoints(real_data):
    challenge = read_challenge(real_data / "gbx" / "ESL-Hockolicious.Challenge.Gbx")
    checkpoints = checkpoints_of_map(challenge)
    line = load_line(real_data / "lines" / "ESL-Hockolicious_0.5m_cl2.npy", checkpoints)
    assert (line.first_zone, line.last_zone) == (20, 20 + 8062 - 1)
    assert 4000 < line.length_m < 4049  # smoothing takes the wiggles out of 4048.7 m
    assert len(checkpoints) == len(line.checkpoints) == 13
    for zone, checkpoint in line.checkpoints.items():
        assert np.linalg.norm(line.zones[zone] - checkpoint.position) < 8
    progress = Progress(line)
    progress.begin(line.points[line.first_zone])
    for point in line.points[line.first_zone : line.last_zone + 1 : 7]:
        progress.update(point)
    assert progress.zone > line.last_zone - 7, "no checkpoint holds a car that drives the line"
