"""Damaged and hostile files: one kind of error, in little time, with little memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.game import gbx_encoder as encode
from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx import line_from_ghost, read_challenge, read_replay
from tmrl_ray.game.gbx.container import open_container

LONGEST_S = 1.0
"""Generous: reading takes a few milliseconds. A loop that a count drives would take minutes."""


def full_replay(*, packed: bool = True) -> bytes:
    names = encode.Names()
    ghost = encode.ghost(names, samples=encode.trace(encode.straight_samples()), events=((10, "Steer", 5),))
    data = encode.replay([ghost], embedded=encode.container(0x03043000, encode.challenge_body(), packed=packed))
    return data if packed else unpacked(data)


def unpacked(data: bytes) -> bytes:
    """The same file with its body stored as it is, so that damage reaches the chunks and not only the compression."""
    opened = open_container(data, "made here")
    return encode.container(opened.class_id, opened.body.take(opened.body.left), packed=False)


def use_everything(data: bytes) -> None:
    replay = read_replay(data)
    for ghost in replay.ghosts:
        assert len(ghost.inputs) <= 6 * 3600 * 100
        if ghost.recorded_samples is not None and ghost.race_time_ms is not None:
            line_from_ghost(ghost)
    use_map(replay.challenge_data)


def use_map(data: bytes) -> None:
    challenge = read_challenge(data)
    assert challenge.spawn.position.shape == (3,)
    assert len(challenge.checkpoints) <= len(challenge.blocks)


def survives(use: Callable[[bytes], None], data: bytes) -> None:
    begun = time.perf_counter()
    try:
        use(data)
    except GbxError as error:
        assert str(error)
    assert time.perf_counter() - begun < LONGEST_S


FILES: dict[str, tuple[Callable[[bytes], None], bytes]] = {
    "map": (use_map, encode.challenge()),
    "map, not packed": (use_map, unpacked(encode.challenge())),
    "replay": (use_everything, full_replay()),
    "replay, not packed": (use_everything, full_replay(packed=False)),
}


@pytest.mark.parametrize("kind", FILES)
def test_a_whole_file_can_be_used(kind: str) -> None:
    use, data = FILES[kind]
    use(data)


@pytest.mark.parametrize("kind", FILES)
def test_a_file_that_is_cut_off_anywhere_is_refused(kind: str) -> None:
    use, data = FILES[kind]
    needed = len(data) if "not packed" not in kind else data.rindex(encode.u32(0x03043021, 0)[:4])
    for size in range(needed):
        with pytest.raises(GbxError):
            use(data[:size])


@pytest.mark.parametrize("kind", FILES)
@given(changes=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_flipped_bytes_give_one_kind_of_error(kind: str, changes: Any) -> None:
    use, data = FILES[kind]
    damaged = bytearray(data)
    for place in changes.draw(st.lists(st.integers(0, len(data) - 1), min_size=1, max_size=6)):
        damaged[place] = changes.draw(st.integers(0, 255))
    survives(use, bytes(damaged))


@pytest.mark.parametrize("kind", FILES)
@given(changes=st.data())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_large_numbers_anywhere_give_one_kind_of_error(kind: str, changes: Any) -> None:
    use, data = FILES[kind]
    place = changes.draw(st.integers(0, len(data) - 4))
    number = changes.draw(st.sampled_from([0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x01000000]))
    survives(use, data[:place] + encode.u32(number) + data[place + 4 :])


TRACE = encode.trace_data(encode.straight_samples(), period_ms=100, version=9, times_ms=range(0, 700, 100))


@given(place=st.integers(0, len(TRACE) - 4), number=st.integers(0, 0xFFFFFFFF))
@settings(max_examples=400, deadline=None)
def test_a_damaged_trace_gives_one_kind_of_error(place: int, number: int) -> None:
    """Damage that a checksum does not catch: made before the trace is packed."""
    damaged = encode.packed_trace(TRACE[:place] + encode.u32(number) + TRACE[place + 4 :])
    survives(
        use_everything, encode.replay([encode.ghost(encode.Names(), samples=damaged)], embedded=encode.challenge())
    )


@given(st.binary(max_size=300))
def test_noise_behind_a_good_start_gives_one_kind_of_error(noise: bytes) -> None:
    survives(use_map, encode.container(0x03043000, noise, packed=False))
    survives(use_everything, encode.container(0x03093000, noise, packed=False))


def test_a_bomb_costs_little_memory() -> None:
    bomb = encode.container(0x03043000, bytes(60 << 20))
    lying = bomb.replace(encode.u32(60 << 20), encode.u32(1000))
    tracemalloc.start()
    with pytest.raises(GbxError, match="1000 were promised"):
        read_challenge(lying)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 4 << 20
