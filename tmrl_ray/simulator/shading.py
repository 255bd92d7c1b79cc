"""The second pass of the rasteriser: the colour of each pixel, from the triangle that it shows; and grey from BGRA.

Sky, fog and the shadow of the car are drawn here, the textures in :mod:`~tmrl_ray.simulator.paint`.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.camera import EYE, FORWARD, RIGHT, UP
from tmrl_ray.simulator.car_state import POSITION, ROTATION, WHEEL_CONTACT
from tmrl_ray.simulator.jit import inlined, kernel
from tmrl_ray.simulator.paint import GROUND, PLAIN, surface
from tmrl_ray.simulator.raster import NEAR_M, SAMPLES, Canvas, Skin

Triple = tuple[float, float, float]
Quadruple = tuple[float, float, float, float]
Planes = tuple[Triple, Triple, Triple]

SHADOW_DEPTH_M = 14.0  # how far below the car its shadow reaches; it fades with the height
SHADOW = 0.5  # how much of the light it takes, right under the car
SHADOW_RISE_M = 0.3  # how far above the car's origin it still falls on something
SHADOW_SIZE_M = (1.05, 2.15)  # half its width and length
NOTHING = (1.0, 0.0, 1.0, 0.0)  # parts of a picture, as in View.shaded
EVERYTHING = (-math.inf, math.inf, -math.inf, math.inf)
SHADOW_REACH_M = 4.0  # half its length and its widest blur
SKY_STEEPNESS = 1.6  # the sky has its top colour from 39 degrees upwards
SKY = 101  # not a paint of tracks: no triangle was drawn here
ALL_SAMPLES = 15
SHEET_DEPTH = 0.2  # share by which the depths of two samples differ at most where they are drawn as one sheet
LEAST_PIXEL_M = 1e-4  # a pixel is taken to be this wide at least, where a pattern is divided by it


class View(NamedTuple):
    """What the colour of a pixel depends on beside its triangle. Numbers only, no arrays.

    The functions that are called for each pixel take numbers and tuples, because numba would count references to
    every array that is passed.
    """

    right: Triple
    """Change of a ray from one sample to the next to the right, world axes. Rays reach to a depth of 1 m."""
    down: Triple
    """The same, to the next one below."""
    first: Triple
    """The ray of sample (0, 0)."""
    eye: Triple
    """Metres, world."""
    ground_y: float
    """Height of the endless ground, metres; minus infinity: there is none."""
    fog_per_m2: float
    """Share of fog at a distance of 1 m; it grows with the square of the distance."""
    sky_top: Triple
    haze: Triple
    ground_tone: Quadruple
    """Red, green and blue of the ground under its light, and that light."""
    grain: float
    """Factor on the noise of surfaces."""
    seed: int
    """Of the noise."""
    shaded: Quadruple
    """The part of the picture in which the car's shadow can lie: least and largest x, least and largest y, in samples.
    The shadow fills a box below the car:"""
    aside: Triple
    """its axis to the left, world,"""
    ahead: Triple
    """its axis forwards,"""
    below: Triple
    """its axis downwards,"""
    from_eye: Triple
    """and where the car is along these axes, from the eye, in metres."""


@kernel
def shade(canvas: Canvas, view: View, bgra: NDArray[np.uint8]) -> None:
    """Colour every pixel of a picture (H, W, 4) from the SAMPLES x SAMPLES samples within it.

    A pixel whose samples all show one triangle is textured once, at its middle. At the edges of triangles each of
    those that the pixel shows is textured once, at the middle of its own samples.
    """
    height, width = bgra.shape[0], bgra.shape[1]
    owners, depths, records = canvas.owners, canvas.depths, canvas.records
    paints, sheets = canvas.paints, canvas.sheets
    for row in range(height):
        for column in range(width):
            x, y = SAMPLES * column, SAMPLES * row
            a, b, c, d = owners[y, x], owners[y, x + 1], owners[y + 1, x], owners[y + 1, x + 1]
            is_one = a == b and a == c and a == d
            if not is_one and min(a, b, c, d) >= 0 and sheets[a] == sheets[b] == sheets[c] == sheets[d]:
                near, far = depths[y, x], depths[y + 1, x + 1]
                is_one = abs(near - far) < SHEET_DEPTH * near
            red = green = blue = 0.0
            done = 0
            while done != ALL_SAMPLES:
                n, mask, share, across, down = _next_owner((a, b, c, d), done, is_one)
                done |= mask
                i = max(n, 0)
                z_plane = (records[i, 0], records[i, 1], records[i, 2])
                u_plane = (records[i, 3], records[i, 4], records[i, 5])
                v_plane = (records[i, 6], records[i, 7], records[i, 8])
                tone = (records[i, 9], records[i, 10], records[i, 11], records[i, 12])
                edges = (records[i, 13], records[i, 14], records[i, 15], records[i, 16])
                paint = paints[i] if n >= 0 else SKY
                colour = _point(view, (x + across, y + down), paint, (z_plane, u_plane, v_plane), tone, edges)
                red += colour[0] * share
                green += colour[1] * share
                blue += colour[2] * share
            bgra[row, column, 0] = _byte(blue)
            bgra[row, column, 1] = _byte(green)
            bgra[row, column, 2] = _byte(red)
            bgra[row, column, 3] = 255


@inlined
def _next_owner(samples: tuple[int, int, int, int], done: int, is_one: bool) -> tuple[int, int, float, float, float]:
    """Return the first owner among the samples that are not done: record, bits, share, and middle of its samples.

    Args:
        samples: owners of the four.
        done: bits of those that are drawn.
        is_one: whether they are all drawn as the first.
    """
    a, b, c, d = samples
    if is_one:
        return a, ALL_SAMPLES, 1.0, 0.5, 0.5
    n = a if not done & 1 else b if not done & 2 else c if not done & 4 else d
    in_a, in_b, in_c, in_d = int(a == n), int(b == n), int(c == n), int(d == n)
    count = in_a + in_b + in_c + in_d
    return n, in_a + 2 * in_b + 4 * in_c + 8 * in_d, 0.25 * count, (in_b + in_d) / count, (in_c + in_d) / count


@inlined
def _byte(value: float) -> np.uint8:
    return np.uint8(int(min(255.0, max(0.0, value + 0.5))))


@inlined
def _point(
    view: View,
    at: tuple[float, float],
    paint: int,
    planes: Planes,
    tone: Quadruple,
    edges: Quadruple,
) -> Triple:
    """Return the colour of a triangle, or of what is behind all triangles, at a sample, under shadow and fog.

    Args:
        view: the frame.
        at: x and y of the sample.
        paint: what the triangle looks like; SKY: there is none.
        planes: of 1/z, u/z and v/z.
        tone: of the triangle.
        edges: of the road.
    """
    x, y = at
    ray_x = view.right[0] * x + view.down[0] * y + view.first[0]
    ray_y = view.right[1] * x + view.down[1] * y + view.first[1]
    ray_z = view.right[2] * x + view.down[2] * y + view.first[2]
    length2 = ray_x * ray_x + ray_y * ray_y + ray_z * ray_z
    rise = view.ground_y - view.eye[1]
    z = rise / ray_y if ray_y < 0.0 and rise < 0.0 else math.inf
    ground = True
    if paint != SKY:
        own_z = 1.0 / (planes[0][0] * x + planes[0][1] * y + planes[0][2])
        if 0.0 < own_z <= z:
            z = own_z
            ground = False
    fog = z * z * length2 * view.fog_per_m2
    if not fog < 1.0:
        return _sky(view, 2.0 * ray_y / (1.0 + length2)) if ground else view.haze
    if paint == PLAIN and not ground:
        left = 1.0 - fog
        return _hazy(view, tone[0] * left, tone[1] * left, tone[2] * left, fog)
    if ground:
        paint, tone = GROUND, view.ground_tone
        place = _on_ground(view, (ray_x, ray_y, ray_z), z)
    else:
        place = _on_triangle((x, y, z), planes)
    v = place[1]
    sides = (edges[0] + edges[1] * v, edges[2] + edges[3] * v)
    red, green, blue = surface(paint, place, tone, sides, view.grain, view.seed)
    left = 1.0 - fog
    if view.shaded[0] <= x <= view.shaded[1] and view.shaded[2] <= y <= view.shaded[3]:
        left *= _light_left(view, ray_x * z, ray_y * z, ray_z * z)
    return _hazy(view, red * left, green * left, blue * left, fog)


@inlined
def _hazy(view: View, red: float, green: float, blue: float, fog: float) -> Triple:
    """Return a colour with so much of the fog added."""
    return red + view.haze[0] * fog, green + view.haze[1] * fog, blue + view.haze[2] * fog


@inlined
def _sky(view: View, rise: float) -> Triple:
    """Return the sky's colour where the sine of the angle above the horizon is about ``rise``."""
    share = min(1.0, SKY_STEEPNESS * max(rise, 0.0))
    rest = 1.0 - share
    return (
        view.haze[0] * rest + view.sky_top[0] * share,
        view.haze[1] * rest + view.sky_top[1] * share,
        view.haze[2] * rest + view.sky_top[2] * share,
    )


@inlined
def _on_triangle(at: Triple, planes: Planes) -> Quadruple:
    """Return u and v of a triangle at a sample (x, y) and a depth, and the width of a pixel along them, metres."""
    x, y, z = at
    (z_across, z_down, _), (u_across, u_down, u_first), (v_across, v_down, v_first) = planes
    u = (u_across * x + u_down * y + u_first) * z
    v = (v_across * x + v_down * y + v_first) * z
    wide = SAMPLES * z * _extent(u_across - u * z_across, u_down - u * z_down)
    long = SAMPLES * z * _extent(v_across - v * z_across, v_down - v * z_down)
    return u, v, max(wide, LEAST_PIXEL_M), max(long, LEAST_PIXEL_M)


@inlined
def _on_ground(view: View, ray: Triple, z: float) -> Quadruple:
    """Return x and z where a ray meets the endless ground, and the width of a pixel along them, metres."""
    inverse = 1.0 / ray[1]
    across, down = view.right[1] * inverse, view.down[1] * inverse
    wide = SAMPLES * z * _extent(view.right[0] - ray[0] * across, view.down[0] - ray[0] * down)
    long = SAMPLES * z * _extent(view.right[2] - ray[2] * across, view.down[2] - ray[2] * down)
    u, v = view.eye[0] + ray[0] * z, view.eye[2] + ray[2] * z
    return u, v, max(wide, LEAST_PIXEL_M), max(long, LEAST_PIXEL_M)


@inlined
def _extent(across: float, down: float) -> float:
    """Return the width over which to average what changes by ``across`` and ``down`` from pixel to pixel.

    Nearly the length of the two together; a pixel that a line crosses at a slant is not blurred twice.
    """
    across, down = abs(across), abs(down)
    return max(across, down) + 0.35 * min(across, down)


@inlined
def _light_left(view: View, x: float, y: float, z: float) -> float:
    """Return the share of light that the car leaves to the point (x, y, z), relative to the eye."""
    aside = abs(x * view.aside[0] + y * view.aside[1] + z * view.aside[2] - view.from_eye[0])
    ahead = abs(x * view.ahead[0] + y * view.ahead[1] + z * view.ahead[2] - view.from_eye[1])
    if aside > SHADOW_REACH_M or ahead > SHADOW_REACH_M:
        return 1.0
    below = x * view.below[0] + y * view.below[1] + z * view.below[2] - view.from_eye[2]
    if below < -SHADOW_RISE_M or below > SHADOW_DEPTH_M:
        return 1.0
    blur = _blur(max(below, 0.0))
    across = min(1.0, max(0.0, (SHADOW_SIZE_M[0] + blur - aside) / (2.0 * blur)))
    along = min(1.0, max(0.0, (SHADOW_SIZE_M[1] + blur - ahead) / (2.0 * blur)))
    return 1.0 - SHADOW * across * along * (1.0 - max(below, 0.0) / SHADOW_DEPTH_M)


@inlined
def _blur(below: float) -> float:
    """Return the half width of the shadow's soft edge, metres, so far below the car."""
    return 0.15 + 0.12 * below


@kernel
def shadow_axes(car: NDArray[np.float64]) -> tuple[Triple, Triple, Triple]:
    """Return the axes (left, ahead, down) of the box below the car that its shadow fills.

    On the ground the shadow lies under the wheels, whatever the road's attitude; in flight it falls straight down.
    """
    touching = 0.0
    for wheel in range(4):
        touching += car[WHEEL_CONTACT + wheel]
    left_x, left_y, left_z = car[ROTATION], car[ROTATION + 3], car[ROTATION + 6]
    up_x, up_y, up_z = car[ROTATION + 1], car[ROTATION + 4], car[ROTATION + 7]
    ahead_x, ahead_y, ahead_z = car[ROTATION + 2], car[ROTATION + 5], car[ROTATION + 8]
    level = math.sqrt(ahead_x * ahead_x + ahead_z * ahead_z)
    if touching == 0.0 and level > 0.1:  # else the nose points straight up: no level direction to lay it along
        ahead_x, ahead_y, ahead_z = ahead_x / level, 0.0, ahead_z / level
        up_x, up_y, up_z = 0.0, 1.0, 0.0
        left_x, left_y, left_z = ahead_z, 0.0, -ahead_x
    return (left_x, left_y, left_z), (ahead_x, ahead_y, ahead_z), (-up_x, -up_y, -up_z)


@kernel
def view_of(
    skin: Skin,
    pose: NDArray[np.float64],
    lens: tuple[float, float, int, int],
    car: NDArray[np.float64],
    ground_y: float,
    has_car: bool,
) -> View:
    """Return what the pixels of one frame depend on.

    Args:
        skin: colours and fog.
        pose: (POSE_SIZE,) the camera.
        lens: focal lengths along x and y, and height and width of the picture, in samples.
        car: (CAR_SIZE,) the car.
        ground_y: height of the endless ground, metres.
        has_car: whether the car is drawn, and its shadow.
    """
    focal_x, focal_y, height, width = lens
    right = (pose[RIGHT] / focal_x, pose[RIGHT + 1] / focal_x, pose[RIGHT + 2] / focal_x)
    down = (-pose[UP] / focal_y, -pose[UP + 1] / focal_y, -pose[UP + 2] / focal_y)
    x, y = 0.5 * (width - 1), 0.5 * (height - 1)
    eye = (pose[EYE], pose[EYE + 1], pose[EYE + 2])
    aside, ahead, below = shadow_axes(car)
    away = (car[POSITION] - eye[0], car[POSITION + 1] - eye[1], car[POSITION + 2] - eye[2])
    axes, from_eye = (aside, ahead, below), (_dot(aside, away), _dot(ahead, away), _dot(below, away))
    shaded = _shaded_part(axes, from_eye, pose, lens) if has_car else NOTHING
    return View(
        right,
        down,
        (
            pose[FORWARD] - x * right[0] - y * down[0],
            pose[FORWARD + 1] - x * right[1] - y * down[1],
            pose[FORWARD + 2] - x * right[2] - y * down[2],
        ),
        eye,
        ground_y,
        1.0 / (skin.far * skin.far),
        skin.sky_top,
        skin.haze,
        skin.ground,
        skin.grain,
        skin.seed,
        shaded,
        aside,
        ahead,
        below,
        from_eye,
    )


@kernel
def _shaded_part(
    axes: tuple[Triple, Triple, Triple],
    from_eye: Triple,
    pose: NDArray[np.float64],
    lens: tuple[float, float, int, int],
) -> Quadruple:
    """Return the part of the picture that the box of the shadow covers: see :class:`View`."""
    focal_x, focal_y, height, width = lens
    low_x, high_x, low_y, high_y = math.inf, -math.inf, math.inf, -math.inf
    for corner in range(8):
        down = SHADOW_DEPTH_M if corner & 1 else -SHADOW_RISE_M
        blur = _blur(max(down, 0.0))
        left = from_eye[0] + (SHADOW_SIZE_M[0] + blur) * (1.0 if corner & 2 else -1.0)
        forth = from_eye[1] + (SHADOW_SIZE_M[1] + blur) * (1.0 if corner & 4 else -1.0)
        right = up = forward = 0.0
        for i in range(3):
            away = axes[0][i] * left + axes[1][i] * forth + axes[2][i] * (from_eye[2] + down)
            right += away * pose[RIGHT + i]
            up += away * pose[UP + i]
            forward += away * pose[FORWARD + i]
        if forward < NEAR_M:
            return EVERYTHING
        x = 0.5 * (width - 1) + focal_x * right / forward
        y = 0.5 * (height - 1) - focal_y * up / forward
        low_x, high_x, low_y, high_y = min(low_x, x), max(high_x, x), min(low_y, y), max(high_y, y)
    return low_x, high_x, low_y, high_y


@kernel
def _dot(a: Triple, b: Triple) -> float:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def grey_of_bgra(bgra: NDArray[np.uint8], grey: NDArray[np.uint8]) -> None:
    """Write the luminance (H, W) of a BGRA picture (H, W, 4), in the integers that the game's client uses too.

    The weights are 0.114, 0.587 and 0.299 in units of 2**-14, rounded to the nearest.
    """
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            total = np.int32(bgra[y, x, 0]) * 1868 + np.int32(bgra[y, x, 1]) * 9617 + np.int32(bgra[y, x, 2]) * 4899
            grey[y, x] = np.uint8((total + 8192) >> 14)
