"""Weights reach whoever acts through Ray, whole or not at all; rows 20 and 21 of ``tests/faults`` kill their store."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from actors.remote.calls import end_actor, wait_until_up
from actors.remote.replay import RingAddress
from actors.remote.weights import PEER, WeightClient, start_weight_store
from actors.version_board import VersionBoard
from actors.weight_store import Weights
from tests.actors.remote_parts import PATIENCE_S, eventually, own_cluster
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
    assert client.publish(made_up(1)).result(PATIENCE_S) == 1
    assert client.publish(made_up(3)).result(PATIENCE_S) == 3
    assert client.publish(made_up(2)).result(PATIENCE_S) == 3
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
