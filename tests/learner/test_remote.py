"""The learner in a thread of its own: what it tells the others before its state is saved."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from learner.remote import LearnerShell
from tests.learner.drawn import drawn
from tests.learner.test_learner import LEARNER, FakePeers, learner_of
from tests.learner.test_take_over import plan
from tmrl_ray.errors import PeerUnavailableError


def rows_told(peers: FakePeers) -> list[list[int]]:
    """Return the rows of each batch whose priorities were told, by a question or besides."""
    updates = [update for question in peers.questions for update in question.priorities] + peers.priorities
    return sorted(update.rows.tolist() for update in updates)


def shell_of(peers: FakePeers, **options: Any) -> LearnerShell:
    settings = LEARNER.replace(draw_ahead=True)
    return LearnerShell(partial(learner_of, peers, settings, prioritised=True, **options), plan)


def test_the_priorities_of_the_last_batches_are_told_before_the_state_is_saved() -> None:
    peers = FakePeers()
    shell = shell_of(peers)
    assert shell.drain(10.0)
    steps = shell.figures().steps
    assert peers.priorities == []
    saved = shell.state()
    assert saved.values["update"]["steps"] == steps > 0
    assert peers.priorities != []
    assert rows_told(peers) == sorted(drawn(seed=seed).indices.tolist() for seed in range(1, steps + 1))
    told = len(peers.priorities)
    shell.state()
    assert len(peers.priorities) == told, "told twice"
    assert all(np.isfinite(update.td_errors).all() for update in peers.priorities)


def test_a_state_is_saved_also_while_nobody_takes_priorities_which_are_told_later() -> None:
    peers = FakePeers()
    peers.takes_priorities = PeerUnavailableError("away")
    shell = shell_of(peers)
    assert shell.drain(10.0)
    assert shell.state().values["update"]["steps"] == shell.figures().steps
    assert peers.priorities == []
    peers.takes_priorities = None
    shell.state()
    assert rows_told(peers) == sorted(drawn(seed=seed).indices.tolist() for seed in range(1, shell.figures().steps + 1))
