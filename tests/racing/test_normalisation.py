"""Means and deviations: the reference's table, other sizes, and how a table is measured."""

import numpy as np
import pytest

from tests.racing.fake_game import line_from, straight_line
from tmrl_ray.config.race import LineSettings, ObservationSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.racing.mirror import FloatsMirror
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.racing.way_points import LEAST_STD_M, load_table, measure, save_table, shipped_table
from tmrl_ray.simulator.library import load_track

LAYOUT = ObservationLayout()

# index: (mean, deviation), as the public agents have them
EXPECTED = {
    0: (70, 70),
    1: (0.8, 0.5),
    2: (0.2, 0.5),
    3: (0.3, 0.5),
    20: (0.3, 0.5),
    21: (0.1, 0.5),
    28: (0.9, 0.5),
    32: (0.02, 0.5),
    33: (0.3, 1),
    34: (2.5, 2),
    35: (7000, 3000),
    36: (0.1, 10),
    37: (0.5, 0.5),
    52: (0.5, 0.5),
    53: (0, 0.5),
    54: (0, 1),
    55: (0, 0.5),
    56: (0, 5),
    57: (0, 5),
    58: (55, 20),
    59: (0, 0.5),
    60: (1, 0.5),
    61: (0, 0.5),
    62: (0, 7.7),
    63: (-2.1, 7.7),
    64: (-0.2, 2.9),
    62 + 3 * 13: (0, 52.0),
    63 + 3 * 13: (0.0, 52.0),
    64 + 3 * 13: (106, 31.1),
    179: (0, 198),
    180: (11.5, 198),
    181: (197, 151),
    182: (700, 350),
    183: (0, 1),
}


def layout_of(**settings) -> ObservationLayout:
    return ObservationLayout(ObservationSettings(**settings))


def test_the_default_figures_are_those_of_the_public_agents():
    normalisation = normalisation_of(LAYOUT)
    assert normalisation.version == "reference"
    for index, (mean, std) in EXPECTED.items():
        assert normalisation.mean[index] == pytest.approx(mean), LAYOUT.names[index]
        assert normalisation.std[index] == pytest.approx(std), LAYOUT.names[index]
    assert np.isfinite(normalisation.mean).all()
    assert (normalisation.std > 0).all()


def test_floats_are_scaled():
    normalisation = normalisation_of(LAYOUT)
    floats = np.tile(normalisation.mean + 2 * normalisation.std, (3, 1))
    np.testing.assert_allclose(normalisation(floats), 2.0, rtol=1e-5)


def test_half_the_distance_between_way_points_reads_the_same_table():
    near = normalisation_of(layout_of(way_points=79, way_point_zones=10))
    part = layout_of(way_points=79).way_points
    assert near.version == "reference"
    assert near.mean[part].reshape(79, 3)[[26, 27, 28], 2] == pytest.approx([106, 109, 112])


def test_far_way_points_are_of_the_measured_table_and_stay_near_their_mean():
    layout = layout_of(way_points=200)
    normalisation = normalisation_of(layout)
    assert normalisation.version == "measured-1"
    table = shipped_table("measured")
    assert table.reach_m == 2000
    line = line_of_track(load_track("loop"), LineSettings(zones_after_finish=layout.zones_ahead))
    for zone in (line.first_zone, (line.first_zone + line.last_zone) // 2, line.last_zone):
        points = line.zones[zone : zone + layout.zones_ahead + 1 : 20] - line.zones[zone]
        tangent = line.tangents[zone - 1]
        axes = np.stack((np.cross([0, 1, 0], tangent), [0, 1, 0], tangent), axis=1)
        floats = np.zeros(layout.size, dtype=np.float32)
        floats[layout.way_points] = (points @ axes).ravel()
        assert np.abs(normalisation(floats)[layout.way_points]).max() < 4


def test_both_tables_agree_on_the_plane_where_both_are_known():
    distances = np.arange(5, 40) * 10.0
    _, reference = shipped_table("reference").at(distances)
    _, measured = shipped_table("measured").at(distances)
    np.testing.assert_allclose(measured[:, [0, 2]], reference[:, [0, 2]], rtol=0.5)


def test_a_way_point_past_every_table_is_an_error():
    with pytest.raises(InvalidInputError, match="2010 m ahead is past the table 'measured-1'"):
        normalisation_of(layout_of(way_points=202))


def test_the_clock_counts_decisions():
    normalisation = normalisation_of(layout_of(mini_race_ms=3000), decision_period_ms=100)
    assert (normalisation.mean[0], normalisation.std[0]) == (15, 15)


def test_mirrored_floats_are_scaled_alike():
    normalisation, mirror = normalisation_of(LAYOUT), FloatsMirror(LAYOUT)
    floats = np.random.default_rng(2).normal(size=(5, LAYOUT.size)).astype(np.float32) * 30
    np.testing.assert_allclose(normalisation(mirror(floats)), mirror(normalisation(floats)), rtol=1e-4, atol=1e-4)


def test_a_straight_road_is_straight_ahead(tmp_path):
    line = line_from(straight_line(400.0, heading=2.0), zones_after_finish=200)
    table = measure([line, line], version="v", source="s", reach_m=100.0)
    assert table.mean.shape == (11, 3)
    assert (table.mean[:, 0] == 0).all()
    # turned by 0.15 and 0.1 rad about two axes, a point 100 m ahead is 98.4 m ahead and 15 m beside
    np.testing.assert_allclose(table.mean[10], [0.0, 0.0, 98.4], atol=2.0)
    assert table.std[10, 0] == pytest.approx(np.hypot(15, 4), rel=0.2)
    assert table.std[0, 2] == LEAST_STD_M
    save_table(table, tmp_path / "table.json")
    again = load_table(tmp_path / "table.json")
    assert (again.version, again.source, again.reach_m) == ("v", "s", 100.0)
    np.testing.assert_allclose(again.mean, table.mean, atol=0.0051)
    np.testing.assert_allclose(again.std, table.std, atol=0.0051)


@pytest.mark.parametrize("text", ["", "{}", '{"format": 9}', '{"format": 1, "mean": []}'])
def test_a_broken_table_is_refused(tmp_path, text):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(InvalidInputError, match="cannot read the table"):
        load_table(tmp_path / "table.json")
