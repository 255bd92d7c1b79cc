"""Chunks as bytes: the wire format between a collector and the owner of the ring.

One contiguous buffer, little-endian: a header, the stored size of each column, then the columns in the layout's
order, each at a multiple of 64 bytes. A column is stored as it is, or compressed with LZ4 where that makes it smaller.
Raw is for peers that could attach to the ring, LZ4 for those that could not.

Whoever decodes trusts nothing: all sizes are checked against the format in use before anything is allocated for them,
the header has a checksum of its own, and the contents have one over what they are when decompressed. That one is
computed once and also stands in the ring's record of the chunk.
"""

from __future__ import annotations

import struct
import zlib
from typing import Any, NamedTuple, cast

import lz4.block
import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import ChunkError
from tmrl_ray.experience.chunk import MAX_CORE_ROWS, Chunk, ChunkFormat, ChunkId
from tmrl_ray.experience.columns import Array

MAGIC = b"TMRLCHNK"
WIRE_VERSION = 1
ALIGNMENT_BYTES = 64  # of a cache line, so that views into the buffer are as fast as arrays of their own

Buffer = bytes | bytearray | memoryview | NDArray[np.uint8]


class _Header(NamedTuple):
    magic: bytes
    version: int
    columns: int
    layout_hash: bytes
    collector: int
    incarnation: int
    sequence: int
    leading: int
    core: int
    trailing: int
    contents_crc: int


_HEADER = struct.Struct("<8sHH32sIqqHHHI")
_SIZE = struct.Struct("<I")  # the stored size of one column
_CRC = struct.Struct("<I")  # over header and sizes, which it follows


def encode(chunk: Chunk, *, compress: bool) -> NDArray[np.uint8]:
    """Return a chunk as bytes.

    Args:
        chunk: to send; it is checked first, so that what is wrong with it shows where it was made.
        compress: LZ4 for the columns that it makes smaller.

    Raises:
        ChunkError: the chunk is none that a race can give.
    """
    chunk.check()
    layout = chunk.format.layout
    stored = [_stored(chunk.columns[name], compress) for name in layout.names]
    sizes = [len(part) for part in stored]
    header = _HEADER.pack(
        *_Header(
            magic=MAGIC,
            version=WIRE_VERSION,
            columns=len(sizes),
            layout_hash=bytes.fromhex(layout.hash),
            collector=chunk.id.collector,
            incarnation=chunk.id.incarnation,
            sequence=chunk.id.sequence,
            leading=chunk.leading,
            core=chunk.core,
            trailing=chunk.trailing,
            contents_crc=chunk.checksum,
        )
    )
    header += struct.pack(f"<{len(sizes)}I", *sizes)
    header += _CRC.pack(zlib.crc32(header))
    starts, total = _starts(sizes)
    data = np.empty(total, dtype=np.uint8)
    data[: len(header)] = np.frombuffer(header, dtype=np.uint8)
    end = len(header)
    for start, part in zip(starts, stored, strict=True):
        data[end:start] = 0  # what lies between columns must not tell what was in memory before
        end = start + len(part)
        data[start:end] = part
    return data


def decode(data: Buffer, format: ChunkFormat) -> Chunk:
    """Return the chunk that ``data`` holds; columns that are not compressed are views into it.

    Raises:
        ChunkError: the bytes are no chunk of this format, or damaged.
    """
    view = memoryview(cast(Any, data)).toreadonly()  # an array is a buffer, which its type says from 3.12 on
    header, sizes = _read_header(view, format)
    rows = header.leading + header.core + header.trailing
    starts, total = _starts(sizes)
    if len(view) != total:
        raise ChunkError(f"a chunk of {total} bytes arrived as {len(view)}")
    columns: dict[str, Array] = {}
    for column, start, size in zip(format.layout.columns, starts, sizes, strict=True):
        raw_bytes = rows * column.row_bytes
        part: Any = view[start : start + size]
        if size < raw_bytes:
            part = _decompress(part, raw_bytes, column.name)
        columns[column.name] = np.frombuffer(part, column.dtype).reshape(rows, *column.shape)
    identity = ChunkId(header.collector, header.incarnation, header.sequence)
    chunk = Chunk(format, identity, columns, header.leading, header.core, header.trailing)
    if chunk.checksum != header.contents_crc:
        raise ChunkError(f"the contents of {identity} have checksum {chunk.checksum:#x}, not {header.contents_crc:#x}")
    chunk.check()
    return chunk


def _stored(array: Array, compress: bool) -> NDArray[np.uint8]:
    raw: NDArray[np.uint8] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    if compress:
        packed = lz4.block.compress(raw.data, store_size=False)
        if len(packed) < raw.nbytes:
            return np.frombuffer(packed, dtype=np.uint8)
    return raw


def _starts(sizes: list[int]) -> tuple[list[int], int]:
    """Return where each column starts, and the length of it all."""
    starts, end = [], _HEADER.size + len(sizes) * _SIZE.size + _CRC.size
    for size in sizes:
        starts.append(-(-end // ALIGNMENT_BYTES) * ALIGNMENT_BYTES)
        end = starts[-1] + size
    return starts, end


def _read_header(view: memoryview, format: ChunkFormat) -> tuple[_Header, list[int]]:
    """Return header and stored sizes, when nothing in them speaks against the format."""
    columns = format.layout.columns
    sizes_end = _HEADER.size + len(columns) * _SIZE.size
    if view.format != "B" or view.ndim != 1 or not view.contiguous or len(view) < sizes_end + _CRC.size:
        raise ChunkError(f"{view.nbytes} bytes are too few for a chunk, or not in a row")
    header = _Header(*_HEADER.unpack_from(view))
    if header.magic != MAGIC or header.version != WIRE_VERSION:
        raise ChunkError(
            f"the bytes begin with {header.magic!r} version {header.version}, not {MAGIC!r} version {WIRE_VERSION}",
            hint="Install the same version of tmrl_ray on every machine.",
        )
    if header.layout_hash.hex() != format.layout.hash or header.columns != len(columns):
        raise ChunkError(
            f"the chunk has layout {header.layout_hash.hex()}, the buffer has {format.layout.hash}",
            hint="Start the collector with the configuration of the run, in the same version of tmrl_ray.",
        )
    if zlib.crc32(view[:sizes_end]) != _CRC.unpack_from(view, sizes_end)[0]:
        raise ChunkError("the header of a chunk is damaged: its checksum is another one")
    if header.leading > format.history or header.core > MAX_CORE_ROWS or header.trailing > format.look_ahead:
        raise ChunkError(
            f"a chunk of {header.leading} leading, {header.core} core and {header.trailing} trailing rows; at most "
            f"{format.history}, {MAX_CORE_ROWS} and {format.look_ahead} are allowed"
        )
    sizes = list(struct.unpack_from(f"<{len(columns)}I", view, _HEADER.size))
    rows = header.leading + header.core + header.trailing
    for column, size in zip(columns, sizes, strict=True):
        if size > rows * column.row_bytes:
            raise ChunkError(f"column {column.name} of {rows} rows has {size} bytes, more than they take")
    return header, sizes


def _decompress(part: memoryview, raw_bytes: int, name: str) -> bytes:
    try:
        raw: bytes = lz4.block.decompress(part, uncompressed_size=raw_bytes)
    except lz4.block.LZ4BlockError as error:
        raise ChunkError(f"column {name} cannot be decompressed: {error}") from error
    if len(raw) != raw_bytes:
        raise ChunkError(f"column {name} decompresses to {len(raw)} bytes, not {raw_bytes}")
    return raw
