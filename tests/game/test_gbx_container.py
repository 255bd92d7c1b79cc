"""The container, its decompression and the cursor: what they read, and what they refuse."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lzallright import LZOCompressor

from tests.game import gbx_encoder as encode
from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx import lzo
from tmrl_ray.game.gbx.container import MAX_FILE_BYTES, load, open_container, read_chunks, read_node
from tmrl_ray.game.gbx.reader import Reader


def reader(data: bytes, **options: int) -> Reader:
    return Reader(data, "some.Gbx", "body", **options)


def test_values_are_little_endian() -> None:
    data = struct.pack("<BHIiQ2f", 7, 1337, 4000000000, -5, 1 << 40, 0.5, -2.0)
    cursor = reader(data)
    values = (cursor.u8(), cursor.u16(), cursor.u32(), cursor.i32(), cursor.u64())
    assert values == (7, 1337, 4000000000, -5, 1 << 40)
    assert cursor.floats(2).tolist() == [0.5, -2.0]
    assert cursor.left == 0


def test_a_name_is_written_once_and_then_looked_up() -> None:
    names = encode.Names()
    cursor = reader(names("first", "second", "first", None, 6, 99, "second"))
    assert [cursor.name() for _ in range(7)] == ["first", "second", "first", "", "Stadium", "99", "second"]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode.u32(1), "names of version 1"),
        (encode.u32(3, 0x40000005), "name number 5 is referred to, 0 are known"),
    ],
)
def test_a_bad_name_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(GbxError, match=reason):
        reader(data).name()


def test_a_count_is_not_believed_beyond_the_bytes_that_are_left() -> None:
    with pytest.raises(GbxError, match=r"4294967295 items of 12 bytes or more where 8 bytes are left \(byte 0"):
        reader(encode.u32(0xFFFFFFFF, 0, 0)).count(12)


def test_a_float_that_is_no_number_is_refused() -> None:
    with pytest.raises(GbxError, match="not finite"):
        reader(struct.pack("<2f", 1.0, float("nan"))).floats(2)


def test_the_error_says_which_file_where_and_why() -> None:
    cursor = reader(b"12345")
    cursor.skip(3)
    with pytest.raises(GbxError) as caught:
        cursor.u32()
    assert str(caught.value).startswith("some.Gbx: 4 bytes are needed where 2 are left")
    assert "byte 3 of the body" in str(caught.value)


@pytest.mark.parametrize("packed", [True, False])
def test_a_container_is_taken_apart(packed: bool) -> None:
    data = encode.container(0x2407E000, b"the body", nodes=5, user=[(0x24003002, b"abc"), (7, b"")], packed=packed)
    opened = open_container(data, "a.Gbx")
    assert opened.class_id == 0x03093000
    assert opened.user_chunks == {0x03043002: b"abc", 7: b""}
    assert opened.body.take(opened.body.left) == b"the body"
    assert opened.body.node_count == 5


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "does not start with the letters GBX"),
        (b"PNG" + bytes(40), "does not start with the letters GBX"),
        (b"GBX\x05\x00BUCR" + bytes(40), "Gbx version 5"),
        (b"GBX\x06\x00TUCR" + bytes(40), "Gbx version 6 b'TUCR'"),
        (encode.container(0x03043000, b"x")[:20], "cut off or damaged"),
    ],
)
def test_what_is_no_gbx_file_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(GbxError, match=reason):
        open_container(data, "a.Gbx")


def test_a_file_with_references_to_other_files_is_refused() -> None:
    data = b"GBX\x06\x00BUUR" + encode.u32(0x03043000, 0, 1, 3)
    with pytest.raises(GbxError, match="refers to other files"):
        open_container(data, "a.Gbx")


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(GbxError, match="cannot be read: No such file"):
        load(tmp_path / "absent.Gbx")


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.Gbx"
    with path.open("wb") as file:
        file.truncate(MAX_FILE_BYTES + 1)
    with pytest.raises(GbxError, match="larger than"):
        load(path)


def test_a_skippable_chunk_is_stepped_over_even_if_its_reader_stops_early() -> None:
    seen: list[int] = []
    data = encode.skippable(0x11, b"123456") + encode.skippable(0x22, b"1234") + encode.chunk(0x33, encode.u32(5))
    cursor = reader(data + encode.END + b"rest")
    known = {0x22: lambda r, into: into.append(r.u8()), 0x33: lambda r, into: into.append(r.u32())}
    read_chunks(cursor, known, seen)
    assert seen == [ord("1"), 5]
    assert cursor.left == 4


def test_a_chunk_reader_cannot_leave_its_chunk() -> None:
    data = encode.skippable(0x22, b"123") + encode.END
    with pytest.raises(GbxError, match="4 bytes are needed where 3 are left"):
        read_chunks(reader(data), {0x22: lambda r, into: into.append(r.u32())}, [])


def test_an_unknown_chunk_without_a_length_is_refused() -> None:
    with pytest.raises(GbxError, match="chunk 0x03043abc is not one that TMNF or TMUF writes here"):
        read_chunks(reader(encode.u32(0x24003ABC, 1)), {}, [])


def test_a_node_is_read_at_its_first_reference_and_then_the_same() -> None:
    data = encode.u32(1, 0x03059000) + encode.chunk(0x1, encode.u32(5)) + encode.END + encode.u32(1, 0xFFFFFFFF)
    cursor = reader(data, node_count=1)
    known = {0x1: lambda r, into: into.append(r.u32())}
    first = read_node(cursor, 0x03059000, known, list)
    assert first == [5]
    assert read_node(cursor, 0x03059000, known, list) is first
    assert read_node(cursor, 0x03059000, known, list) is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode.u32(2, 0x03059000), "node 2 is referred to, the file has 1"),
        (encode.u32(1, 0x03092000), "a node of class 0x03092000 where 0x03059000 belongs"),
    ],
)
def test_a_bad_node_reference_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(GbxError, match=reason):
        read_node(reader(data, node_count=1), 0x03059000, {}, list)


def test_a_node_of_another_class_is_not_taken_for_this_one() -> None:
    cursor = reader(encode.u32(1, 0x03059000) + encode.END + encode.u32(1), node_count=1)
    read_node(cursor, 0x03059000, {}, list)
    with pytest.raises(GbxError, match="node 1 is of class 0x03059000, 0x03092000 is needed"):
        read_node(cursor, 0x03092000, {}, list)


repetitive = st.builds(lambda part, times: part * times, st.binary(min_size=1, max_size=40), st.integers(1, 200))


@given(st.lists(st.one_of(st.binary(max_size=700), repetitive), min_size=1, max_size=7).map(b"".join))
def test_lzo_is_measured_to_the_byte(data: bytes) -> None:
    packed = LZOCompressor().compress(data)
    assert lzo.measure(packed, len(data)) == len(data)
    assert lzo.decompress(packed, len(data), ceiling=len(data)) == data


def test_an_lzo_bomb_is_refused_before_it_is_unpacked() -> None:
    bomb = LZOCompressor().compress(bytes(20_000_000))
    with pytest.raises(lzo.LzoError, match=r"yields \d+ bytes or more, 1000 were promised"):
        lzo.decompress(bomb, 1000, ceiling=50_000)
    with pytest.raises(lzo.LzoError, match="20000000 bytes when decompressed, 50000 are allowed"):
        lzo.decompress(bomb, 20_000_000, ceiling=50_000)


def test_a_wrong_size_is_refused() -> None:
    packed = LZOCompressor().compress(b"some bytes")
    with pytest.raises(lzo.LzoError, match="yields 10 bytes, 11 were promised"):
        lzo.decompress(packed, 11, ceiling=1 << 20)
