"""Reward terms, weights and the potential against values worked out by hand."""

import numpy as np
import pytest

from tmrl_ray.config.race import RewardSettings
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reward import (
    TERM_COUNT,
    Term,
    measure_terms,
    potential,
    shaping,
    speed_slide,
    weigh,
    weight_vector,
)

LAYOUT = ObservationLayout()


def floats(velocity=(0.0, 0.0, 50.0), contact=(1, 1, 1, 1), own=(0.0, 0.0, 0.0), ahead=(0.0, 0.0, 10.0)):
    vector = np.zeros(LAYOUT.size, dtype=np.float32)
    vector[LAYOUT.velocity] = velocity
    vector[LAYOUT.wheel_contact] = contact
    vector[LAYOUT.way_point(0)] = own
    vector[LAYOUT.way_point(1)] = ahead
    return vector


def terms(before=None, after=None, **changes):
    step = {"action": 3, "elapsed_ms": 50, "advanced_m": 2.5, "finished": False} | changes
    before = floats() if before is None else before
    return measure_terms(LAYOUT, before, floats() if after is None else after, **step)


def test_time_and_progress():
    measured = terms(elapsed_ms=30, advanced_m=-1.75)
    assert measured[Term.ELAPSED_MS] == 30
    assert measured[Term.ADVANCED_M] == -1.75
    # 30 ms * -6/5000 + -1.75 m * 0.01
    assert weigh(measured, weight_vector(RewardSettings())) == pytest.approx(-0.036 - 0.0175)


def test_at_120_mps_the_default_reward_is_zero():
    measured = terms(elapsed_ms=50, advanced_m=120 * 0.05)
    assert weigh(measured, weight_vector(RewardSettings())) == pytest.approx(0.0, abs=1e-9)


def test_speed_gain_is_of_the_whole_speed_and_only_forwards():
    slow, fast = floats(velocity=(3.0, 0.0, 4.0)), floats(velocity=(2.0, 3.0, 6.0))
    assert terms(slow, fast)[Term.SPEED_GAIN_MPS] == pytest.approx(7.0 - 5.0)
    assert terms(fast, slow)[Term.SPEED_GAIN_MPS] == pytest.approx(-2.0)
    backwards = floats(velocity=(2.0, 3.0, -6.0))
    assert terms(slow, backwards)[Term.SPEED_GAIN_MPS] == 0.0


@pytest.mark.parametrize(
    ("sideways", "forward_kmh", "expected"),
    [
        (0.0, 300, 0.0),  # force 0
        (3.35, 300, 0.0),  # 67 of 67: just holds
        (6.7, 300, 1.0),  # 134 of 67: the best slide
        (-6.7, 300, 1.0),  # to the other side
        (5.025, 300, 0.5),  # 100.5: half way
        (8.375, 300, 0.5),  # 167.5: beyond it
        (10.05, 300, 0.0),  # 201: far too much
        (6.0, 50, 0.5),  # 120 of 80
        (7.1, 250, 1.0),  # 142 of 71, between the table's rows
        (5.5, 900, 1.0),  # 110 of 55, beyond the table
    ],
)
def test_speed_slide(sideways, forward_kmh, expected):
    assert speed_slide(sideways, forward_kmh / 3.6) == pytest.approx(expected, abs=1e-6)


def test_speed_slide_needs_four_wheels_on_the_ground():
    sliding = (6.7, 0.0, 300 / 3.6)
    assert terms(after=floats(velocity=sliding))[Term.SPEED_SLIDE] == pytest.approx(1.0, abs=1e-6)
    assert terms(after=floats(velocity=sliding, contact=(1, 1, 1, 0)))[Term.SPEED_SLIDE] == 0.0


@pytest.mark.parametrize(("sideways", "expected"), [(1.99, 0), (2.0, 1), (-2.0, 1), (-1.5, 0)])
def test_neo_slide(sideways, expected):
    assert terms(after=floats(velocity=(sideways, 0.0, 50.0)))[Term.NEO_SLIDE] == expected


@pytest.mark.parametrize(
    ("action", "wheels", "expected"), [(0, 4, 1), (2, 4, 1), (3, 4, 0), (9, 4, 0), (9, 2, 0), (9, 1, 1), (6, 0, 1)]
)
def test_kamikaze(action, wheels, expected):
    contact = [1] * wheels + [0] * (4 - wheels)
    assert terms(after=floats(contact=contact), action=action)[Term.KAMIKAZE] == expected


@pytest.mark.parametrize(("own", "expected"), [((0, 0, 1), 5), ((6, 0, 8), 10), ((0, 20, 21), 25)])
def test_line_distance(own, expected):
    assert terms(after=floats(own=own))[Term.LINE_DISTANCE_M] == expected


def test_each_weight_weighs_its_own_term():
    names = ["per_ms", "per_metre", "per_speed", "speed_slide", "neo_slide", "kamikaze", "close_to_line", "finish"]
    for term, name in zip(Term, names, strict=True):
        weights = RewardSettings(**{other: 0.0 for other in names} | {name: 7.0})
        assert weight_vector(weights).tolist() == [7.0 if other == term else 0.0 for other in Term]


def test_slides_are_weighed_by_schedules_of_env_steps():
    bump = {"points": ((0, 0.0), (100, 2.0), (300, 0.0))}
    weights = RewardSettings(speed_slide=bump, neo_slide=3.0, schedule_speed=10.0)
    values = [
        weight_vector(weights, step)[[Term.SPEED_SLIDE, Term.NEO_SLIDE]].tolist() for step in (0, 500, 1000, 2000)
    ]
    assert values == [[0.0, 3.0], [1.0, 3.0], [2.0, 3.0], [1.0, 3.0]]


def test_the_finish_is_rewarded_once():
    bonus = weight_vector(RewardSettings(per_ms=0.0, per_metre=0.0, finish=11.0))
    assert weigh(np.stack([terms(), terms(finished=True)]), bonus).tolist() == [0.0, 11.0]


def test_many_steps_are_weighed_at_once():
    batch = np.random.default_rng(1).normal(size=(3, 5, TERM_COUNT)).astype(np.float32)
    weights = np.arange(1.0, TERM_COUNT + 1)
    expected = sum(batch[..., k].astype(np.float64) * weights[k] for k in range(TERM_COUNT))
    np.testing.assert_allclose(weigh(batch, weights), expected)


@pytest.mark.parametrize(("own", "expected"), [((0, 0, 0), -0.2), ((3, 0, 4), -0.5), ((0, 0, 90), -2.5)])
def test_potential_near_the_line(own, expected):
    assert potential(floats(own=own), LAYOUT) == pytest.approx(expected)


def test_potential_along_the_line():
    # from (1, 0, 1) to (4, 0, 5): direction (0.6, 0, 0.8), so 2 * (0.8 - 1) = -0.4 on top of -0.1 * 2
    vector = floats(own=(1, 0, 1), ahead=(4, 0, 5))
    assert potential(vector, LAYOUT, ahead_weight=2.0) == pytest.approx(-0.6)


def test_potential_of_a_batch():
    batch = np.stack([floats(own=(0, 0, 0)), floats(own=(3, 0, 4)), floats(own=(0, 0, 90))]).reshape(1, 3, -1)
    np.testing.assert_allclose(potential(batch, LAYOUT), [[-0.2, -0.5, -2.5]])


def test_shaping_forgets_what_follows_a_terminal_step():
    before, after = np.array([-0.2, -0.5]), np.array([-0.5, -2.5])
    np.testing.assert_allclose(shaping(before, after, np.array([0.9, 0.0])), [-0.45 + 0.2, 0.5])
