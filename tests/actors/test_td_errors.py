"""TD errors of new rows, worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from actors.collector import Collector
from actors.td_errors import OneStepTdErrors
from tests.actors.fakes import RACE_STEPS, Surroundings, driving
from tests.experience.races import MadeUpRaces
from tmrl_ray.config.collector import CollectorSettings
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.race import RewardSettings
from tmrl_ray.config.replay import PrioritySettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.columns import UNKNOWN_STEPS, HowEnded
from tmrl_ray.racing.reward import TERM_COUNT, Term, weigh, weight_vector
from tmrl_ray.training import Training

REWARD = RewardSettings(per_ms=-0.01, per_metre=2.0)


def columns(how: HowEnded, to_end: list[int]) -> dict[str, np.ndarray]:
    terms = np.zeros((4, TERM_COUNT), np.float32)
    terms[:, Term.ELAPSED_MS] = [50, 50, 30, 0]
    terms[:, Term.ADVANCED_M] = [1.0, 3.0, 0.5, 0.0]
    return {
        "terms": terms,
        "q_value": np.array([2.0, 1.0, 0.25, np.nan], np.float32),
        "q_max": np.array([2.0, 4.0, 0.5, np.nan], np.float32),
        "steps_to_end": np.array(to_end, np.int32),
        "how_ended": np.full(4, how, np.uint8),
    }


# rewards 1.5, 5.5, 0.7; with a discount of 0.5: 1.5 + 2.0 - 2.0, 5.5 + 0.25 - 1.0, 0.7 + (none or 0) - 0.25
@pytest.mark.parametrize(
    ("how", "to_end", "expected"),
    [
        (HowEnded.FINISH, [3, 2, 1, 0], [1.5, 4.75, 0.45, np.nan]),
        (HowEnded.CUT_OFF, [3, 2, 1, 0], [1.5, 4.75, np.nan, np.nan]),
        (HowEnded.NONE, [UNKNOWN_STEPS] * 4, [1.5, 4.75, np.nan, np.nan]),
    ],
)
def test_errors_are_those_worked_out_by_hand(how: HowEnded, to_end: list[int], expected: list[float]):
    errors = OneStepTdErrors(REWARD, 0.5)(columns(how, to_end))
    assert errors.dtype == np.float32
    assert errors.tolist() == pytest.approx(expected, nan_ok=True)


def test_values_that_overflowed_are_no_priorities():
    seen = columns(HowEnded.FINISH, [3, 2, 1, 0])
    seen["q_max"][1] = np.inf
    assert np.isnan(OneStepTdErrors(REWARD, 0.5)(seen)).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("priorities", "known"),
    [(PrioritySettings(new_rows="td_error"), 22), (PrioritySettings(), 0), (None, 0)],
)
def test_a_run_whose_new_rows_go_by_them_sends_them(priorities: PrioritySettings | None, known: int):
    network = NetworkSettings(float_hidden=7, head_hidden=11, quantile_embedding=5)
    config = RunConfig(game=GameSettings(frame_size=None), network=network)
    training = Training.of(config.replace(replay=config.replay.replace(priorities=priorities)))
    drives = training.driving()
    policy = drives.make_policy(3)
    builder = ChunkBuilder(drives.format, 0, 1, td_errors=drives.td_errors)
    races = MadeUpRaces(format=drives.format)
    for number in range(23):
        step = races.step(number)
        builder.add(replace(step, decision=policy.act(None, step.floats)))
    (chunk,) = builder.end(races.end(23, "cut_off"))
    errors = chunk.core_of("td_error")
    assert np.isfinite(errors).sum() == known  # what follows the last decision is not known
    if known:
        values, terms = chunk.core_of("q_value"), weigh(chunk.core_of("terms"), weight_vector(config.reward))
        discount = config.learner.discount.at(0)
        assert errors[4] == pytest.approx(terms[4] + discount * chunk.core_of("q_max")[5] - values[4], rel=1e-5)


def test_collectors_send_them():
    around = Surroundings()
    drives = driving()
    drives = type(drives)(**{**vars(drives), "td_errors": OneStepTdErrors(REWARD, 0.5)})
    Collector(0, CollectorSettings(), drives, around.ports, run_seed=0).run_once()
    (chunk,) = around.sink.chunks.values()
    errors = chunk.core_of("td_error")
    assert np.isfinite(errors).sum() == RACE_STEPS
