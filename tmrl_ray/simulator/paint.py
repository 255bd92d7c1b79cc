"""What a surface looks like at one point: procedural textures over u and v, filtered for the size of a pixel.

A pixel far away covers metres of road. Every pattern is therefore averaged over the box of u and v that the pixel
covers (lines and stripes exactly, noise by fading out), so that a 64x64 picture shows thin lines as faint ones and
does not sparkle. The noise is made by integer hashing; nothing here calls the C mathematics library.
"""

from __future__ import annotations

import math

from tmrl_ray.simulator.jit import inlined
from tmrl_ray.simulator.track import Paint

# Odd 64-bit numbers without a pattern (the fractions of the golden ratio and of square roots), as signed integers.
_FACTOR_X = -0x61C8864680B583EB
_FACTOR_Y = 0x6A09E667F3BCC909
_FACTOR_MIX = -0x4498517A7B3558C5

# Plain integers: numba sees an IntEnum's members as objects.
ROAD, BARE, TURBO_PAD, WALL, TUNNEL = (
    int(p) for p in (Paint.ROAD, Paint.BARE, Paint.TURBO_PAD, Paint.WALL, Paint.TUNNEL)
)
GROUND, SUPPORT, CHECKPOINT = int(Paint.GROUND), int(Paint.SUPPORT), int(Paint.CHECKPOINT)
START, FINISH = int(Paint.START), int(Paint.FINISH)
PLAIN = 100
"""The tone alone: the car's body. Not a paint of tracks."""

LINE_WHITE = 236.0
LINE_HALF_M = 0.25  # half the width of the road's edge lines
LINE_INSET_M = 0.45  # from the edge of the road to the middle of its edge line
LEAST_LINE_SHARE = 0.16  # a line is drawn at least this part of a pixel (half width), so that it never quite vanishes
DASHES_PER_M = 1 / 8
DASH_HALF_M = 0.16
TINTS_PER_M = 1 / 32  # a block of the game
STRIPES_PER_M = 1 / 32  # pairs of mow stripes on the ground


@inlined
def _hashed(key: int) -> float:
    """Return a number from -1 to 1 that is the same for the same key, and looks drawn by lot."""
    mixed = (key ^ (key >> 29)) * _FACTOR_MIX
    return (mixed >> 40) * 2.0**-23


@inlined
def _noise(x: float, y: float, seed: int) -> float:
    """Return smooth noise from -1 to 1 at (x, y) cells: hashed at whole numbers, linear between them."""
    x0 = math.floor(x)
    y0 = math.floor(y)
    fx = x - x0
    fy = y - y0
    key = int(x0) * _FACTOR_X + int(y0) * _FACTOR_Y + seed
    a, b = _hashed(key), _hashed(key + _FACTOR_X)
    c, d = _hashed(key + _FACTOR_Y), _hashed(key + _FACTOR_X + _FACTOR_Y)
    low = a + (b - a) * fx
    high = c + (d - c) * fx
    return low + (high - low) * fy


@inlined
def _pulse_integral(x: float, duty: float) -> float:
    """Return the integral from 0 to ``x`` of a train of pulses of period 1 that is 1 in the first ``duty`` of it."""
    whole = math.floor(x)
    return whole * duty + min(x - whole, duty)


@inlined
def _pulse(x: float, width: float, duty: float) -> float:
    """Return the mean of the pulse train over ``width`` periods around ``x``: 0..1."""
    half = 0.5 * width
    return (_pulse_integral(x + half, duty) - _pulse_integral(x - half, duty)) / width


@inlined
def _band(x: float, width: float, half: float) -> float:
    """Return how much of a pixel of ``width`` at ``x`` a line of ``half`` width around 0 covers: 0..1."""
    half = max(half, LEAST_LINE_SHARE * width)
    reach = 0.5 * width
    covered = min(x + reach, half) - max(x - reach, -half)
    return covered / width if covered > 0.0 else 0.0


@inlined
def _fade(width: float, per_m: float) -> float:
    """Return how much of a pattern with ``per_m`` cells in a metre is left in pixels of ``width`` metres."""
    return min(1.0, max(0.0, 1.6 - width * per_m))


@inlined
def _grain(u: float, v: float, width: float, per_m: float, seed: int) -> float:
    """Return the noise with ``per_m`` cells in a metre, faded for pixels of ``width`` metres."""
    left = _fade(width, per_m)
    return left * _noise(u * per_m, v * per_m, seed) if left > 0.0 else 0.0


@inlined
def _road_lines(place: tuple[float, float, float, float], left: float, right: float) -> float:
    """Return how much of the pixel the road's lines cover: both edges, and a dashed line in the middle."""
    u, v, wu, wv = place
    centre = 0.5 * (left + right)
    edge = _band(abs(u - centre) - (0.5 * (left - right) - LINE_INSET_M), wu, LINE_HALF_M)
    middle = _band(u - centre, wu, DASH_HALF_M)
    if middle > 0.0:
        middle *= _pulse(v * DASHES_PER_M, wv * DASHES_PER_M, 0.4)
    return min(1.0, edge + middle)


@inlined
def _cross(a: float, b: float) -> float:
    """Return the checker that two stripe patterns make."""
    return a + b - 2.0 * a * b


@inlined
def surface(
    paint: int,
    place: tuple[float, float, float, float],
    tone: tuple[float, float, float, float],
    edges: tuple[float, float],
    grain: float,
    seed: int,
) -> tuple[float, float, float]:
    """Return the red, green and blue of one pixel, before fog.

    Args:
        paint: which texture.
        place: u, v and the width of the pixel along each, metres.
        tone: the surface's colour under its light, and that light.
        edges: u of the road's left and right edges, metres.
        grain: factor on the noise.
        seed: of the noise.
    """
    u, v, wu, wv = place
    red, green, blue, light = tone
    widest = max(wu, wv)
    if paint == GROUND:
        stripes = _cross(
            _pulse(u * STRIPES_PER_M, wu * STRIPES_PER_M, 0.5), _pulse(v * STRIPES_PER_M, wv * STRIPES_PER_M, 0.5)
        )
        shade = 0.94 + 0.12 * stripes
        shade += grain * (0.16 * _grain(u, v, widest, 1.1, seed) + 0.10 * _grain(u, v, widest, 0.09, seed))
        return red * shade, green * shade, blue * shade
    if paint == ROAD:
        block = int(math.floor(v * TINTS_PER_M))
        shade = 1.0 + 0.07 * _hashed(block * _FACTOR_X + seed) * _fade(wv, TINTS_PER_M)
        shade += grain * (0.09 * _grain(u, v, widest, 2.5, seed) + 0.07 * _grain(u, v, widest, 0.33, seed))
        line = _road_lines(place, edges[0], edges[1])
        rest = shade * (1.0 - line)
        line *= LINE_WHITE * light
        return red * rest + line, green * rest + line, blue * rest + line
    if paint in (BARE, SUPPORT):
        shade = 1.0 + grain * (0.13 * _grain(u, v, widest, 2.0, seed) + 0.12 * _grain(u, v, widest, 0.29, seed))
        return red * shade, green * shade, blue * shade
    if paint == WALL:
        stripe = _pulse(v * 0.125, wv * 0.125, 0.5)
        base = 1.0 - stripe
        return (
            red * base + 196.0 * light * stripe,
            green * base + 44.0 * light * stripe,
            blue * base + 36.0 * light * stripe,
        )
    if paint == TURBO_PAD:
        arrow = _pulse((v + abs(u)) * 0.33, (wv + wu) * 0.33, 0.5)
        shade = 0.45 + 0.65 * arrow
        return red * shade, green * shade, blue * shade
    if paint == TUNNEL:
        lamp = _pulse(v * 0.08, wv * 0.08, 0.1)
        shade = (1.0 + grain * 0.1 * _grain(u, v, widest, 0.5, seed)) * (1.0 - lamp)
        return red * shade + 236.0 * lamp, green * shade + 226.0 * lamp, blue * shade + 190.0 * lamp
    if paint in (CHECKPOINT, START):
        stripe = _pulse((u + v) * 0.5, (wu + wv) * 0.5, 0.5)
        base = 1.0 - stripe
        white = 240.0 * light * stripe
        return red * base + white, green * base + white, blue * base + white
    if paint == FINISH:
        shade = 0.12 + 0.88 * _cross(_pulse(u * 0.5, wu * 0.5, 0.5), _pulse(v * 0.5, wv * 0.5, 0.5))
        return red * shade, green * shade, blue * shade
    return red, green, blue
