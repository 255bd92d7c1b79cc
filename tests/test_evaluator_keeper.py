"""An evaluator that fails in any way: a run goes on, and evaluations come back when it does."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest
from ray.exceptions import ActorDiedError, ActorUnavailableError

from actors.evaluation import Evaluation
from tmrl_ray.errors import DataError, GameRefusedError, PeerUnavailableError, TmrlError
from tmrl_ray.evaluator_keeper import FIRST_PAUSE_S, LAST_PAUSE_S, EvaluatorKeeper


class FakeEvaluator:
    """Answers when it is told to."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.asked: list[tuple[int, int]] = []
        self.ended = False
        self.answer: Future[Evaluation | None] = Future()

    def evaluate(self, version: int, races: int) -> Future[Evaluation | None]:
        self.asked.append((version, races))
        self.answer = Future()
        return self.answer

    def end(self) -> None:
        self.ended = True


class Site:
    """A keeper with its clock and all evaluators that it ever started."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.started: list[FakeEvaluator] = []
        self.keeper = EvaluatorKeeper(self._start, clock=lambda: self.now_s)

    def _start(self, part: str) -> Any:
        self.started.append(FakeEvaluator(part))
        return self.started[-1]

    def fail(self, error: BaseException) -> None:
        self.keeper.evaluate(3)
        self.started[-1].answer.set_exception(error)
        assert self.keeper.take() is None

    @property
    def failures(self) -> object:
        return self.keeper.tell().values["evaluation/failures"]


def test_an_evaluation_is_asked_for_taken_and_not_asked_for_again() -> None:
    site = Site()
    assert site.failures == 0
    site.keeper.evaluate(3)
    assert site.keeper.is_busy and not site.keeper.is_ready
    assert site.keeper.take() is None
    evaluation = Evaluation(7, (), (), 1.5)
    site.started[0].answer.set_result(evaluation)
    assert site.keeper.take() == evaluation
    assert site.keeper.is_ready
    site.keeper.evaluate(5)
    site.started[0].answer.set_result(None)  # there are no newer weights
    assert site.keeper.take() is None
    assert site.started[0].asked == [(0, 3), (7, 5)]
    assert site.failures == 0


@pytest.mark.parametrize(
    "error",
    [
        GameRefusedError("the game was lost 6 times"),
        DataError("the weights are damaged"),
        TimeoutError("no weights came"),
        ZeroDivisionError("a bug"),
        PeerUnavailableError("the evaluator is away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_whatever_it_raises_is_told_and_the_same_evaluator_is_asked_again_after_a_pause(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    site = Site()
    error.__cause__ = ActorUnavailableError("it is started again", None)
    site.fail(error)
    assert str(error) in caplog.text
    assert site.failures == 1
    assert not site.keeper.is_ready and not site.keeper.is_busy
    site.now_s += FIRST_PAUSE_S
    assert site.keeper.is_ready
    site.fail(error)
    site.now_s += FIRST_PAUSE_S
    assert not site.keeper.is_ready, "the second pause is longer"
    for _ in range(9):
        site.now_s += LAST_PAUSE_S
        assert site.keeper.is_ready
        site.fail(error)
    assert site.failures == 11
    site.now_s += LAST_PAUSE_S
    site.keeper.evaluate(3)
    site.started[0].answer.set_result(Evaluation(7, (), (), 1.5))
    assert site.keeper.take() is not None
    site.fail(error)
    site.now_s += FIRST_PAUSE_S
    assert site.keeper.is_ready, "pauses are short again after a success"
    assert len(site.started) == 1


def test_an_evaluator_that_ray_has_given_up_is_started_anew() -> None:
    site = Site()
    refused = TmrlError("the evaluator could not be started: no such track")
    refused.__cause__ = ActorDiedError()
    site.fail(refused)
    assert len(site.started) == 1, "not before it is needed"
    site.now_s += FIRST_PAUSE_S
    site.keeper.evaluate(3)
    assert [each.part for each in site.started] == ["evaluator", "evaluator-2"]
    assert [each.ended for each in site.started] == [True, False]
    site.started[1].answer.set_result(Evaluation(2, (), (), 1.5))
    assert site.keeper.take() is not None
