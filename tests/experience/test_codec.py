"""Chunks as bytes, and bytes that are none."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.experience.races import FORMAT, LAYOUT, OBSERVATION, MadeUpRaces
from tmrl_ray.errors import ChunkError
from tmrl_ray.experience.chunk import Chunk, ChunkFormat
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.codec import decode, encode
from tmrl_ray.experience.columns import Layout


def a_chunk(steps: int = 23, format: ChunkFormat = FORMAT) -> Chunk:
    return MadeUpRaces(steps, format).race(ChunkBuilder(format, 3, 5), steps)[-1]


def plain(chunk: Chunk) -> Chunk:
    """Replace the pictures by ones that LZ4 makes smaller."""
    chunk.columns["frame"][:] = 7
    return chunk


def assert_equal(one: Chunk, other: Chunk) -> None:
    assert (one.id, one.leading, one.core, one.trailing) == (other.id, other.leading, other.core, other.trailing)
    for name, array in one.columns.items():
        assert array.dtype == other.columns[name].dtype
        assert array.tobytes() == other.columns[name].tobytes()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 300), st.booleans(), st.booleans())
def test_a_chunk_comes_back_byte_for_byte(steps: int, compress: bool, compressible: bool) -> None:
    chunk = a_chunk(steps)
    if compressible:
        plain(chunk)
    for kind in (bytes, bytearray, np.asarray):
        assert_equal(chunk, decode(kind(encode(chunk, compress=compress)), FORMAT))


def test_raw_columns_are_views_that_cannot_be_written_to() -> None:
    data = encode(a_chunk(), compress=False)
    chunk = decode(data, FORMAT)
    for name, array in chunk.columns.items():
        assert np.shares_memory(array, data), name
        assert not array.flags.writeable
        assert array.ctypes.data % 16 == 0


def test_lz4_makes_smaller_what_can_be_made_smaller_and_leaves_the_rest() -> None:
    noise, even = a_chunk(200), plain(a_chunk(200))
    raw = len(encode(noise, compress=False))
    frames = noise.columns["frame"].nbytes
    smaller = len(encode(noise, compress=True))
    assert smaller <= raw
    assert len(encode(even, compress=True)) < smaller - 0.9 * frames


@settings(max_examples=150, deadline=None)
@given(compress=st.booleans(), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_no_flipped_bit_goes_unnoticed(compress: bool, where: float, bit: int) -> None:
    chunk = plain(a_chunk(7))
    data = encode(chunk, compress=compress)
    data[int(where * len(data))] ^= 1 << bit
    try:
        assert_equal(decode(data, FORMAT), chunk)  # a byte between two columns
    except ChunkError:
        return


@settings(max_examples=60, deadline=None)
@given(compress=st.booleans(), length=st.floats(0, 1, exclude_max=True))
def test_no_missing_end_goes_unnoticed(compress: bool, length: float) -> None:
    data = encode(a_chunk(7), compress=compress)
    with pytest.raises(ChunkError):
        decode(data[: int(length * len(data))], FORMAT)


@given(st.binary(max_size=600))
def test_noise_is_no_chunk(data: bytes) -> None:
    with pytest.raises(ChunkError):
        decode(data, FORMAT)


def forged(**fields: int) -> np.ndarray:
    """Return a chunk whose header says something else, with the right checksum."""
    import zlib

    from tmrl_ray.experience import codec

    data = encode(a_chunk(7), compress=False)
    header = codec._Header(*codec._HEADER.unpack_from(data))._replace(
        **{name: value for name, value in fields.items() if name != "frame_bytes"}
    )
    codec._HEADER.pack_into(data, 0, *header)
    if "frame_bytes" in fields:
        codec._SIZE.pack_into(data, codec._HEADER.size, fields["frame_bytes"])
    end = codec._HEADER.size + len(LAYOUT.columns) * codec._SIZE.size
    codec._CRC.pack_into(data, end, zlib.crc32(data[:end]))
    return data


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"core": 65535}, "65535 core"),
        ({"leading": 3}, "3 leading"),
        ({"trailing": 4}, "4 trailing"),
        ({"core": 0}, "arrived as|more than they take"),
        ({"frame_bytes": 2**32 - 1}, "more than they take"),
        ({"frame_bytes": 1}, "arrived as"),
        ({"version": 2}, "version 2, not"),
        ({"columns": 3}, "layout"),
        ({"contents_crc": 1}, "checksum"),
    ],
)
def test_sizes_that_cannot_be_are_refused_before_memory_is_taken_for_them(fields: dict[str, int], message: str) -> None:
    data = forged(**fields)
    tracemalloc.start()
    try:
        with pytest.raises(ChunkError, match=message):
            decode(data, FORMAT)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


def test_a_compressed_column_of_another_size_is_refused() -> None:
    data = encode(plain(a_chunk(200)), compress=True)
    other = forged(core=9)
    for candidate in (data[:-1], other):
        with pytest.raises(ChunkError):
            decode(candidate, FORMAT)


def test_a_chunk_of_another_layout_is_refused_with_both_hashes() -> None:
    other = ChunkFormat(Layout.of((5, 7), OBSERVATION), FORMAT.history, FORMAT.look_ahead)
    with pytest.raises(ChunkError, match=f"{LAYOUT.hash}, the buffer has {other.layout.hash}"):
        decode(encode(a_chunk(), compress=False), other)


def test_what_no_race_gives_is_not_sent() -> None:
    chunk = a_chunk()
    chunk.columns["floats"][0, 0] = np.nan
    with pytest.raises(ChunkError, match="collector 3, incarnation 5: column floats"):
        encode(chunk, compress=False)
