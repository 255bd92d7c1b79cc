"""The reward: what is measured at each step, and how it is weighed.

A step stores the *terms*, plain measurements without any weight. Weights, schedules and the potential are applied
when a batch is drawn, so that a change of them holds for all experience at once. The terms and their figures are
those of the public TMNF agents; potential-based shaping is Ng, Harada and Russell 1999.

Shape letters: B any leading dimensions, F floats of an observation, R terms.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.race import RewardSettings
from tmrl_ray.racing.actions import FORWARD_RIGHT
from tmrl_ray.racing.observation_layout import WHEELS, ObservationLayout

Floats = NDArray[np.float32]


class Term(IntEnum):
    """The columns of the terms, in their order."""

    ELAPSED_MS = 0
    """Race time that the step took; at the finish, only up to it."""
    ADVANCED_M = 1
    """Metres of progress along the line, negative backwards."""
    SPEED_GAIN_MPS = 2
    """Speed after the step less speed before it, 0 unless the car moves forwards."""
    SPEED_SLIDE = 3
    """0 to 1: how near the slide is to the one at which the car gains most."""
    NEO_SLIDE = 4
    """1 at a sideways speed of at least 2 m/s, else 0."""
    KAMIKAZE = 5
    """1 for an action that only accelerates or with at most one wheel on the ground, else 0."""
    LINE_DISTANCE_M = 6
    """Distance to the car's zone, within 5 to 25 m."""
    FINISHED = 7
    """1 for the step that crossed the finish line, else 0."""


TERM_COUNT = len(Term)

NEO_SLIDE_MPS = 2.0
LINE_DISTANCE_RANGE_M = (5.0, 25.0)
SLIDE_FORCE_PER_MPS = 20.0  # the tyre's sideways force for each m/s of sideways speed
GRIP_SPEEDS_KMH = (0.0, 100.0, 200.0, 300.0, 400.0, 500.0)
GRIP_FORCES = (80.0, 80.0, 75.0, 67.0, 60.0, 55.0)  # beyond which the tyre slides, at each of those speeds
KMH_PER_MPS = 3.6

POTENTIAL_PER_M = -0.1
POTENTIAL_RANGE_M = (2.0, 25.0)


def measure_terms(
    layout: ObservationLayout,
    before: Floats,
    after: Floats,
    *,
    action: int,
    elapsed_ms: int,
    advanced_m: float,
    finished: bool,
) -> Floats:
    """Measure the terms of one step.

    Args:
        layout: of both observations.
        before: (F,) the floats at which ``action`` was chosen.
        after: (F,) the floats to which it led.
        action: what was held in between.
        elapsed_ms: race time in between.
        advanced_m: progress in between.
        finished: whether the finish line was crossed.

    Returns:
        (R,) in the order of :class:`Term`.
    """
    velocity = after[layout.velocity].astype(np.float64)
    sideways, _, forward = velocity.tolist()
    gain = float(np.linalg.norm(velocity) - np.linalg.norm(before[layout.velocity].astype(np.float64)))
    wheels_down = int(np.count_nonzero(after[layout.wheel_contact]))
    distance = float(np.linalg.norm(after[layout.way_point(0)]))
    terms = np.zeros(TERM_COUNT, dtype=np.float32)
    terms[Term.ELAPSED_MS] = elapsed_ms
    terms[Term.ADVANCED_M] = advanced_m
    terms[Term.SPEED_GAIN_MPS] = gain if forward > 0 else 0.0
    terms[Term.SPEED_SLIDE] = speed_slide(sideways, forward) if wheels_down == len(WHEELS) else 0.0
    terms[Term.NEO_SLIDE] = abs(sideways) >= NEO_SLIDE_MPS
    terms[Term.KAMIKAZE] = action <= FORWARD_RIGHT or wheels_down <= 1
    terms[Term.FINISHED] = finished
    terms[Term.LINE_DISTANCE_M] = min(max(distance, LINE_DISTANCE_RANGE_M[0]), LINE_DISTANCE_RANGE_M[1])
    return terms


def speed_slide(sideways_mps: float, forward_mps: float) -> float:
    """Return how near a slide is to the best one, 0 to 1: 1 when the tyre's force is twice what it can hold."""
    force = SLIDE_FORCE_PER_MPS * abs(sideways_mps)
    grip = float(np.interp(KMH_PER_MPS * forward_mps, GRIP_SPEEDS_KMH, GRIP_FORCES))
    excess = (force - grip) / grip if force > grip else 0.0
    return max(0.0, 1.0 - abs(excess - 1.0))


def weight_vector(settings: RewardSettings, env_steps: int = 0) -> NDArray[np.float64]:
    """Return the weight of each term (R,) after ``env_steps`` of the run."""
    weights = np.zeros(TERM_COUNT)
    weights[Term.ELAPSED_MS] = settings.per_ms
    weights[Term.ADVANCED_M] = settings.per_metre
    weights[Term.SPEED_GAIN_MPS] = settings.per_speed
    weights[Term.SPEED_SLIDE] = settings.speed_slide.at(env_steps, speed=settings.schedule_speed)
    weights[Term.NEO_SLIDE] = settings.neo_slide.at(env_steps, speed=settings.schedule_speed)
    weights[Term.KAMIKAZE] = settings.kamikaze
    weights[Term.LINE_DISTANCE_M] = settings.close_to_line
    weights[Term.FINISHED] = settings.finish
    return weights


def weigh(terms: Floats, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the reward (B,) of terms (B, R): their sum with these weights (R,)."""
    reward: NDArray[np.float64] = terms @ weights
    return reward


def potential(floats: Floats, layout: ObservationLayout, *, ahead_weight: float = 0.0) -> NDArray[np.float64]:
    """Return the potential (B,) of observations (B, F): high near the line and heading along it.

    Args:
        floats: the observations; at least two way-points.
        layout: of the observations.
        ahead_weight: for the cosine between the car's forward axis and the line's direction, less one.
    """
    own = floats[..., layout.way_point(0)].astype(np.float64)  # (B, 3)
    distance = np.clip(np.linalg.norm(own, axis=-1), *POTENTIAL_RANGE_M)
    value: NDArray[np.float64] = POTENTIAL_PER_M * distance
    if ahead_weight:
        along = floats[..., layout.way_point(1)].astype(np.float64) - own
        value += ahead_weight * (along[..., 2] / np.linalg.norm(along, axis=-1) - 1.0)
    return value


def shaping(
    before: NDArray[np.float64], after: NDArray[np.float64], discount: NDArray[np.float64] | float
) -> NDArray[np.float64]:
    """Return what shaping adds to the reward of a transition: discount * after - before.

    Args:
        before: (B,) potential where the transition starts.
        after: (B,) potential where it leads.
        discount: (B,) gamma ** n, and 0 where the transition is terminal, so that nothing depends on ``after``.
    """
    return discount * after - before
