"""A cursor over the bytes of a Gbx file that trusts nothing it reads.

Every length and count is checked against the bytes that are left before anything is allocated, so that a file of n
bytes never costs more than a small multiple of n. Whatever does not fit raises one :class:`GbxError` with the file,
the part of it and the offset. Facts of the format (numbers, strings, names that are written once and then looked up
again): the public description at wiki.xaseco.org/wiki/GBX.
"""

from __future__ import annotations

import struct
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import GbxError

NONE = 0xFFFFFFFF
"""What a node reference or a name holds when there is none, and a time when it is not known."""

_NAME_VERSIONS = (2, 3)
_NAME_IS_TEXT = 0xC0000000
_NAME_INDEX = 0x3FFFFFFF

COLLECTIONS = {0: "Speed", 1: "Alpine", 2: "Rally", 3: "Island", 4: "Bay", 5: "Coast", 6: "Stadium"}
"""Environments that a file may name by number, by the names that TMUF writes as text."""


class Reader:
    """Read little-endian values from ``data``, from the front.

    Args:
        data: the bytes.
        source: the file's name, for errors.
        part: which part of the file these bytes are, for errors; offsets count from its start.
        node_count: how many nodes the file says it has: the bound of node references.
    """

    def __init__(self, data: bytes, source: str, part: str, *, node_count: int = 0) -> None:
        self._data = data
        self._source = source
        self._part = part
        self._end = len(data)
        self.offset = 0
        self.node_count = node_count
        self.nodes: dict[int, Any] = {}
        self._names: list[str] = []
        self._names_started = False

    @property
    def source(self) -> str:
        """The name of the file that is read."""
        return self._source

    @property
    def left(self) -> int:
        """Bytes that are not read yet."""
        return self._end - self.offset

    def fail(self, reason: str, *, at: int | None = None) -> NoReturn:
        """Raise a GbxError that names the file, its part and the offset (by default, where the reader stands)."""
        offset = self.offset if at is None else at
        raise GbxError(f"{self._source}: {reason} (byte {offset} of the {self._part})")

    def limited_to(self, size: int) -> int:
        """Let the reader see only the next ``size`` bytes, and return the former end for :meth:`restore`."""
        if size > self.left:
            self.fail(f"a chunk of {size} bytes where {self.left} are left: the file is cut off or damaged")
        former = self._end
        self._end = self.offset + size
        return former

    def restore(self, end: int) -> None:
        """Go to the end of the present limit and widen it to ``end`` again."""
        self.offset = self._end
        self._end = end

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes."""
        if size > self.left:
            self.fail(f"{size} bytes are needed where {self.left} are left: the file is cut off or damaged")
        self.offset += size
        return self._data[self.offset - size : self.offset]

    def skip(self, size: int) -> None:
        """Step over ``size`` bytes."""
        if size > self.left:
            self.fail(f"{size} bytes are needed where {self.left} are left: the file is cut off or damaged")
        self.offset += size

    def u8(self) -> int:
        """Read an unsigned byte."""
        return self.take(1)[0]

    def u16(self) -> int:
        """Read an unsigned 16-bit integer."""
        return int.from_bytes(self.take(2), "little")

    def u32(self) -> int:
        """Read an unsigned 32-bit integer."""
        return int.from_bytes(self.take(4), "little")

    def i32(self) -> int:
        """Read a signed 32-bit integer."""
        return int.from_bytes(self.take(4), "little", signed=True)

    def u64(self) -> int:
        """Read an unsigned 64-bit integer."""
        return int.from_bytes(self.take(8), "little")

    def flag(self) -> bool:
        """Read a truth value of 32 bits."""
        return self.u32() != 0

    def floats(self, count: int) -> NDArray[np.float64]:
        """Read ``count`` 32-bit floats.

        Raises:
            GbxError: one of them is not finite.
        """
        at = self.offset
        values = np.array(struct.unpack(f"<{count}f", self.take(4 * count)))
        if not np.isfinite(values).all():
            self.fail("a number is not finite", at=at)
        return values

    def peek_u32(self) -> int | None:
        """Return the next 32-bit integer without stepping over it; None where fewer than 4 bytes are left."""
        if self.left < 4:
            return None
        return int.from_bytes(self._data[self.offset : self.offset + 4], "little")

    def time_ms(self) -> int | None:
        """Read a time of 32 bits in milliseconds; None: the game did not know it."""
        value = self.u32()
        return None if value == NONE else value

    def count(self, item_size: int) -> int:
        """Read how many items follow, each at least ``item_size`` bytes long.

        Raises:
            GbxError: so many items do not fit in what is left.
        """
        at = self.offset
        count = self.u32()
        if count * item_size > self.left:
            self.fail(f"{count} items of {item_size} bytes or more where {self.left} bytes are left", at=at)
        return count

    def text(self) -> str:
        """Read a string: a 32-bit length and UTF-8, which the game may start with a byte order mark."""
        return self.take(self.count(1)).decode("utf-8", errors="replace").removeprefix("\ufeff")

    def name(self) -> str:
        """Read a name: written out the first time, then referred to by its number."""
        if not self._names_started:
            at = self.offset
            version = self.u32()
            if version not in _NAME_VERSIONS:
                self.fail(f"names of version {version}, known are {_NAME_VERSIONS}", at=at)
            self._names_started = True
        at = self.offset
        reference = self.u32()
        if reference == NONE:
            return ""
        if not reference & _NAME_IS_TEXT:
            return COLLECTIONS.get(reference, str(reference))
        index = reference & _NAME_INDEX
        if index == 0:
            self._names.append(self.text())
            return self._names[-1]
        if index > len(self._names):
            self.fail(f"name number {index} is referred to, {len(self._names)} are known", at=at)
        return self._names[index - 1]

    def ident(self) -> tuple[str, str, str]:
        """Read three names: id, collection (environment) and author."""
        return self.name(), self.name(), self.name()

    def skip_file_reference(self) -> None:
        """Step over a reference to a file of the player's disk: version, checksum (from 3), path, address."""
        version = self.u8()
        if version >= 3:
            self.skip(32)
        path = self.text()
        if path or version >= 3:
            self.text()
