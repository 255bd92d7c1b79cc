"""From the game's BGRA pictures to the grey ones that a policy sees.

The client converts what the socket brings, the simulator paints grey itself; both use these weights, so that a frame
is the same, byte for byte, whichever way it came. The weights are the usual ones of luma (0.114 blue, 0.587 green,
0.299 red, ITU-R BT.601) in units of 2^-14; they add up to exactly one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BLUE_WEIGHT = 1868
GREEN_WEIGHT = 9617
RED_WEIGHT = 4899
WEIGHT_BITS = 14

# The sums are kept eight bits up, where green already stands in a little-endian BGRA word: one shift less per picture.
# The largest is 255.5 * 2^22, which 32 bits hold.
_UP = 8
_BLUE_MASK, _GREEN_MASK = np.uint32(0xFF), np.uint32(0xFF00)
_BLUE, _GREEN, _RED = np.uint32(BLUE_WEIGHT << _UP), np.uint32(GREEN_WEIGHT), np.uint32(RED_WEIGHT << _UP)
_HALF = np.uint32(1 << (WEIGHT_BITS - 1 + _UP))
_RED_SHIFT, _RESULT_SHIFT = np.uint32(16), np.uint32(WEIGHT_BITS + _UP)


def bgra_to_grey(bgra: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a fresh (H, W) grey picture of ``bgra`` (H, W, 4): (1868 B + 9617 G + 4899 R + 8192) >> 14."""
    height, width, _ = bgra.shape
    pixels = np.ascontiguousarray(bgra).reshape(-1).view("<u4")
    total = pixels & _GREEN_MASK
    total *= _GREEN
    part = pixels & _BLUE_MASK
    part *= _BLUE
    total += part
    np.right_shift(pixels, _RED_SHIFT, out=part)
    part &= _BLUE_MASK
    part *= _RED
    total += part
    total += _HALF
    total >>= _RESULT_SHIFT
    return total.astype(np.uint8).reshape(height, width)
