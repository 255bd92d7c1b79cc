"""The ring under one writer: what is read is what was appended, and nothing but the live core rows is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.experience.journal import guarded
from tests.experience.races import FORMAT, HISTORY, LAYOUT, LOOK_AHEAD, OBSERVATION, MadeUpRaces
from tmrl_ray.errors import ChunkError, InvalidInputError, RingError
from tmrl_ray.experience.chunk import Chunk, ChunkFormat
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.codec import decode, encode
from tmrl_ray.experience.columns import Layout
from tmrl_ray.experience.incarnations import Arrival
from tmrl_ray.experience.memory import RingSize
from tmrl_ray.experience.ring import TEST, TRAIN, Ring
from tmrl_ray.experience.ring_reader import RingReader

SIZE = RingSize(capacity_rows=709, chunk_rows=13, guard_rows=31)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    yield made
    made.close()


class Collector:
    """Makes chunks for a ring.

    Args:
        ring: that grants the incarnation.
        number: of the collector.
    """

    def __init__(self, ring: Ring, number: int = 0, seed: int = 0) -> None:
        self.races = MadeUpRaces(seed, ring.format)
        self.builder = ChunkBuilder(ring.format, number, ring.grant(number))

    def race(self, steps: int) -> list[Chunk]:
        return self.races.race(self.builder, steps)


def drawn(ring: Ring, split: int = TRAIN) -> tuple[np.ndarray, np.ndarray]:
    """Return all rows that can be drawn, with their generations."""
    index = ring.drawable[split]
    return index.locate(np.arange(index.total))


def metres_drawn(ring: Ring, split: int = TRAIN) -> list[float]:
    return ring.column("metres")[drawn(ring, split)[0]].tolist()


def assert_holds(ring: Ring, chunks: list[Chunk]) -> None:
    """See that the ring's live chunks are the last ones of ``chunks``, byte for byte, and what may be drawn of them."""
    live = ring.live_chunks()
    assert [record.id for record in live] == [chunk.id for chunk in chunks[len(chunks) - len(live) :]]
    by_id = {chunk.id: chunk for chunk in chunks}
    for record in live:
        sent, kept = by_id[record.id], ring.read_chunk(record)
        assert kept is not None
        assert (kept.leading, kept.core, kept.trailing) == (sent.leading, sent.core, sent.trailing)
        assert all(kept.columns[name].tobytes() == sent.columns[name].tobytes() for name in LAYOUT.names)
        assert record.start + record.rows <= ring.rows
    taken = np.concatenate([np.arange(record.start, record.start + record.rows) for record in live])
    assert len(np.unique(taken)) == len(taken)
    assert ring.live_core_rows == sum(record.core for record in live) <= ring.live_rows
    core = [metres for record in live for metres in by_id[record.id].core_of("metres").tolist()]
    rows, generations = drawn(ring)
    seen = ring.column("metres")[rows].tolist()
    assert seen == core[len(core) - len(seen) :]
    assert ring.intact(rows, generations).all()
    assert not guarded(ring, rows).any()
    assert all(guarded(ring, np.array([record.start]))[0] for record in live if record.core_start not in rows)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.one_of(st.integers(1, 9), st.integers(60, 300)), min_size=1, max_size=30),
    live_rows=st.lists(st.integers(256, SIZE.capacity_rows), max_size=3),
    compress=st.booleans(),
)
def test_what_is_read_is_what_was_sent(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], live_rows: list[int], compress: bool
) -> None:
    ring = Ring.create(tmp_path_factory.mktemp("ring") / "ring", FORMAT, SIZE, run="test")
    collector, sent = Collector(ring), []
    for number, length in enumerate(lengths):
        for chunk in collector.race(length):
            data = encode(chunk, compress=compress)
            result = ring.append(decode(data, FORMAT))
            assert result.arrival is Arrival.ACCEPTED
            sent.append(chunk)
        if number % 7 == 3 and live_rows:
            ring.set_live_rows(live_rows.pop())
        assert_holds(ring, sent)
    assert ring.counters.env_steps == ring.counters.inserted_rows == sum(lengths)
    ring.remove()


def test_the_whole_capacity_can_be_drawn_when_chunks_are_as_long_as_reckoned(ring: Ring) -> None:
    collector = Collector(ring)
    for _ in range(200):
        for chunk in collector.race(SIZE.chunk_rows):
            ring.append(chunk)
    kept = SIZE.capacity_rows // SIZE.chunk_rows * SIZE.chunk_rows
    assert ring.live_core_rows == ring.drawable[TRAIN].total == kept


def test_short_chunks_take_more_room_and_never_more_than_there_is(ring: Ring) -> None:
    """A flush after each step makes the shortest chunks: one core row among six."""
    collector = Collector(ring)
    for step in collector.races.steps(2003):
        for chunk in (*collector.builder.add(step), *collector.builder.flush()):
            ring.append(chunk)
    assert 200 < ring.drawable[TRAIN].total < ring.live_core_rows < ring.rows / 6
    assert ring.counters.inserted_rows == 2003 - LOOK_AHEAD


def test_rows_around_the_core_are_neither_drawn_nor_counted(ring: Ring) -> None:
    collector = Collector(ring)
    first, second = collector.race(261)
    ring.append(first)
    ring.append(second)
    assert (second.leading, second.core, second.trailing) == (HISTORY, 5, 1)
    metres = metres_drawn(ring)
    assert metres == sorted(set(metres))
    assert len(metres) == 261 == ring.counters.inserted_rows == ring.live_core_rows
    leaves = ring.live_priorities()
    assert np.flatnonzero(leaves).tolist() == sorted(drawn(ring)[0].tolist())


def test_duplicates_and_another_order_change_nothing(ring: Ring) -> None:
    collector = Collector(ring)
    chunks = [chunk for _ in range(9) for chunk in collector.race(11)]
    order = np.random.default_rng(5).permutation(np.tile(np.arange(9), 3))
    arrivals = [ring.append(chunks[number]).arrival for number in order]
    assert arrivals.count(Arrival.ACCEPTED) == 9
    assert arrivals.count(Arrival.DUPLICATE) == 18
    assert ring.counters.env_steps == 9 * 11
    assert sorted(metres_drawn(ring)) == [float(number + 1) for number in range(9 * 11)]


def test_what_is_too_old_to_be_told_apart_is_refused(ring: Ring) -> None:
    collector = Collector(ring)
    chunks = [chunk for _ in range(70) for chunk in collector.race(2)]
    for chunk in chunks[1:]:
        ring.append(chunk)
    assert ring.append(chunks[0]).arrival is Arrival.STALE
    assert ring.append(chunks[69]).arrival is Arrival.DUPLICATE


def test_an_incarnation_that_was_never_granted_is_refused(ring: Ring) -> None:
    (chunk,) = MadeUpRaces().race(ChunkBuilder(FORMAT, 7, 99), 5)
    assert ring.append(chunk).arrival is Arrival.STALE
    assert ring.counters.env_steps == 0


def test_incarnations_are_never_handed_out_twice(ring: Ring) -> None:
    granted = [ring.grant(collector) for collector in (3, 3, 5)]
    ring.close()
    again = Ring.attach(ring.directory, FORMAT)
    granted += [again.grant(3)]
    again.close()
    assert granted == [1, 2, 3, 4]


def test_splits_are_drawn_apart(ring: Ring) -> None:
    collector = Collector(ring)
    for number in range(20):
        (chunk,) = collector.race(7)
        ring.append(chunk, split=TEST if number % 5 == 0 else TRAIN)
    assert len(metres_drawn(ring, TEST)) == 4 * 7
    assert not set(metres_drawn(ring, TEST)) & set(metres_drawn(ring, TRAIN))
    ring.close()
    again = Ring.attach(ring.directory, FORMAT)
    assert metres_drawn(again, TEST) == metres_drawn(ring, TEST)
    again.close()


def test_an_append_tells_what_it_evicted(ring: Ring) -> None:
    collector, leaves = Collector(ring), set()
    for _ in range(80):
        (chunk,) = collector.race(11)
        result = ring.append(chunk)
        assert result.core is not None
        for extent in result.evicted:
            leaves -= set(range(extent.start, extent.start + extent.rows))
        leaves |= set(range(result.core.start, result.core.start + result.core.rows))
        assert leaves == set(np.flatnonzero(ring.live_priorities()).tolist())
    for extent in ring.set_live_rows(256):
        leaves -= set(range(extent.start, extent.start + extent.rows))
    assert len(leaves) == 253 == ring.live_core_rows


def test_priorities_of_rows_that_are_gone_are_dropped(ring: Ring) -> None:
    collector = Collector(ring)
    (chunk,) = collector.race(11)
    ring.append(chunk, priorities=np.arange(11.0) + 1)
    rows, generations = drawn(ring)
    assert ring.live_priorities()[rows].tolist() == list(range(1, 12))
    stale = generations.copy()
    stale[3:] -= 2
    assert ring.set_priorities(rows, stale, np.full(11, 0.5)).tolist() == [True] * 3 + [False] * 8
    assert ring.live_priorities()[rows].tolist() == [0.5] * 3 + list(range(4, 12))
    ring.append(collector.race(250)[0])
    ring.set_live_rows(256)  # the first chunk is evicted, its rows are whole, and may be overwritten at any time
    assert ring.intact(rows, generations).all()
    assert not ring.set_priorities(rows, generations, np.ones(11)).any()


def test_rows_are_gathered_into_the_buffers_that_are_given(ring: Ring) -> None:
    collector = Collector(ring)
    (chunk,) = collector.race(23)
    ring.append(chunk)
    rows, generations = drawn(ring)
    rows, generations = rows[2:7], generations[2:7]
    out = {"frame": np.zeros((5, 3, 7, 5), np.uint8), "metres": np.zeros((5, 3), np.float32)}
    reader = RingReader.attach(ring.directory, FORMAT)
    around = rows[:, None] + np.array([-1, 0, 2])
    for name, array in out.items():
        reader.take(name, around, array)
    assert reader.intact(around, generations).all()
    assert np.array_equal(out["frame"][4, 2], chunk.columns["frame"][8])
    assert out["metres"].tolist() == [[row, row + 1, row + 3] for row in range(2, 7)]
    assert reader.intact(around, generations + 2).tolist() == [False] * 5
    with pytest.raises(IndexError):
        reader.take("metres", np.array([ring.rows]), np.zeros(1, np.float32))


def test_a_reader_cannot_write(ring: Ring) -> None:
    reader = RingReader.attach(ring.directory, FORMAT)
    with pytest.raises(ValueError, match="read-only"):
        reader.column("metres")[0] = 1
    assert reader.uuid == ring.uuid


def test_chunks_of_another_format_are_refused(ring: Ring) -> None:
    other = ChunkFormat(LAYOUT, HISTORY, LOOK_AHEAD + 1)
    (chunk,) = MadeUpRaces(format=other).race(ChunkBuilder(other, 0, ring.grant(0)), 5)
    with pytest.raises(ChunkError, match="look-ahead 4 does not belong"):
        ring.append(chunk)
    with pytest.raises(InvalidInputError, match="710 rows"):
        ring.set_live_rows(710)


def test_a_ring_of_another_layout_damaged_or_in_use_is_refused(ring: Ring) -> None:
    with pytest.raises(RingError, match="another process writes"):
        Ring.attach(ring.directory, FORMAT)
    ring.close()
    other = ChunkFormat(Layout.of(None, OBSERVATION), HISTORY, LOOK_AHEAD)
    with pytest.raises(RingError, match=other.layout.hash):
        Ring.attach(ring.directory, other)
    with pytest.raises(RingError, match="exists already"):
        Ring.create(ring.directory, FORMAT, SIZE, run="test")
    with pytest.raises(RingError, match="there is no ring"):
        RingReader.attach(ring.directory.parent, FORMAT)
    frames = ring.directory / "frame.rows"
    frames.write_bytes(frames.read_bytes()[:-1])
    with pytest.raises(RingError, match=r"frame\.rows has .* bytes, not"):
        Ring.attach(ring.directory, FORMAT)
    frames.unlink()
    with pytest.raises(RingError, match=r"frame\.rows is missing"):
        Ring.attach(ring.directory, FORMAT)
    (ring.directory / "ring.json").write_text('{"version": 1}')
    with pytest.raises(RingError, match="does not describe a ring"):
        Ring.attach(ring.directory, FORMAT)


def test_a_restored_ring_goes_on_with_the_counters_of_the_checkpoint(ring: Ring, tmp_path: Path) -> None:
    collector = Collector(ring, number=3)
    for _ in range(9):
        for chunk in collector.race(20):
            ring.append(chunk)
    saved = [ring.read_chunk(record) for record in ring.live_chunks()]
    before = ring.counters._replace(env_steps=ring.counters.env_steps - sum(chunk.core for chunk in saved))
    other = Ring.create(tmp_path / "other", FORMAT, SIZE, run="test", counters=before)
    for chunk in saved:
        other.restore(chunk)
    assert other.counters.env_steps == ring.counters.env_steps
    assert metres_drawn(other) == metres_drawn(ring)
    assert other.append(saved[-1]).arrival is Arrival.DUPLICATE
    assert other.append(collector.race(5)[0]).arrival is Arrival.ACCEPTED
    assert other.grant(3) == ring.grant(3) == 2
    other.close()
