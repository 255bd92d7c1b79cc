"""LZO1X with a ceiling on memory.

The decompressor (lzallright, MIT) grows its output as long as the input tells it to: some 250 bytes for each byte.
An input that could outgrow the ceiling is therefore measured first, by adding up the lengths of its instructions.
Source of the instruction layout: Documentation/staging/lzo.rst of the Linux kernel.
"""

from __future__ import annotations

from typing import Final

from lzallright import LZOCompressor, LZOError

MOST_BYTES_PER_BYTE: Final = 255
"""A zero byte in a length adds 255 to it; nothing in LZO yields more."""


class LzoError(Exception):
    """The bytes are not LZO1X, or not of the promised size."""


def decompress(data: bytes, size: int, ceiling: int) -> bytes:
    """Return ``data`` decompressed.

    Args:
        data: a complete LZO1X stream.
        size: the number of bytes that it is said to yield.
        ceiling: the most bytes that may be allocated.

    Raises:
        LzoError: the stream is damaged, longer or shorter than ``size``, or beyond the ceiling.
    """
    if size > ceiling:
        raise LzoError(f"{size} bytes when decompressed, {ceiling} are allowed")
    if len(data) * MOST_BYTES_PER_BYTE > ceiling and (measured := measure(data, size)) != size:
        raise LzoError(f"yields {measured} bytes or more, {size} were promised")
    try:
        output: bytes = LZOCompressor.decompress(data, max(size, 1))
    except LZOError as error:
        raise LzoError(f"damaged LZO stream ({error.args[0]})") from error
    if len(output) != size:
        raise LzoError(f"yields {len(output)} bytes, {size} were promised")
    return output


def measure(data: bytes, enough: int) -> int:
    """Return how many bytes an LZO1X stream yields; stop counting past ``enough``.

    Raises:
        LzoError: the stream ends in the middle of an instruction.
    """
    try:
        return _measure(data, enough)
    except IndexError as error:
        raise LzoError("damaged LZO stream (cut off)") from error


def _measure(data: bytes, enough: int) -> int:
    total, position, literals = 0, 0, 0
    if data[0] > 17:
        total = data[0] - 17
        position = 1 + total
        literals = min(total, 4)
    while total <= enough:
        token = data[position]
        position += 1
        if token < 16:
            if literals == 0:  # a long run of literals
                run, position = _length(data, position, token, 15)
                total += run + 3
                position += run + 3
                literals = 4
                continue
            total += 3 if literals == 4 else 2  # a short match, whose size depends on what came before
            trailing = token & 3
            position += 1
        elif token < 64:
            bits = 31 if token >= 32 else 7
            run, position = _length(data, position, token & bits, bits)
            distance = data[position] | data[position + 1] << 8
            trailing = distance & 3
            position += 2
            if token < 32 and distance >> 2 == 0 and not token & 8:
                return total  # the end marker
            total += run + 2
        else:
            total += (token >> 5) + 1
            trailing = token & 3
            position += 1
        total += trailing
        position += trailing
        literals = trailing
    return total


def _length(data: bytes, position: int, value: int, base: int) -> tuple[int, int]:
    """Read a length that goes on in further bytes when the instruction's own bits are zero."""
    if value:
        return value, position
    while data[position] == 0:
        base += 255
        position += 1
    return base + data[position], position + 1
