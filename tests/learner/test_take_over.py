"""A learner that runs takes over what fits its network, refuses what does not, and goes on either way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load

from learner.pretrained import Injection
from learner.remote import LearnerShell
from tests.iqn.networks import small_network
from tests.learner.artifacts import parts_of, write
from tests.learner.test_learner import FakePeers, learner_of
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.pretrained import PretrainedSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import ArtifactError, PeerUnavailableError
from tmrl_ray.iqn.network import IQN

FOLLOWING = PretrainedSettings(follow="cloned", logit_temperature=1.0)


def plan(network: IQN, path: Path) -> Injection:
    return Injection.plan(network, FOLLOWING, decision_period_ms=50, observation="", announced=path)


@pytest.fixture
def peers() -> FakePeers:
    return FakePeers()


@pytest.fixture
def shell(peers: FakePeers) -> Iterator[LearnerShell]:
    shell = LearnerShell(partial(learner_of, peers), plan)
    yield shell
    assert shell.drain(10.0)


def test_what_fits_is_taken_over_and_published_once(shell: LearnerShell, peers: FakePeers, tmp_path: Path) -> None:
    trained = small_network(seed=1)
    path = write(tmp_path / "cloned", parts_of(trained))
    assert shell.take_over(str(path)) is None
    bias = trained.state_dict()["value_head.last.bias"]
    published = [version for version, data in peers.published if torch.equal(load(data)["value_head.last.bias"], bias)]
    assert len(published) == 1
    assert shell.take_over(str(path)) is None  # the same again
    again = [version for version, data in peers.published if torch.equal(load(data)["value_head.last.bias"], bias)]
    assert again == published


def test_what_does_not_fit_is_refused_with_names_and_shapes_and_learning_goes_on(
    shell: LearnerShell, tmp_path: Path
) -> None:
    """Fault 35: a stage pushes an artifact of another network."""
    parts = parts_of(small_network(seed=1))
    renamed = {
        key: {name.replace("last", "final"): tensor for name, tensor in named.items()} for key, named in parts.items()
    }
    reason = shell.take_over(str(write(tmp_path / "cloned", renamed)))
    assert reason is not None
    assert "value_head.final.weight is (1, 13), the network has no such tensor" in reason
    assert "value_head.last.weight is not there, the network has (1, 13)" in reason
    steps = shell.figures().steps
    deadline = time.monotonic() + 30
    while shell.figures().steps <= steps and time.monotonic() < deadline:
        time.sleep(0.01)
    assert shell.figures().steps > steps
    missing = shell.take_over(str(tmp_path / "nowhere"))
    assert missing is not None and "is no artifact" in missing


class FakeRegistry:
    """A registry that knows of two announcements; the second one does not fit."""

    def __init__(self) -> None:
        from actors.registry import ArtifactRegistry

        self.plain = ArtifactRegistry()

    def newest(self, run: str, *, after: int = 0) -> Future[object]:
        return answered(self.plain.newest(run, after=after))

    def refuse(self, refusal: object) -> None:
        self.plain.refuse(refusal)  # type: ignore[arg-type]


def answered(value: object) -> Future[object]:
    future: Future[object] = Future()
    if isinstance(value, Exception):
        future.set_exception(value)
    else:
        future.set_result(value)
    return future


def test_a_stage_is_followed_from_checkpoint_to_checkpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = pytest.importorskip("tmrl_ray.learner_keeper")
    from actors.registry import Announcement

    registry, told = FakeRegistry(), list[str]()
    reasons: list[object] = [None, PeerUnavailableError("away"), "value_head is another one"]
    monkeypatch.setattr(keeper.RegistryClient, "find", lambda: registry)
    monkeypatch.setattr(keeper, "answer", lambda call, peer: answered(call()))

    class Learner:
        class take_over:  # noqa: N801 - as the handle of an actor has it
            @staticmethod
            def remote(path: str) -> object:
                told.append(path)
                return reasons.pop(0)

    following = keeper.Following("run", "cloned")

    def look(times: int = 4) -> None:
        for _ in range(times):
            following.look(Learner)

    def announce(path: str) -> None:
        registry.plain.announce(Announcement("cloned", "bc", path, "0" * 16, {}))

    announce("/first")
    look()
    assert told == []  # no checkpoint yet, to which one could go back
    following.is_due = True
    look()
    following.is_due = True
    look()
    assert told == ["/first"]  # once
    announce("/second")
    following.is_due = True
    look()
    assert told == ["/first", "/second"]  # the learner died of something else meanwhile
    following.is_due = True
    look()
    assert told == ["/first", "/second", "/second"]
    (refusal,) = registry.plain.refusals("cloned")
    assert (refusal.number, refusal.learner, refusal.reason) == (2, "run", "value_head is another one")


def test_an_artifact_is_waited_for_until_one_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    keeper = pytest.importorskip("tmrl_ray.learner_keeper")
    from actors.registry import Announcement

    registry = FakeRegistry()
    monkeypatch.setattr(keeper.RegistryClient, "find", lambda: registry)
    coming = ["/unfit", "/fit"]

    def sleep(seconds: float) -> None:
        registry.plain.announce(Announcement("cloned", "bc", coming.pop(0), "0" * 16, {}))

    monkeypatch.setattr(keeper.time, "sleep", sleep)

    class FakeTraining:
        config = RunConfig(learner=LearnerSettings(pretrained=PretrainedSettings(wait_for="cloned")))

        @staticmethod
        def check_pretrained(path: Path) -> None:
            if path == Path("/unfit"):
                raise ArtifactError("another network")

    assert keeper._awaited(FakeTraining, "run") == Path("/fit")
    (refusal,) = registry.plain.refusals("cloned")
    assert (refusal.number, refusal.reason) == (1, "another network")
