"""The second pass of the rasteriser: the colour of each pixel, from the triangle that it shows; and grey from BGRA.

Sky, fog and the shadow of the car are drawn here, the textures in :mod:`~tmrl_ray.simulator.paint`.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.camera import EYE, FORWARD, RIGHT, UP
from tmrl_ray.simulator.car_state import POSITION, ROTATION, WHEEL_CONTACT
from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.paint import PLAIN, surface
from tmrl_ray.simulator.raster import EDGES, INVERSE_DEPTH, LIGHT, TONE, U_PLANE, V_PLANE, Canvas, Skin

SHADOW_DEPTH_M = 14.0  # how far below the car its shadow reaches; it fades with the height
SHADOW = 0.5  # how much of the light it takes, right under the car
SHADOW_SIZE_M = (1.05, 2.15)  # half its width and length

Rays = NDArray[np.float64]
"""(3, 3): the ray of pixel (x, y), at a depth of 1 m, is rays @ (x, y, 1) in world axes."""


@kernel
def set_rays(pose: NDArray[np.float64], focal: tuple[float, float], height: int, width: int, rays: Rays) -> None:
    """Write the rays of a camera pose; ``focal`` are the focal lengths along x and y in pixels."""
    for i in range(3):
        rays[i, 0] = pose[RIGHT + i] / focal[0]
        rays[i, 1] = -pose[UP + i] / focal[1]
        rays[i, 2] = pose[FORWARD + i] - 0.5 * (width - 1) * rays[i, 0] - 0.5 * (height - 1) * rays[i, 1]


@kernel
def _byte(value: float) -> np.uint8:
    return np.uint8(int(min(255.0, max(0.0, value + 0.5))))


@kernel
def shade(canvas: Canvas, skin: Skin, rays: Rays, shadow: NDArray[np.float64], bgra: NDArray[np.uint8]) -> None:
    """Colour every pixel.

    Args:
        canvas: buffers that the first pass filled.
        skin: colours and fog.
        rays: from pixels to directions.
        shadow: (15,) a box in which surfaces lie in the car's shadow; see :func:`set_shadow`.
        bgra: (H, W, 4) the picture.
    """
    height, width = canvas.owners.shape
    table = skin.noise
    grain = skin.scalars[1]
    fog_per_m2 = 1.0 / (skin.scalars[0] * skin.scalars[0])
    fog_red, fog_green, fog_blue = skin.sky[1, 0], skin.sky[1, 1], skin.sky[1, 2]
    rise_red, rise_green, rise_blue = skin.sky[0, 0] - fog_red, skin.sky[0, 1] - fog_green, skin.sky[0, 2] - fog_blue
    for y in range(height):
        row_x = rays[0, 1] * y + rays[0, 2]
        row_y = rays[1, 1] * y + rays[1, 2]
        row_z = rays[2, 1] * y + rays[2, 2]
        for x in range(width):
            ray_x = rays[0, 0] * x + row_x
            ray_y = rays[1, 0] * x + row_y
            ray_z = rays[2, 0] * x + row_z
            length2 = ray_x * ray_x + ray_y * ray_y + ray_z * ray_z
            record = canvas.owners[y, x]
            if record < 0:
                rise = ray_y / math.sqrt(length2)
                rise = min(1.0, 1.6 * rise) if rise > 0.0 else max(-0.25, 2.0 * rise)
                red = fog_red + rise_red * rise if rise > 0.0 else fog_red * (1.0 + rise)
                green = fog_green + rise_green * rise if rise > 0.0 else fog_green * (1.0 + rise)
                blue = fog_blue + rise_blue * rise if rise > 0.0 else fog_blue * (1.0 + rise)
            else:
                r = canvas.records[record]
                z = 1.0 / (r[INVERSE_DEPTH] * x + r[INVERSE_DEPTH + 1] * y + r[INVERSE_DEPTH + 2])
                paint = canvas.paints[record]
                if paint == PLAIN:
                    red, green, blue = r[TONE], r[TONE + 1], r[TONE + 2]
                else:
                    u = (r[U_PLANE] * x + r[U_PLANE + 1] * y + r[U_PLANE + 2]) * z
                    v = (r[V_PLANE] * x + r[V_PLANE + 1] * y + r[V_PLANE + 2]) * z
                    wu = z * (abs(r[U_PLANE] - u * r[INVERSE_DEPTH]) + abs(r[U_PLANE + 1] - u * r[INVERSE_DEPTH + 1]))
                    wv = z * (abs(r[V_PLANE] - v * r[INVERSE_DEPTH]) + abs(r[V_PLANE + 1] - v * r[INVERSE_DEPTH + 1]))
                    place = (u, v, max(wu, 1e-4), max(wv, 1e-4))
                    tone = (r[TONE], r[TONE + 1], r[TONE + 2], r[LIGHT])
                    half_width = r[EDGES] + r[EDGES + 1] * v
                    red, green, blue = surface(paint, place, tone, half_width, table, grain)
                    if shadow[12] > 0.0:
                        dark = _in_shadow(shadow, ray_x * z, ray_y * z, ray_z * z)
                        red, green, blue = red * dark, green * dark, blue * dark
                fog = min(1.0, z * z * length2 * fog_per_m2)
                red += (fog_red - red) * fog
                green += (fog_green - green) * fog
                blue += (fog_blue - blue) * fog
            bgra[y, x, 0] = _byte(blue)
            bgra[y, x, 1] = _byte(green)
            bgra[y, x, 2] = _byte(red)
            bgra[y, x, 3] = 255


@kernel
def _in_shadow(shadow: NDArray[np.float64], x: float, y: float, z: float) -> float:
    """Return the share of light that the car leaves to the point (x, y, z), relative to the eye."""
    depth = x * shadow[6] + y * shadow[7] + z * shadow[8] - shadow[11]
    if depth < -0.3 or depth > SHADOW_DEPTH_M:
        return 1.0
    left = abs(x * shadow[0] + y * shadow[1] + z * shadow[2] - shadow[9])
    forward = abs(x * shadow[3] + y * shadow[4] + z * shadow[5] - shadow[10])
    blur = 0.15 + 0.12 * max(depth, 0.0)
    across = min(1.0, max(0.0, (SHADOW_SIZE_M[0] + blur - left) / (2.0 * blur)))
    along = min(1.0, max(0.0, (SHADOW_SIZE_M[1] + blur - forward) / (2.0 * blur)))
    return 1.0 - SHADOW * across * along * (1.0 - max(depth, 0.0) / SHADOW_DEPTH_M)


@kernel
def set_shadow(car: NDArray[np.float64], pose: NDArray[np.float64], shadow: NDArray[np.float64]) -> None:
    """Write the box below the car that its shadow fills, relative to the eye.

    Args:
        car: (CAR_SIZE,) the car.
        pose: (POSE_SIZE,) the view.
        shadow: (13,) three axes (left, forward, down), the car's place along each, and 1 (0: no shadow).

    On the ground the shadow lies under the wheels, whatever the road's attitude; in flight it falls straight down.
    """
    touching = 0.0
    for wheel in range(4):
        touching += car[WHEEL_CONTACT + wheel]
    for axis, column in ((0, 0), (1, 2), (2, 1)):
        for i in range(3):
            shadow[3 * axis + i] = car[ROTATION + 3 * i + column] if axis < 2 else -car[ROTATION + 3 * i + column]
    if touching == 0.0:
        flat = math.sqrt(shadow[3] * shadow[3] + shadow[5] * shadow[5])
        if flat < 0.1:  # nose straight up or down: no direction to lay the shadow along
            shadow[12] = 0.0
            return
        shadow[3], shadow[4], shadow[5] = shadow[3] / flat, 0.0, shadow[5] / flat
        shadow[0], shadow[1], shadow[2] = shadow[5], 0.0, -shadow[3]
        shadow[6], shadow[7], shadow[8] = 0.0, -1.0, 0.0
    for axis in range(3):
        shadow[9 + axis] = 0.0
        for i in range(3):
            shadow[9 + axis] += shadow[3 * axis + i] * (car[POSITION + i] - pose[EYE + i])
    shadow[12] = 1.0


@kernel
def grey_of_bgra(bgra: NDArray[np.uint8], grey: NDArray[np.uint8]) -> None:
    """Write the luminance (H, W) of a BGRA picture (H, W, 4), in the integers that the game's client uses too.

    The weights are 0.114, 0.587 and 0.299 in units of 2**-14, rounded to the nearest.
    """
    for y in range(grey.shape[0]):
        for x in range(grey.shape[1]):
            total = np.int32(bgra[y, x, 0]) * 1868 + np.int32(bgra[y, x, 1]) * 9617 + np.int32(bgra[y, x, 2]) * 4899
            grey[y, x] = np.uint8((total + 8192) >> 14)
