"""The keeper of the learner at the end of a run: what counts of a learner that is away or has failed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("ray")

from ray.exceptions import ActorDiedError, RayTaskError

from learner.remote import LearnerFigures
from tmrl_ray import learner_keeper
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import PeerUnavailableError, TmrlError
from tmrl_ray.learner_keeper import LearnerKeeper
from tmrl_ray.runs.checkpoint_files import Part

SAVED, LAST = Part({"steps": 7}), Part({"steps": 9})
FIGURES = LearnerFigures(9, 3, 1000, 1.0, 2.0)


class Method:
    """Of the handle of an actor; ``answers`` by its name, an exception is raised."""

    def __init__(self, answers: dict[str, Any], name: str) -> None:
        self._answers = answers
        self._name = name

    def remote(self, *_: object) -> Any:
        return self._answers[self._name]


class Handle:
    """Of the learner's actor."""

    def __init__(self, answers: dict[str, Any]) -> None:
        for name in ("drain", "state", "figures"):
            setattr(self, name, Method(answers, name))


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the learner answers, to be changed."""
    given: dict[str, Any] = {"drain": True, "state": LAST, "figures": FIGURES}

    def answer(call: Callable[[], Any], peer: str) -> Future[Any]:
        future: Future[Any] = Future()
        answered = call()
        if isinstance(answered, Exception):
            future.set_exception(answered)
        else:
            future.set_result(answered)
        return future

    monkeypatch.setattr(learner_keeper, "start_actor", lambda *_, **__: Handle(given))
    monkeypatch.setattr(learner_keeper, "end_actor", lambda _: None)
    monkeypatch.setattr(learner_keeper, "answer", answer)
    monkeypatch.setattr(learner_keeper, "ask", lambda call, peer, *, timeout_s: answer(call, peer).result())
    return given


def keeper_of(saved: Part | None) -> LearnerKeeper:
    return LearnerKeeper(RunConfig(), "run", torch.device("cpu"), Path("set_aside.jsonl"), lambda: saved, {})


def died() -> PeerUnavailableError:
    error = PeerUnavailableError("the learner is away (ActorDiedError)")
    error.__cause__ = ActorDiedError()
    return error


def test_a_learner_that_is_there_is_drained_and_saved(answers: dict[str, Any]) -> None:
    keeper = keeper_of(SAVED)
    assert keeper.last_state() is LAST
    assert keeper.figures == FIGURES


def test_while_it_is_about_to_be_started_again_the_newest_checkpoint_counts(answers: dict[str, Any]) -> None:
    keeper = keeper_of(SAVED)
    answers["figures"] = died()
    for _ in range(2):
        keeper.reconcile()
    assert keeper.restarts == 1
    assert keeper.last_state() is SAVED


@pytest.mark.parametrize(
    "failure",
    [died(), TmrlError("nothing but NaN"), RayTaskError("figures", "a traceback", ValueError("broken"))],
    ids=["died", "ended", "broken"],
)
def test_so_it_does_where_the_learner_fails_at_the_very_end(answers: dict[str, Any], failure: Exception) -> None:
    keeper = keeper_of(SAVED)
    answers["figures"] = failure
    assert keeper.last_state() is SAVED


def test_a_learner_that_is_away_and_was_never_saved_is_missed(answers: dict[str, Any]) -> None:
    keeper = keeper_of(None)
    answers["drain"] = died()
    with pytest.raises(PeerUnavailableError, match="the learner is away and was never saved"):
        keeper.last_state()
