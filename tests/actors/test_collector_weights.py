"""How newer weights come to act in a collector: from the next race or decision on, and never half."""

from __future__ import annotations

from concurrent.futures import Future

import torch
from safetensors.torch import save

from actors.collector import Turn
from actors.weight_store import Weights
from tests.actors.fakes import RACE_STEPS, Surroundings, answered
from tests.actors.test_collector import SETTINGS, collector_in, take
from tmrl_ray.errors import PeerUnavailableError


def weights_of(version: int) -> Weights:
    return Weights.of(version, save({"a": torch.zeros(3)}))


def test_newer_weights_act_from_the_next_race_on():
    around = Surroundings()
    collector = collector_in(around)
    collector.run_once()
    assert around.weights.asked == [0]  # the first time in any case
    around.weights.answer = lambda version: answered(weights_of(7) if version < 7 else None)
    around.sink.policy_version = 7
    collector.run_once()  # learns of them at its end
    report = collector.run_once()
    assert (report.first_version, report.last_version) == (7, 7)
    assert around.weights.acknowledged == [(0, 7)]
    versions = [set(chunk.core_of("policy_version").tolist()) for chunk in around.sink.chunks.values()]
    assert versions == [{0}, {0}, {7}]
    collector.run_once()
    assert around.weights.asked == [0, 0]


def test_newer_weights_that_are_written_up_are_not_waited_for_until_the_buffer_tells():
    around = Surroundings()
    collector = collector_in(around)
    collector.run_once()
    around.weights.answer = lambda version: answered(weights_of(7) if version < 7 else None)
    around.written_up = 7
    assert collector.run_once().first_version == 7
    assert around.sink.policy_version == 0


def test_newer_weights_may_act_from_the_next_decision_on():
    around = Surroundings()
    collector = collector_in(around, SETTINGS.replace(weights_at="decision", flush_s=0.5))
    take(collector, 10)
    around.weights.answer = lambda version: answered(weights_of(7) if version < 7 else None)
    around.sink.policy_version = 7
    around.clock.now_s += 0.5
    report = collector.run_once()
    assert (report.first_version, report.last_version) == (0, 7)
    chunks = list(around.sink.chunks.values())
    versions = [version for chunk in chunks for version in chunk.core_of("policy_version").tolist()]
    assert versions == [0] * 11 + [7] * (RACE_STEPS - 11)


def test_weights_that_do_not_come_are_not_waited_for_for_ever():
    around = Surroundings()
    around.weights.answer = lambda version: answered(PeerUnavailableError("the store is away"))
    collector = collector_in(around)
    assert collector.run_once() is not None
    around.sink.policy_version = 4
    assert collector.run_once() is not None
    around.weights.answer = lambda version: Future()
    assert take(collector, 2) == [Turn.WAITING] * 2
    around.clock.now_s += SETTINGS.fetch_s
    assert take(collector, 1) == [Turn.DECIDED]


def test_a_store_that_forgot_its_weights_is_not_asked_at_every_decision():
    around = Surroundings()
    around.sink.policy_version = 9
    collector = collector_in(around, SETTINGS.replace(weights_at="decision"))
    collector.run_once()
    assert around.weights.asked == [0]
    around.clock.now_s += 0.5
    collector.run_once()
    assert around.weights.asked == [0, 0]
    around.sink.policy_version = 10
    collector.run_once()
    collector.run_once()
    assert around.weights.asked == [0, 0, 0]


def test_damaged_weights_do_not_act():
    around = Surroundings()
    good = weights_of(7)
    around.weights.answer = lambda version: answered(Weights(7, good.data[:-1], good.checksum))
    collector = collector_in(around)
    assert collector.run_once().first_version == 0
    assert around.weights.acknowledged == []
