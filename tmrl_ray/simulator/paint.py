"""What a surface looks like at one point: procedural textures over u and v, filtered for the size of a pixel.

A pixel far away covers metres of road. Every pattern is therefore averaged over the box of u and v that the pixel
covers (lines and stripes exactly, noise by fading out), so that a 64x64 picture shows thin lines as faint ones and
does not sparkle. The noise is a small table made by integer hashing; nothing here calls the C mathematics library.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.track import Paint

NOISE_SIZE = 64
_MASK = NOISE_SIZE - 1

# Plain integers: numba sees an IntEnum's members as objects.
ROAD, BARE, TURBO_PAD, WALL, TUNNEL = (
    int(p) for p in (Paint.ROAD, Paint.BARE, Paint.TURBO_PAD, Paint.WALL, Paint.TUNNEL)
)
GROUND, SUPPORT, CHECKPOINT = int(Paint.GROUND), int(Paint.SUPPORT), int(Paint.CHECKPOINT)
START, FINISH = int(Paint.START), int(Paint.FINISH)
PLAIN = 100
"""The tone alone: the car's body. Not a paint of tracks."""

LINE_WHITE = 236.0
LINE_HALF_M = 0.2  # half the width of the road's edge lines
LINE_INSET_M = 0.45  # from the edge of the road to the middle of its edge line
LEAST_LINE_SHARE = 0.12  # a line is drawn at least this part of a pixel (half width), so that it never quite vanishes
DASH_PERIOD_M = 8.0
TINT_PERIOD_M = 32.0  # a block of the game
STRIPE_M = 16.0  # mow stripes on the ground


def noise_table(seed: int) -> NDArray[np.float32]:
    """Return a table (NOISE_SIZE, NOISE_SIZE) of values from -1 to 1, by hashing ``seed`` and the position."""
    x = np.arange(NOISE_SIZE * NOISE_SIZE, dtype=np.uint64) + np.uint64(seed % 2**32) * np.uint64(0x9E3779B9)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):  # the finaliser of splitmix64
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    unit = (x >> np.uint64(40)).astype(np.float64) / 2**24
    return (2 * unit - 1).astype(np.float32).reshape(NOISE_SIZE, NOISE_SIZE)


@kernel
def _noise(table: NDArray[np.float32], x: float, y: float) -> float:
    """Return the table at (x, y) cells, blended between its four neighbours; it repeats every NOISE_SIZE cells."""
    x0 = math.floor(x)
    y0 = math.floor(y)
    fx = x - x0
    fy = y - y0
    ix = int(x0) & _MASK
    iy = int(y0) & _MASK
    jx = (ix + 1) & _MASK
    jy = (iy + 1) & _MASK
    low = table[iy, ix] + (table[iy, jx] - table[iy, ix]) * fx
    high = table[jy, ix] + (table[jy, jx] - table[jy, ix]) * fx
    return low + (high - low) * fy


@kernel
def _pulse_integral(x: float, duty: float) -> float:
    """Return the integral from 0 to ``x`` of a train of pulses of period 1 that is 1 in the first ``duty`` of it."""
    whole = math.floor(x)
    return whole * duty + min(x - whole, duty)


@kernel
def _pulse(x: float, width: float, duty: float) -> float:
    """Return the mean of the pulse train over ``width`` periods around ``x``: 0..1."""
    half = 0.5 * width
    return (_pulse_integral(x + half, duty) - _pulse_integral(x - half, duty)) / width


@kernel
def _band(x: float, width: float, half: float) -> float:
    """Return how much of a pixel of ``width`` at ``x`` a line of ``half`` width around 0 covers: 0..1."""
    half = max(half, LEAST_LINE_SHARE * width)
    reach = 0.5 * width
    return max(0.0, min(x + reach, half) - max(x - reach, -half)) / width


@kernel
def _fade(width: float, cell: float) -> float:
    """Return how much of a pattern with cells of ``cell`` metres is left in pixels of ``width`` metres."""
    return min(1.0, max(0.0, 1.6 - width / cell))


@kernel
def _grain(table: NDArray[np.float32], u: float, v: float, width: float, cell: float) -> float:
    """Return the noise with cells of ``cell`` metres, faded for pixels of ``width`` metres."""
    left = _fade(width, cell)
    if left == 0.0:
        return 0.0
    return left * _noise(table, u / cell, v / cell)


@kernel
def _road_lines(u: float, v: float, wu: float, wv: float, half_width: float) -> float:
    """Return how much of the pixel the road's lines cover: edges, and a dashed line in the middle."""
    edge = _band(abs(u) - (half_width - LINE_INSET_M), wu, LINE_HALF_M)
    middle = _band(u, wu, 0.16)
    if middle > 0.0:
        middle *= _pulse(v / DASH_PERIOD_M, wv / DASH_PERIOD_M, 0.4)
    return min(1.0, edge + middle)


@kernel
def _cross(a: float, b: float) -> float:
    """Return the checker that two stripe patterns make."""
    return a + b - 2.0 * a * b


@kernel
def surface(
    paint: int,
    place: tuple[float, float, float, float],
    tone: tuple[float, float, float, float],
    half_width: float,
    table: NDArray[np.float32],
    grain: float,
) -> tuple[float, float, float]:
    """Return the red, green and blue of one pixel, before fog.

    Args:
        paint: which texture.
        place: u, v and the width of the pixel along each, metres.
        tone: the surface's colour under its light, and that light.
        half_width: of the road, metres.
        table: the noise.
        grain: factor on the noise.
    """
    u, v, wu, wv = place
    red, green, blue, light = tone
    widest = max(wu, wv)
    if paint == GROUND:
        stripes = _cross(
            _pulse(u / (2 * STRIPE_M), wu / (2 * STRIPE_M), 0.5), _pulse(v / (2 * STRIPE_M), wv / (2 * STRIPE_M), 0.5)
        )
        shade = 0.88 + 0.24 * stripes
        shade += grain * (0.16 * _grain(table, u, v, widest, 0.9) + 0.10 * _grain(table, u, v, widest, 11.0))
        return red * shade, green * shade, blue * shade
    if paint == ROAD:
        block = int(math.floor(v / TINT_PERIOD_M))
        shade = 1.0 + 0.07 * table[(block >> 6) & _MASK, block & _MASK] * _fade(wv, TINT_PERIOD_M)
        shade += grain * (0.09 * _grain(table, u, v, widest, 0.4) + 0.07 * _grain(table, u, v, widest, 3.0))
        line = _road_lines(u, v, wu, wv, half_width)
        rest = shade * (1.0 - line)
        line *= LINE_WHITE * light
        return red * rest + line, green * rest + line, blue * rest + line
    if paint in (BARE, SUPPORT):
        shade = 1.0 + grain * (0.13 * _grain(table, u, v, widest, 0.5) + 0.12 * _grain(table, u, v, widest, 3.5))
        return red * shade, green * shade, blue * shade
    if paint == WALL:
        stripe = _pulse(v / 8.0, wv / 8.0, 0.5)
        base = 1.0 - stripe
        return (
            red * base + 196.0 * light * stripe,
            green * base + 44.0 * light * stripe,
            blue * base + 36.0 * light * stripe,
        )
    if paint == TURBO_PAD:
        arrow = _pulse((v + abs(u)) / 3.0, (wv + wu) / 3.0, 0.5)
        shade = 0.45 + 0.65 * arrow
        return red * shade, green * shade, blue * shade
    if paint == TUNNEL:
        lamp = _pulse(v / 12.0, wv / 12.0, 0.1)
        shade = (1.0 + grain * 0.1 * _grain(table, u, v, widest, 2.0)) * (1.0 - lamp)
        return red * shade + 236.0 * lamp, green * shade + 226.0 * lamp, blue * shade + 190.0 * lamp
    if paint in (CHECKPOINT, START):
        stripe = _pulse((u + v) / 2.0, (wu + wv) / 2.0, 0.5)
        base = 1.0 - stripe
        white = 240.0 * light * stripe
        return red * base + white, green * base + white, blue * base + white
    if paint == FINISH:
        shade = 0.12 + 0.88 * _cross(_pulse(u / 2.0, wu / 2.0, 0.5), _pulse(v / 2.0, wv / 2.0, 0.5))
        return red * shade, green * shade, blue * shade
    return red, green, blue
