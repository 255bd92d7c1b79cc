"""A cluster that takes Ray too long to start is tried again; no Ray is started here."""

from __future__ import annotations

import logging

import pytest

pytest.importorskip("ray")

import ray

from tmrl_ray.errors import TmrlError
from tmrl_ray.ray_session import STARTS, started


@pytest.mark.parametrize(
    ("reason", "tries"), [("The current node timed out during startup. Try again.", STARTS), ("no such option", 1)]
)
def test_only_what_was_too_slow_is_tried_again(
    reason: str, tries: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[str] = []

    def fail(address: str, **_: object) -> None:
        asked.append(address)
        raise Exception(reason)  # noqa: TRY002 - as Ray does

    monkeypatch.setattr(ray, "init", fail)
    with caplog.at_level(logging.WARNING), pytest.raises(TmrlError, match="cannot be started here"), started(1, 1):
        pass
    assert asked == ["local"] * tries
    assert len(caplog.records) == tries - 1
