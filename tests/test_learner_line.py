"""What the learner published is published again once the weight store has lost it, and not otherwise."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from actors.draw_messages import NeedMore
from actors.weight_store import Weights, WeightStore
from learner.learner import Question
from tests.experience.races import FORMAT
from tmrl_ray import learner_line
from tmrl_ray.errors import PeerUnavailableError
from tmrl_ray.learner_line import LearnerLine


class FakeReplay:
    """A buffer that has nothing to draw."""

    def draw(self, request: object) -> Future[NeedMore]:
        return answered(NeedMore("ring", 0, 1))


class FakeClient:
    """A store that can be killed: then it is empty, and calls fail until it is back."""

    def __init__(self) -> None:
        self.store = WeightStore()
        self.is_away = False
        self.published: list[int] = []

    def version(self) -> Future[int]:
        return failed() if self.is_away else answered(self.store.version)

    def publish(self, weights: Weights) -> Future[int]:
        if self.is_away:
            return failed()
        self.published.append(weights.version)
        return answered(self.store.publish(weights))

    def be_killed(self) -> None:
        self.store, self.is_away = WeightStore(), True


def answered(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def failed() -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(PeerUnavailableError("it is started again"))
    return future


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    monkeypatch.setattr(learner_line, "LOOK_S", 0.0)
    return FakeClient()


def ask(line: LearnerLine, times: int = 5) -> None:
    for _ in range(times):
        line.ask(Question(1, 8, policy_version=1)).result(0)


def test_a_store_that_was_killed_is_filled_again_with_the_newest_weights(client: FakeClient) -> None:
    line = LearnerLine(FakeReplay(), client, FORMAT)  # type: ignore[arg-type]
    ask(line)
    assert client.published == [], "there is nothing to publish yet"
    line.publish(3, b"three")
    line.publish(4, b"four")
    ask(line)
    assert client.published == [3, 4]
    client.be_killed()
    ask(line)
    client.is_away = False
    ask(line)
    assert client.published == [3, 4, 4]
    kept = client.store.fetch_if_newer(0)
    assert kept is not None
    assert kept.data == b"four"


def test_weights_that_were_on_their_way_to_a_killed_store_are_published_again(client: FakeClient) -> None:
    line = LearnerLine(FakeReplay(), client, FORMAT)  # type: ignore[arg-type]
    client.be_killed()
    line.publish(7, b"seven")
    client.is_away = False
    ask(line)
    assert client.published == [7]


def test_a_store_with_newer_weights_is_left_alone(client: FakeClient) -> None:
    line = LearnerLine(FakeReplay(), client, FORMAT)  # type: ignore[arg-type]
    client.store.publish(Weights.of(9, b"nine"))
    line.publish(8, b"eight")
    ask(line)
    assert client.published == [8]
