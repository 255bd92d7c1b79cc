"""Which chunks are known, and which rows a number stands for."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.experience import incarnations
from tmrl_ray.experience.chunk import ChunkId
from tmrl_ray.experience.draw_index import DrawIndex
from tmrl_ray.experience.incarnations import WINDOW, Arrival, Incarnations


@given(st.lists(st.integers(0, 200), max_size=200))
def test_no_chunk_is_accepted_twice_and_none_in_the_window_is_lost(arriving: list[int]) -> None:
    known, came = Incarnations(), set[int]()
    known.grant(3, 5)
    for sequence in arriving:
        id = ChunkId(3, 5, sequence)
        arrival = known.classify(id)
        newest = max(came, default=-1)
        if sequence <= newest - WINDOW:
            assert arrival is Arrival.STALE
        else:
            assert arrival is (Arrival.DUPLICATE if sequence in came else Arrival.ACCEPTED)
        if arrival is Arrival.ACCEPTED:
            known.add(id)
            came.add(sequence)


def test_an_incarnation_whose_beginning_is_forgotten_refuses_what_came_before() -> None:
    known = Incarnations()
    known.add(ChunkId(3, 5, 100))
    assert known.classify(ChunkId(3, 5, 99)) is Arrival.STALE
    assert known.classify(ChunkId(3, 5, 100)) is Arrival.DUPLICATE
    assert known.classify(ChunkId(3, 5, 101)) is Arrival.ACCEPTED
    assert known.classify(ChunkId(3, 6, 101)) is Arrival.STALE


def test_the_oldest_incarnations_are_forgotten() -> None:
    known = Incarnations()
    for incarnation in range(incarnations.MAX_INCARNATIONS + 1):
        known.grant(3, incarnation)
    assert known.classify(ChunkId(3, 0, 0)) is Arrival.STALE
    assert known.classify(ChunkId(3, 1, 0)) is Arrival.ACCEPTED


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 19), st.integers(0, 1000), st.integers(0, 3)), min_size=1, max_size=300),
    st.integers(0, 2**31),
)
def test_numbers_stand_for_the_rows_of_the_live_chunks_in_their_order(
    chunks: list[tuple[int, int, int]], seed: int
) -> None:
    index, live = DrawIndex(), list[tuple[int, int]]()
    for number, (core, gap, dropped) in enumerate(chunks):
        index.append(1000 * number + gap, core, 2 * number)
        live += [(1000 * number + gap + row, 2 * number) for row in range(core)]
        if dropped:
            oldest = live[0][1] if live else 2 * number
            bound = oldest + 2 * (dropped - 1)
            index.drop_before(bound)
            live = [each for each in live if each[1] >= bound]
        assert index.total == len(live)
    numbers = np.random.default_rng(seed).permutation(index.total)
    rows, generations = index.locate(numbers)
    assert [live[number] for number in numbers] == list(zip(rows.tolist(), generations.tolist(), strict=True))


def test_what_was_let_go_of_takes_no_room_for_ever() -> None:
    index = DrawIndex()
    for number in range(100_000):
        index.append(number, 7, 2 * number)
        index.drop_before(2 * (number - 500))
    assert index.chunks == 501
    assert len(index._begins) < 5000
