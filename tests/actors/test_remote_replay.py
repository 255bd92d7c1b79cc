"""The replay buffer as an actor: who cannot reach its ring compresses; a lost ring is filled from a checkpoint."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from actors.draw_messages import DrawRequest, NeedMore
from actors.messages import AppendStatus
from actors.remote.calls import end_actor, wait_until_up
from actors.remote.replay import PEER, ReplayClient, start_replay
from tests.actors.fakes import FORMAT
from tests.actors.remote_parts import PATIENCE_S, eventually, is_gone, kill_process, own_cluster, setup
from tests.actors.saved_experience import load, store_in
from tests.experience.races import MadeUpRaces
from tmrl_ray.config.replay import PrioritySettings
from tmrl_ray.errors import ChunkError, TmrlError
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.codec import encode
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import PriorityUpdate
from tmrl_ray.runs.clocks import Clocks

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module", autouse=True)
def _cluster() -> Iterator[None]:
    with own_cluster():
        yield


@pytest.fixture
def replay(tmp_path: Path) -> Iterator[object]:
    handle = start_replay("replay-run", setup("replay-run", tmp_path))
    wait_until_up(handle, PEER)
    yield handle
    end_actor(handle)
    eventually(lambda: is_gone(handle))


def chunks_of(client: ReplayClient, number: int, races: int, *, steps: int = 211) -> list[Chunk]:
    """Races of a collector that has just been given an incarnation."""
    grant = client.hand_out_incarnation(number, FORMAT.layout.hash).result(PATIENCE_S)
    made_up, builder = (
        MadeUpRaces(number, FORMAT, made=10_000 * number),
        ChunkBuilder(FORMAT, number, grant.incarnation),
    )
    return [chunk for _ in range(races) for chunk in made_up.race(builder, steps)]


def metres_in(client: ReplayClient) -> list[float]:
    """Of all core rows in the ring, which are different for each step that was ever made."""
    reader = RingReader.attach(client.ring().directory, FORMAT)
    rows = [row for record in reader.live_chunks() for row in range(*record.core_extent.slice.indices(reader.rows))]
    return [float(reader.column("metres")[row]) for row in rows]


def test_rows_are_appended_once_and_drawn_by_their_numbers(replay):
    client = ReplayClient.connect(replay, FORMAT)
    assert not client.compress
    assert isinstance(client.draw(DrawRequest(2, 31)).result(PATIENCE_S), NeedMore)
    sent = chunks_of(client, 3, races=2)
    for chunk in sent:
        data = encode(chunk, compress=False)
        assert client.append(data).result(PATIENCE_S).status is AppendStatus.ACCEPTED
        assert client.append(data).result(PATIENCE_S).status is AppendStatus.DUPLICATE
    assert client.standing(3).result(PATIENCE_S).env_steps == 422
    drawn = client.draw(DrawRequest(2, 31, policy_version=5)).result(PATIENCE_S)
    reader = RingReader.attach(client.ring().directory, FORMAT)
    rows, generations = drawn.draw.rows.astype(np.int64).ravel(), drawn.draw.generations.ravel()
    metres = np.empty(2 * 31, dtype=np.float32)
    reader.take("metres", rows, metres)
    assert reader.intact(rows, generations).all()
    assert set(metres) <= {value for chunk in sent for value in chunk.core_of("metres")}
    assert client.standing(3).result(PATIENCE_S).policy_version == 5


def test_priorities_are_told_besides_questions_and_are_set_when_that_returns(tmp_path: Path):
    made = setup("told-run", tmp_path)
    handle = start_replay("told-run", replace(made, settings=made.settings.replace(priorities=PrioritySettings())))
    wait_until_up(handle, PEER, timeout_s=PATIENCE_S)
    client = ReplayClient.connect(handle, FORMAT)
    for chunk in chunks_of(client, 3, races=1):
        client.append(encode(chunk, compress=False)).result(PATIENCE_S)
    draw = client.draw(DrawRequest(1, 31)).result(PATIENCE_S).draw
    rows, generations = draw.rows[0].astype(np.int64), draw.generations[0]
    told = {"clock": np.zeros(31, np.float32), "below_clock": None}
    errors = np.full(31, 5.0, np.float32)
    client.set_priorities((PriorityUpdate.of(rows, generations, errors, **told),))
    assert client.stats().stale_priorities == 0
    client.set_priorities((PriorityUpdate.of(rows, generations + 2, errors, **told),))
    assert client.stats().stale_priorities == 31
    end_actor(handle)


def test_malformed_chunks_and_other_layouts_are_refused_with_our_errors(replay):
    client = ReplayClient.connect(replay, FORMAT)
    with pytest.raises(ChunkError):
        client.append(np.zeros(307, dtype=np.uint8)).result(PATIENCE_S)
    with pytest.raises(ChunkError, match="another-layout"):
        client.hand_out_incarnation(1, "another-layout").result(PATIENCE_S)
    assert client.stats().malformed_chunks == 1


def test_who_cannot_attach_to_the_ring_compresses(replay, tmp_path: Path):
    (tmp_path / "rings").rename(tmp_path / "elsewhere")
    client = ReplayClient.connect(replay, FORMAT)
    assert client.compress
    (chunk,) = chunks_of(client, 3, races=1)
    data = encode(chunk, compress=client.compress)
    assert client.append(data).result(PATIENCE_S).status is AppendStatus.ACCEPTED
    (tmp_path / "elsewhere").rename(tmp_path / "rings")
    assert sorted(metres_in(client)) == sorted(chunk.core_of("metres"))


def test_a_killed_buffer_that_lost_its_ring_goes_on_from_the_newest_checkpoint(tmp_path: Path):
    """Not from what it was started with, which is as old as the session."""
    handle = start_replay("lost-run", setup("lost-run", tmp_path), None, partial(load, tmp_path))
    wait_until_up(handle, PEER)
    client = ReplayClient.connect(handle, FORMAT)
    sent = chunks_of(client, 3, races=2)
    for chunk in sent:
        client.append(encode(chunk, compress=False)).result(PATIENCE_S)
    store_in(tmp_path).save({"replay": client.checkpoint()}, Clocks(422, 0, 0.0))
    before = client.ring()
    shutil.rmtree(before.directory)
    kill_process(handle)
    address = client.ring(timeout_s=PATIENCE_S)
    assert address.uuid != before.uuid
    assert client.stats().env_steps == 422
    assert sorted(metres_in(client)) == sorted(value for chunk in sent for value in chunk.core_of("metres"))
    end_actor(handle)
    eventually(lambda: is_gone(handle))


def test_a_ring_that_cannot_be_made_is_a_clear_error(tmp_path: Path):
    (tmp_path / "replay").write_text("a file where a folder should be")
    with pytest.raises(TmrlError, match="could not be started: .*NotSavedError: cannot make or clear up"):
        wait_until_up(start_replay("broken-run", setup("broken-run", tmp_path)), PEER)
