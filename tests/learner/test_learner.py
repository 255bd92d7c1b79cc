"""The learner between a replay buffer and a weight store that are given by hand."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import load

from learner.learner import TEST_EVERY, Drawn, Learner, Ports, Question, Turn
from tests.iqn.networks import BATCH
from tests.learner.drawn import SETTINGS, drawn, update_of
from tmrl_ray.config.race import RewardSettings
from tmrl_ray.errors import DataError, PeerUnavailableError
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.sampling import Draw, PriorityUpdate
from tmrl_ray.experience.transitions import Valuation
from tmrl_ray.racing.reward import Term

BATCHES = 3
LEARNER = SETTINGS.replace(draw_batches=BATCHES, draw_ahead=False, publish_every=2, batch_size=BATCH)
REWARD = RewardSettings()
DRAW = Draw.of(np.zeros((BATCHES, BATCH), np.int64), np.full((BATCHES, BATCH), 4))


class FakeRing(NamedTuple):
    """A ring that has nothing but its name."""

    uuid: str


class FakeBuilder:
    """Builds batches by chance, the same ones from equal states."""

    buffers = 3
    ring_uuid = "first"
    torn_rows = lost_batches = 0

    def __init__(self) -> None:
        self.built = 0
        self.valuations: list[Valuation] = []

    def attach(self, ring: FakeRing) -> None:
        self.ring_uuid = ring.uuid

    def batches(
        self, draw: Draw, valuation: Valuation, *, demonstrations: Draw | None = None, augment: bool = True
    ) -> Iterator[Batch]:
        self.valuations.append(valuation)
        for _ in range(draw.shape[0]):
            self.built += 1
            yield drawn(seed=self.built)

    def state_dict(self) -> dict[str, Any]:
        return {"built": self.built}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.built = state["built"]


class FakePeers:
    """A replay buffer and a weight store that do as they are told."""

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.published: list[tuple[int, bytes]] = []
        self.answers: list[Drawn | Exception | None] = []
        """What comes next; None: no answer yet. When there is nothing left, rows are drawn."""
        self.newest_ring: str | Exception = "first"
        self.priorities: list[PriorityUpdate] = []
        """That were told besides questions."""
        self.takes_priorities: Exception | None = None
        """Why they are not taken; None: they are."""

    def ask(self, question: Question) -> Future[Drawn]:
        self.questions.append(question)
        answer = self.answers.pop(0) if self.answers else Drawn(100 * len(self.questions), DRAW)
        future: Future[Drawn] = Future()
        if isinstance(answer, Exception):
            future.set_exception(answer)
        elif answer is not None:
            future.set_result(answer)
        return future

    def ring(self) -> FakeRing:
        if isinstance(self.newest_ring, Exception):
            raise self.newest_ring
        return FakeRing(self.newest_ring)

    def set_priorities(self, updates: tuple[PriorityUpdate, ...]) -> None:
        if self.takes_priorities is not None:
            raise self.takes_priorities
        self.priorities += updates

    def publish(self, version: int, data: bytes) -> None:
        self.published.append((version, data))


def learner_of(peers: FakePeers, settings=LEARNER, reward: RewardSettings = REWARD, **options: Any) -> Learner:
    return Learner(update_of(settings), FakeBuilder(), Ports(peers, peers), reward, **options)


def test_each_turn_is_one_update_of_what_was_drawn():
    peers = FakePeers()
    learner = learner_of(peers)
    assert list(islice(learner.run(), 4)) == [Turn.LEARNED] * 4
    assert [(each.batches, each.batch_size) for each in peers.questions] == [(BATCHES, BATCH)] * 2
    assert (learner.steps, learner.env_steps) == (4, 200)
    summary = learner.take_summary()
    assert summary.figures["sound"] == 1.0
    assert learner.take_summary() is None


def test_weights_are_published_every_few_updates_and_their_version_told():
    peers = FakePeers()
    learner = learner_of(peers)
    list(islice(learner.run(), 4))
    assert [version for version, _ in peers.published] == [1, 2]
    weights = load(peers.published[-1][1])
    assert all(torch.equal(weights[name], tensor) for name, tensor in learner.update.weights().items())
    assert [each.policy_version for each in peers.questions] == [0, 1]


def test_it_waits_for_an_answer_and_asks_again_for_what_was_not_given():
    peers = FakePeers()
    peers.answers = [PeerUnavailableError("away"), Drawn(7, None), None]
    learner = learner_of(peers)
    assert list(islice(learner.run(), 5)) == [Turn.WAITING] * 5
    assert len(peers.questions) == 3
    assert peers.questions[0] == peers.questions[1]
    assert learner.env_steps == 7


def test_a_failure_that_is_none_of_the_way_ends_it():
    peers = FakePeers()
    peers.answers = [DataError("of another format")]
    with pytest.raises(DataError, match="another format"):
        next(learner_of(peers).run())


def test_priorities_are_told_with_the_next_question():
    peers = FakePeers()
    learner = learner_of(peers, prioritised=True, priorities_below_clock=100)
    list(islice(learner.run(), BATCHES + 1))
    assert [len(each.priorities) for each in peers.questions] == [0, BATCHES]
    update = peers.questions[1].priorities[0]
    assert update.rows.tolist() == drawn(seed=1).indices.tolist()
    assert np.isfinite(update.td_errors).all()


def test_with_draw_ahead_the_question_comes_before_the_updates_and_drain_leaves_nothing():
    peers = FakePeers()
    learner = learner_of(peers, LEARNER.replace(draw_ahead=True))
    next(learner.run())
    assert len(peers.questions) == 2
    learner.drain()
    assert list(learner.run()) == [Turn.LEARNED] * (2 * BATCHES - 1)
    assert len(peers.questions) == 2


def test_rewards_are_valued_by_the_discount_of_the_moment():
    peers = FakePeers()
    learner = learner_of(peers, LEARNER.replace(discount={"points": ((0, 0.5), (1000, 0.9))}))
    list(islice(learner.run(), BATCHES + 1))
    assert [each.gamma for each in learner.builder.valuations] == pytest.approx([0.54, 0.58])


def test_rewards_are_valued_by_the_weights_of_the_moment():
    slide = RewardSettings(neo_slide={"points": ((0, 0.0), (800, 0.5))}, schedule_speed=2.0)
    learner = learner_of(FakePeers(), reward=slide)
    list(islice(learner.run(), BATCHES + 1))
    worth = [each.term_weights[Term.NEO_SLIDE] for each in learner.builder.valuations]
    assert worth == pytest.approx([0.5 * 100 / 1600, 0.5 * 200 / 1600])


def test_what_is_restored_goes_on_exactly():
    peers = FakePeers()
    first = learner_of(peers)
    list(islice(first.run(), BATCHES))
    tensors, values = first.state_dict()
    second = learner_of(FakePeers())
    second.load_state_dict(tensors, values)
    assert (second.steps, second.version, second.env_steps) == (first.steps, first.version, first.env_steps)
    peers.answers = [Drawn(500, DRAW)]
    second._ports.rows.answers = [Drawn(500, DRAW)]
    for learner in (first, second):
        list(islice(learner.run(), BATCHES))
    other = second.update.weights()
    assert all(torch.equal(tensor, other[name]) for name, tensor in first.update.weights().items())


def test_rows_of_another_ring_are_read_there() -> None:
    peers = FakePeers()
    peers.answers = [Drawn(100, DRAW, ring_uuid="first"), *[Drawn(200, DRAW, ring_uuid="second")] * 2]
    learner = learner_of(peers, prioritised=True)
    list(islice(learner.run(), BATCHES))
    peers.newest_ring = PeerUnavailableError("away")
    assert next(learner.run()) is Turn.WAITING  # nobody knows where the rows are
    peers.newest_ring = "second"
    assert next(learner.run()) is Turn.LEARNED
    assert learner.builder.ring_uuid == "second"
    assert len(peers.questions) == 3


def test_races_that_are_kept_for_testing_are_measured_now_and_then() -> None:
    peers = FakePeers()
    peers.answers = [Drawn(100, DRAW, test=Draw.of(DRAW.rows[:1], DRAW.generations[:1]))]
    learner = learner_of(peers)
    list(islice(learner.run(), BATCHES))
    before = learner.update.weights()
    next(learner.run())
    assert [each.test_batches for each in peers.questions] == [1, 0]
    assert learner.builder.built == BATCHES + 2
    values = learner.tell().values
    assert values["learner/test_loss"] > 0 and values["learner/test_td_error"] > 0
    assert values["learner/samples"] == (BATCHES + 1) * BATCH
    assert any(not torch.equal(before[name], tensor) for name, tensor in learner.update.weights().items())
    list(islice(learner.run(), TEST_EVERY + BATCHES))
    assert [each.test_batches for each in peers.questions].count(1) == 2


def test_a_test_changes_nothing_that_is_learned() -> None:
    update = update_of(LEARNER)
    before, _ = update.state_dict()
    tested = update.test(drawn(seed=5))
    after, _ = update.state_dict()
    assert torch.isfinite(tested).all()
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["generator"]
    assert update.online.training
