"""What tests of every package share."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session", autouse=True)
def interrupts_reach_children() -> None:
    """Let SIGINT end the processes that tests start, also where the tests run in the background.

    A shell starts background jobs with SIGINT ignored, and what is ignored is inherited.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Compute with one thread: what is small only loses by several, which wait for cores that others use."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real files of the game (``TMRL_TEST_DATA``); tests that need it are skipped without it."""
    folder = Path(os.environ.get("TMRL_TEST_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there, set TMRL_TEST_DATA")
    return folder


@pytest.fixture(scope="session", autouse=True)
def actors_are_no_nicer_than_tests() -> Iterator[None]:
    """Let actors have their share of a busy machine: Ray gives its workers niceness 15, and tests wait for them."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_worker_niceness", "0")
        yield
