"""The floats of an observation: where they stand, what they are, what is remembered."""

import timeit

import numpy as np
import pytest

from tests.racing.fake_game import line_from, straight_line
from tmrl_ray.config.race import ObservationSettings
from tmrl_ray.errors import LineError
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.racing.actions import ACTION_COUNT
from tmrl_ray.racing.observation import Observer
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.progress import Progress

# index of the first float and the length, as the public agents have them
EXPECTED = {
    "clock": (0, 1),
    "previous_actions": (1, 20),
    "wheel_sliding": (21, 4),
    "wheel_contact": (25, 4),
    "wheel_absorb": (29, 4),
    "gearbox_state": (33, 1),
    "gear": (34, 1),
    "rpm": (35, 1),
    "gearbox_count": (36, 1),
    "wheel_materials": (37, 16),
    "angular_velocity": (53, 3),
    "velocity": (56, 3),
    "up": (59, 3),
    "way_points": (62, 120),
    "metres_left": (182, 1),
    "freewheeling": (183, 1),
}

LAYOUT = ObservationLayout()


def car(**fields) -> SimState:
    state = SimState.blank(2, 3)
    state.position[:] = [100.0, 10.0, 205.0]
    for name, value in fields.items():
        setattr(state, name, value)
    return state


def observe(state: SimState, observer: Observer | None = None, length_m: float = 1500.0) -> np.ndarray:
    line = line_from(straight_line(length_m))
    progress = Progress(line)
    progress.begin(tuple(state.position.tolist()), line.nearest_zone(state.position))
    out = np.full(LAYOUT.size, np.nan, dtype=np.float32)
    (observer or Observer(line, LAYOUT)).observe(state, progress, out)
    return out


def test_the_default_layout_is_that_of_the_public_agents():
    assert LAYOUT.size == len(LAYOUT.names) == len(set(LAYOUT.names)) == 184
    for name, (start, length) in EXPECTED.items():
        part = getattr(LAYOUT, name)
        assert (part.start, part.stop - part.start) == (start, length), name
    assert LAYOUT.car_frame_vectors == slice(53, 182)
    assert LAYOUT.way_point(1) == slice(65, 68)
    assert LAYOUT.names[1] == "action_5_ago.accelerate"
    assert LAYOUT.names[20] == "action_1_ago.right"
    assert LAYOUT.names[65] == "way_point_20_zones.left"


@pytest.mark.parametrize(("way_points", "actions"), [(40, 5), (7, 3), (53, 0), (1, 11)])
def test_the_size_follows_the_formula(way_points, actions):
    layout = ObservationLayout(ObservationSettings(way_points=way_points, previous_actions=actions))
    assert layout.size == 27 + 3 * way_points + 4 * actions + 4 * 4 + 1


def test_the_hash_tells_what_may_not_be_mixed():
    others = [
        ObservationSettings(way_points=39),
        ObservationSettings(way_point_zones=10),
        ObservationSettings(previous_actions=4),
        ObservationSettings(finish_margin_m=500.0),
    ]
    hashes = {ObservationLayout(settings).hash for settings in [ObservationSettings(), *others]}
    assert len(hashes) == 5
    assert ObservationLayout().hash == LAYOUT.hash


def test_every_float_is_written():
    assert np.isfinite(observe(car())).all()


def test_scalars_and_wheels():
    state = car(gear=4, rpm=8123.5, is_freewheeling=True, wheel_contact=[1, 0, 1, 1], wheel_sliding=[0, 0, 1, 0])
    state.wheel_absorb[:] = [0.011, 0.012, 0.013, 0.014]
    floats = observe(state)
    assert floats[LAYOUT.clock] == 0
    assert floats[LAYOUT.gear] == 4
    assert floats[LAYOUT.rpm] == 8123.5
    assert floats[LAYOUT.freewheeling] == 1
    assert floats[LAYOUT.wheel_contact].tolist() == [1, 0, 1, 1]
    assert floats[LAYOUT.wheel_sliding].tolist() == [0, 0, 1, 0]
    np.testing.assert_allclose(floats[LAYOUT.wheel_absorb], [0.011, 0.012, 0.013, 0.014])


GROUPS = {0: [0, 1, 16, 18, 19], 1: [2, 20], 2: [5, 6, 8, 17], 3: [7, 26]}


def test_materials_become_groups():
    group_of = {material: group for group, materials in GROUPS.items() for material in materials}
    for material in [*range(40), 255, 0xFFFF]:
        state = car()
        state.wheel_material = [16, material | 0x30000, 2, 7]  # the game keeps flags above the low 16 bits
        rows = observe(state)[LAYOUT.wheel_materials].reshape(4, 4)
        expected = np.zeros(4)
        if material in group_of:
            expected[group_of[material]] = 1
        assert rows[1].tolist() == expected.tolist(), material
        assert rows[0].tolist() == [1, 0, 0, 0]
        assert rows[2].tolist() == [0, 1, 0, 0]
        assert rows[3].tolist() == [0, 0, 0, 1]


def turned() -> tuple[SimState, np.ndarray]:
    """A car in an odd attitude, and its axes as rows: left, up, forward."""
    rng = np.random.default_rng(7)
    axes, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    axes = axes * np.sign(np.linalg.det(axes))
    state = car(rotation=axes.T)
    state.velocity[:] = [30.0, -7.0, 11.0]
    state.angular_velocity[:] = [0.3, 0.5, -0.7]
    state.position[:] = [103.0, 11.0, 221.3]
    return state, axes


def test_vectors_are_in_the_frame_of_the_car():
    state, axes = turned()
    floats = observe(state)
    np.testing.assert_allclose(floats[LAYOUT.velocity], axes @ [30.0, -7.0, 11.0], rtol=1e-5)
    np.testing.assert_allclose(floats[LAYOUT.angular_velocity], axes @ [0.3, 0.5, -0.7], rtol=1e-5)
    np.testing.assert_allclose(floats[LAYOUT.up], axes[:, 1], rtol=1e-5)


def test_way_points_are_10_m_apart_from_the_zone_of_the_car_on():
    state, axes = turned()
    points = observe(state)[LAYOUT.way_points].reshape(40, 3)
    for k in (0, 1, 39):
        zone = np.array([100.0, 10.0, 221.5 + 10.0 * k])  # 221.5 is the zone nearest to 221.3
        np.testing.assert_allclose(points[k], axes @ (zone - state.position.astype(np.float64)), atol=1e-4)


def test_the_finish_is_announced_from_700_m_on():
    assert observe(car(), length_m=1500.0)[LAYOUT.metres_left] == 700
    assert observe(car(), length_m=600.0)[LAYOUT.metres_left] == pytest.approx(595.0)


def test_previous_actions_are_listed_oldest_first_and_begin_as_forward():
    line = line_from(straight_line(200.0))
    observer = Observer(line, LAYOUT)
    for action in (4, 11, 3):
        observer.remember(action)
    keys = observe(car(), observer)[LAYOUT.previous_actions].reshape(5, 4).tolist()
    assert keys == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [1, 1, 0, 1], [0, 0, 0, 0]]
    observer.begin()
    assert observe(car(), observer)[LAYOUT.previous_actions].reshape(5, 4).tolist() == [[1, 0, 0, 0]] * 5
    observer.begin(range(ACTION_COUNT))
    assert observe(car(), observer)[LAYOUT.previous_actions].reshape(5, 4)[-1].tolist() == [1, 1, 0, 1]


def test_the_gearbox_count_goes_up_while_the_gearbox_is_busy():
    observer = Observer(line_from(straight_line(200.0)), LAYOUT)
    counts = [observe(car(gearbox_state=state), observer)[LAYOUT.gearbox_count][0] for state in (2, 2, 0, 1, 1, 1, 0)]
    assert counts == [1, 2, 0, 1, 2, 3, 0]
    observer.begin(gearbox_count=5)
    assert observe(car(gearbox_state=1), observer)[LAYOUT.gearbox_count] == 6
    observer.begin()
    assert observe(car(gearbox_state=1), observer)[LAYOUT.gearbox_count] == 1


def test_a_line_too_short_for_the_way_points_is_refused():
    far = ObservationLayout(ObservationSettings(way_points=60))
    line = line_from(straight_line(200.0))
    with pytest.raises(LineError, match="1180 zones ahead, the line ends 1000 zones after"):
        Observer(line, far)
    longer = line_from(straight_line(200.0), zones_after_finish=far.zones_ahead)
    progress = Progress(longer)
    progress.begin((100.0, 10.0, 400.0), longer.last_zone)
    out = np.zeros(far.size, dtype=np.float32)
    Observer(longer, far).observe(car(position=[100.0, 10.0, 400.0]), progress, out)
    np.testing.assert_allclose(out[far.way_points].reshape(60, 3)[-1], [0, 0, 590.0], atol=1e-4)


def test_an_observation_takes_well_under_a_millisecond():
    """The aim is 40 us; the bound leaves room for a busy machine."""
    line = line_from(straight_line(1500.0))
    progress, observer, state = Progress(line), Observer(line, LAYOUT), car()
    out = np.zeros(LAYOUT.size, dtype=np.float32)
    seconds = min(timeit.repeat(lambda: observer.observe(state, progress, out), number=200, repeat=5)) / 200
    assert seconds < 200e-6
