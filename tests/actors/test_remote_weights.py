"""Weights reach whoever acts through Ray, whole or not at all, and the loss of their store costs nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

from actors.remote.calls import ask, end_actor, wait_until_up
from actors.remote.replay import RingAddress
from actors.remote.weights import PEER, WeightClient, redeem, start_weight_store
from actors.version_board import VersionBoard
from actors.weight_store import Weights
from tests.actors.remote_parts import PATIENCE_S, eventually, kill_process, own_cluster, process_of
from tests.experience.races import FORMAT
from tmrl_ray.errors import DataError, PeerUnavailableError
from tmrl_ray.learner_line import LearnerLine

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with own_cluster():
        yield


@pytest.fixture(scope="module")
def store() -> Iterator[object]:
    handle = start_weight_store("weights-run")
    wait_until_up(handle, PEER)
    yield handle
    end_actor(handle)


class RingAt:
    """A replay buffer that only tells where its ring is."""

    def __init__(self, directory):
        self._directory = directory

    def ring(self):
        return RingAddress(self._directory, "gone")


def made_up(version: int, size: int = 1009) -> Weights:
    return Weights.of(version, np.random.default_rng(version).bytes(size))


def fetched(client: WeightClient, version: int) -> Weights | None:
    return client.fetch_if_newer(version).result(PATIENCE_S)


def test_published_weights_are_fetched_byte_by_byte(store):
    client = WeightClient(store)
    assert fetched(client, 0) is None
    assert client.publish(made_up(1)).result(PATIENCE_S).newest == 1
    assert client.publish(made_up(3)).result(PATIENCE_S).newest == 3
    assert client.publish(made_up(2)).result(PATIENCE_S).newest == 3
    assert fetched(client, 1) == made_up(3)
    assert fetched(client, 3) is None


def test_damaged_weights_are_refused_with_our_error(store):
    good = made_up(99)
    with pytest.raises(DataError, match="damaged"):
        WeightClient(store).publish(Weights(99, good.data[:-1], good.checksum)).result(PATIENCE_S)
    assert fetched(WeightClient(store), 90) is None


def test_26_megabytes_are_written_up_once_they_can_be_fetched(store, tmp_path):
    client, board = WeightClient(store), VersionBoard(tmp_path)
    line = LearnerLine(RingAt(tmp_path), client, FORMAT)
    with pytest.raises(PeerUnavailableError, match="cannot be read"):
        line.ring()  # there is none; but where it would be is known from now on
    data = made_up(100, 26_300_000).data
    line.publish(100, data)
    line.publish(101, data)
    line.publish(102, data[::-1])  # takes the place of the one before, which has not left
    eventually(lambda: board.newest() == 102)
    assert fetched(client, 101).data == data[::-1]


def test_a_killed_store_comes_back_empty_and_is_filled_by_the_next_publication(store):
    client = WeightClient(store)
    before = client.publish(made_up(200)).result(PATIENCE_S)
    client.acknowledge(4, 200)
    eventually(lambda: client.acknowledged() == {4: 200})
    pid = kill_process(store)

    def is_back() -> bool:
        try:
            return fetched(client, 0) is None
        except PeerUnavailableError:
            return False

    eventually(is_back, within_s=10.0)
    assert process_of(store) != pid
    reply = client.publish(made_up(201)).result(PATIENCE_S)
    assert reply.newest == 201
    assert reply.incarnation != before.incarnation
    assert fetched(client, 200) == made_up(201)


def test_whoever_fetches_while_the_store_is_killed_never_hangs_nor_gets_a_part(store):
    weights = made_up(300, 2_000_003)
    WeightClient(store).publish(weights).result(PATIENCE_S)
    ticket = ask(lambda: store.ticket.remote(0), PEER, timeout_s=PATIENCE_S)
    kill_process(store)
    began_s = time.monotonic()
    try:
        assert redeem(ticket).result(10.0) == weights  # it was on this machine already
    except PeerUnavailableError:
        assert time.monotonic() - began_s < 10.0
