"""A cluster that takes Ray too long to start is tried again; no Ray is started here."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")

import ray

from tmrl_ray import ray_session
from tmrl_ray.errors import TmrlError
from tmrl_ray.ray_session import STARTS, started


@pytest.mark.parametrize(
    ("reason", "tries"), [("The current node timed out during startup. Try again.", STARTS), ("no such option", 1)]
)
def test_only_what_was_too_slow_is_tried_again(reason: str, tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    warned: list[object] = []

    def fail(address: str, **_: object) -> None:
        asked.append(address)
        raise Exception(reason)  # noqa: TRY002 - as Ray does

    monkeypatch.setattr(ray, "init", fail)
    monkeypatch.setattr(ray_session.log, "warning", lambda *words: warned.append(words))
    with pytest.raises(TmrlError, match="cannot be started here"), started(1, 1):
        pass
    assert asked == ["local"] * tries
    assert len(warned) == tries - 1
