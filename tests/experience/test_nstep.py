"""n-step transitions against a reference that goes over one race, one transition at a time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.experience import nstep
from tmrl_ray.experience.columns import UNKNOWN_STEPS, HowEnded


@dataclass
class Race:
    """A race as a list, in which ``greedy`` and ``rewards`` are those of its decisions."""

    greedy: list[bool]
    rewards: list[float]
    how: HowEnded


def plain_transition(race: Race, begin: int, n: int, gamma: float) -> tuple[int, float, float]:
    """Return steps, reward and discount of the transition that begins at a decision."""
    reward, steps = 0.0, 0
    while True:
        reward += gamma**steps * race.rewards[begin + steps]
        steps += 1
        if begin + steps == len(race.rewards):
            return steps, reward, 0.0 if race.how == HowEnded.FINISH else gamma**steps
        if steps == n or not race.greedy[begin + steps]:
            return steps, reward, gamma**steps


races = st.builds(
    lambda decisions, how: Race([d[0] for d in decisions], [d[1] for d in decisions], how),
    st.lists(st.tuples(st.booleans(), st.floats(-3, 3)), min_size=1, max_size=17),
    st.sampled_from([HowEnded.FINISH, HowEnded.CUT_OFF, HowEnded.LOST]),
)


@settings(max_examples=200, deadline=None)
@given(race=races, n=st.integers(1, 7), gamma=st.sampled_from([0.0, 0.9, 0.999, 1.0]), known=st.integers(0, 9))
def test_transitions_are_those_of_the_plain_reference(race: Race, n: int, gamma: float, known: int) -> None:
    count = len(race.rewards)
    rows = np.arange(count)
    steps_to_end = np.arange(count, 0, -1, dtype=np.int32)
    how = np.full(count, race.how, np.uint8)
    unknown = steps_to_end > n + known  # a chunk knows the end within its look-ahead, or farther
    steps_to_end[unknown], how[unknown] = UNKNOWN_STEPS, HowEnded.NONE
    greedy = np.array([*race.greedy, False], np.uint8)
    rewards = np.array([*race.rewards, 1e9])  # of the final observation: never counted

    known_steps = nstep.known_steps(steps_to_end, n)
    reached = nstep.reached_rows(rows, known_steps, n)
    assert reached.max() <= count
    steps = np.minimum(known_steps, nstep.steps_to_cut(greedy[reached]))
    total = nstep.discounted_sum(rewards[reached], steps, gamma)
    discounts = nstep.discounts(steps, nstep.reaches_end(steps, steps_to_end, how), gamma)

    expected = [plain_transition(race, begin, n, gamma) for begin in range(count)]
    assert steps.tolist() == [each[0] for each in expected]
    np.testing.assert_allclose(total, [each[1] for each in expected], atol=1e-12)
    np.testing.assert_allclose(discounts, [each[2] for each in expected], atol=1e-12)


def test_one_step_is_the_ordinary_transition() -> None:
    greedy = np.zeros((1, 3), np.uint8)
    assert nstep.steps_to_cut(greedy).tolist() == [1, 1, 1]
    assert nstep.discounted_sum(np.array([[2.0, 3.0, 5.0]]), np.ones(3, int), 0.5).tolist() == [2, 3, 5]


def test_the_first_action_may_be_any_and_the_cut_is_before_the_next_that_is_not_greedy() -> None:
    greedy = np.array([[0, 1, 1, 0, 1], [1, 0, 1, 1, 1], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0]], np.uint8)
    assert nstep.steps_to_cut(greedy.T).tolist() == [3, 1, 5, 4]


def test_by_hand() -> None:
    steps_to_end = np.array([UNKNOWN_STEPS, 2, 2, 1], np.int32)
    how = np.array([HowEnded.NONE, HowEnded.FINISH, HowEnded.CUT_OFF, HowEnded.LOST], np.uint8)
    steps = nstep.known_steps(steps_to_end, 3)
    assert steps.tolist() == [3, 2, 2, 1]
    rewards = np.array([[1.0, 2.0, 4.0]] * 4)
    assert nstep.discounted_sum(rewards.T, steps, 0.5).tolist() == [3.0, 2.0, 2.0, 1.0]
    terminal = nstep.reaches_end(steps, steps_to_end, how)
    assert nstep.discounts(steps, terminal, 0.5).tolist() == [0.125, 0.0, 0.25, 0.5]


@pytest.mark.parametrize(("cut_off_ends", "expected"), [(False, [True, False, False]), (True, [True, True, False])])
def test_a_cut_off_is_an_end_only_where_that_is_asked_for(cut_off_ends: bool, expected: list[bool]) -> None:
    steps, to_end = np.full(3, 2, dtype=np.int64), np.full(3, 2, dtype=np.int32)
    how = np.array([HowEnded.FINISH, HowEnded.CUT_OFF, HowEnded.LOST], dtype=np.uint8)
    assert nstep.reaches_end(steps, to_end, how, cut_off_ends=cut_off_ends).tolist() == expected
    assert not nstep.reaches_end(steps - 1, to_end, how, cut_off_ends=cut_off_ends).any()
