"""The container around a map or a replay: header, user data, a compressed body; and the chunks in that body.

A body is the chunks of one object (a node): chunk id, content, chunk id, content, ... and an end mark. Only chunks
that are marked as skippable carry their length, so a reader has to know every other chunk up to the last one that it
wants. TMNF and TMUF write version 6, binary, LZO-compressed. Facts: wiki.xaseco.org/wiki/GBX.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx.lzo import LzoError, decompress
from tmrl_ray.game.gbx.reader import NONE, Reader

MAX_FILE_BYTES: Final = 16 << 20
"""Maps are tens of kilobytes, replays of hours a few megabytes."""
MAX_BODY_BYTES: Final = 64 << 20
END_OF_NODE: Final = 0xFACADE01
SKIPPABLE: Final = 0x534B4950
"""Follows the id of a chunk whose length is written down."""

_OLD_CLASSES: Final = {
    0x24003: 0x03043,  # map
    0x2400C: 0x0305B,  # map parameters
    0x2401B: 0x03092,  # ghost
    0x2403A: 0x03059,  # block skin
    0x2403C: 0x0301B,  # collector list
    0x2403F: 0x03093,  # replay
    0x2407E: 0x03093,  # replay
}
"""Class numbers that older versions of the game wrote, and TMUF still writes in headers."""

T = TypeVar("T")
ChunkReader = Callable[[Reader, T], None]


@dataclass(frozen=True)
class Container:
    """A Gbx file taken apart."""

    source: str
    class_id: int
    """Which class the file is an object of, by its present number."""
    user_chunks: Mapping[int, bytes]
    """Chunks of the header by id: what a file browser shows without reading the body."""
    body: Reader


def present_id(identifier: int) -> int:
    """Return the present number of a class or chunk id."""
    return _OLD_CLASSES.get(identifier >> 12, identifier >> 12) << 12 | identifier & 0xFFF


def load(source: str | Path | bytes, *, name: str = "Gbx data") -> tuple[bytes, str]:
    """Return the bytes of a file and what to call it in errors.

    Raises:
        GbxError: the file cannot be read or is too large.
    """
    if isinstance(source, bytes):
        data = source
    else:
        name = str(source)
        try:
            with Path(source).open("rb") as file:
                data = file.read(MAX_FILE_BYTES + 1)
        except OSError as error:
            raise GbxError(f"{source}: cannot be read: {error.strerror}") from error
    if len(data) > MAX_FILE_BYTES:
        raise GbxError(f"{name}: larger than {MAX_FILE_BYTES} bytes, which no map or replay is")
    return data, name


def open_container(data: bytes, name: str) -> Container:
    """Take a Gbx file apart and decompress its body.

    Raises:
        GbxError: it is not a Gbx file, of another version, cut off, or larger than the limits when decompressed.
    """
    reader = Reader(data, name, "file")
    if reader.left < 3 or reader.take(3) != b"GBX":
        raise GbxError(f"{name}: not a Gbx file: it does not start with the letters GBX")
    version, layout = reader.u16(), reader.take(4)
    if version != 6 or layout[:2] != b"BU" or layout[2:3] not in (b"C", b"U"):
        reader.fail(f"Gbx version {version} {layout!r}; TMNF and TMUF write version 6, binary (BUCR)", at=3)
    class_id = present_id(reader.u32())
    user_chunks = _user_chunks(reader)
    node_count = reader.u32()
    if reader.u32() != 0:
        reader.fail("refers to other files, which no map or replay of TMNF and TMUF does")
    if layout[2:3] == b"C":
        size, packed_size = reader.u32(), reader.u32()
        at = reader.offset
        try:
            body = decompress(reader.take(packed_size), size, MAX_BODY_BYTES)
        except LzoError as error:
            reader.fail(f"the body: {error}", at=at)
    else:
        body = reader.take(reader.left)
    return Container(name, class_id, user_chunks, Reader(body, name, "body", node_count=node_count))


def _user_chunks(reader: Reader) -> dict[int, bytes]:
    size = reader.u32()
    if size == 0:
        return {}
    end = reader.limited_to(size)
    sizes = [(present_id(reader.u32()), reader.u32() & 0x7FFFFFFF) for _ in range(reader.count(8))]
    chunks = {identifier: reader.take(length) for identifier, length in sizes}
    reader.restore(end)
    return chunks


def read_chunks(
    reader: Reader,
    known: Mapping[int, ChunkReader[T]],
    target: T,
    *,
    last: Collection[int] = (),
) -> None:
    """Read the chunks of one node into ``target``, up to its end mark.

    Args:
        reader: stands at the first chunk's id.
        known: how to read each chunk; a skippable one that is missing here is stepped over.
        target: what the chunk readers fill.
        last: ids after which nothing more is wanted: the rest of the node stays unread.

    Raises:
        GbxError: a chunk of unknown length comes before the end mark, or a chunk is damaged.
    """
    while True:
        at = reader.offset
        identifier = reader.u32()
        if identifier == END_OF_NODE:
            return
        identifier = present_id(identifier)
        read = known.get(identifier)
        if reader.peek_u32() == SKIPPABLE:
            reader.skip(4)
            end = reader.limited_to(reader.u32())
            if read is not None:
                read(reader, target)
            reader.restore(end)
        elif read is None:
            reader.fail(f"chunk {identifier:#010x} is not one that TMNF or TMUF writes here", at=at)
        else:
            read(reader, target)
        if identifier in last:
            return


def read_node(reader: Reader, class_id: int, known: Mapping[int, ChunkReader[T]], make: Callable[[], T]) -> T | None:
    """Read a reference to a node, and the node itself where it is the first reference to it.

    Args:
        reader: stands at the reference.
        class_id: the only class that may stand here.
        known: how to read the node's chunks.
        make: makes the empty object that the chunks fill.

    Returns:
        The node, or None where there is none.
    """
    at = reader.offset
    index = reader.u32()
    if index == NONE:
        return None
    if index in reader.nodes:
        kind, node = reader.nodes[index]
        if kind != class_id:
            reader.fail(f"node {index} is of class {kind:#010x}, {class_id:#010x} is needed here", at=at)
        found: T = node
        return found
    if index > reader.node_count:
        reader.fail(f"node {index} is referred to, the file has {reader.node_count}", at=at)
    actual = present_id(reader.u32())
    if actual != class_id:
        reader.fail(f"a node of class {actual:#010x} where {class_id:#010x} belongs", at=at)
    made = make()
    reader.nodes[index] = (class_id, made)
    read_chunks(reader, known, made)
    return made


def ignore(size: int) -> ChunkReader[object]:
    """Return a reader of a chunk of ``size`` bytes that steps over it."""

    def read(reader: Reader, _target: object) -> None:
        reader.skip(size)

    return read
