"""The rasteriser: which triangle each pixel shows, then the colour of each pixel, once.

A frame is drawn in two passes. The first projects the vertices of the chunks in view and fills a buffer of depths and
one of triangle numbers. The second goes over the pixels and evaluates the texture of the one triangle that won. In
both, what varies over a triangle divided by its depth (1/z, u/z, v/z) is a plane over the pixels, found from the
triangle's corners in homogeneous coordinates (Olano and Greer, "Triangle scan conversion using 2D homogeneous
coordinates", 1997), so that clipping at the near plane does not touch it.

Shape letters: H W pixels, V vertices, F triangles, R records (triangles that may be seen in this frame).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.camera import EYE, FORWARD, RIGHT, SCREEN_RATIO, TAN_HALF_WIDTH, UP
from tmrl_ray.simulator.car_body import ABSORB_AT_REST_M, CarMesh
from tmrl_ray.simulator.car_state import BRAKE, POSITION, ROTATION, STEER, WHEEL_ABSORB
from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.paint import PLAIN
from tmrl_ray.simulator.scene import Scene

NEAR_M = 0.15
"""Nothing nearer to the eye is drawn."""
SLACK = 1.0 / 64.0
"""Pixels by which triangles are drawn too large, so that no sky shines through where two of them meet."""

# A record, float64: planes over (x, y, 1) of 1/z, u/z and v/z, then the tone, the light and the road's edges.
INVERSE_DEPTH, U_PLANE, V_PLANE, TONE, LIGHT, EDGES = 0, 3, 6, 9, 12, 13
RECORD_SIZE = 15

STEER_ANGLE = 0.35  # tangent of the front wheels' angle at full lock, as drawn


class Skin(NamedTuple):
    """Colours of one track in one look."""

    tones: NDArray[np.float64]
    """(F, 2, 4) red, green, blue under their light, and the light; of the front and of the back."""
    noise: NDArray[np.float32]
    """The table of :func:`~tmrl_ray.simulator.paint.noise_table`."""
    sky: NDArray[np.float64]
    """(2, 3) the sky's top and the horizon."""
    light: NDArray[np.float64]
    """(4,) the direction to the sun, and the share of light in the shade."""
    scalars: NDArray[np.float64]
    """(4,) fog distance in metres, grain, factor on the field of view, exposure."""


class Canvas(NamedTuple):
    """Scratch memory for frames of one size on one track."""

    depths: NDArray[np.float64]
    """(H, W) 1/z of what a pixel shows."""
    owners: NDArray[np.int32]
    """(H, W) its record, -1 for the sky."""
    records: NDArray[np.float64]
    """(R, RECORD_SIZE)."""
    paints: NDArray[np.int32]
    """(R,) paint of each record."""
    places: NDArray[np.float64]
    """(V, 3) vertices as x * z, y * z, z, where x and y are pixels."""
    projection: NDArray[np.float64]
    """(3, 4) from world coordinates to that."""
    corners: NDArray[np.float64]
    """(4, 2) pixels of a polygon that is clipped at the near plane."""


@kernel
def project(
    pose: NDArray[np.float64], field_scale: float, height: int, width: int, projection: NDArray[np.float64]
) -> tuple[float, float]:
    """Write the projection (3, 4) of a camera pose for pictures of ``width`` x ``height``; return its focal lengths.

    The field of view is that of a 4:3 screen. A wider picture sees more to the sides; a narrower one (64x64) is the
    4:3 screen squeezed, so that it sees as much of the road as a player does.
    """
    tan_x = pose[TAN_HALF_WIDTH] * field_scale
    tan_y = tan_x / SCREEN_RATIO
    if width > SCREEN_RATIO * height:
        tan_x = tan_y * width / height
    focal_x = 0.5 * width / tan_x
    focal_y = 0.5 * height / tan_y
    centre_x = 0.5 * (width - 1)
    centre_y = 0.5 * (height - 1)
    for i in range(3):
        forward = pose[FORWARD + i]
        projection[0, i] = pose[RIGHT + i] * focal_x + forward * centre_x
        projection[1, i] = forward * centre_y - pose[UP + i] * focal_y
        projection[2, i] = forward
    for row in range(3):
        offset = 0.0
        for i in range(3):
            offset -= projection[row, i] * pose[EYE + i]
        projection[row, 3] = offset
    return focal_x, focal_y


@kernel
def _place(projection: NDArray[np.float64], x: float, y: float, z: float, place: NDArray[np.float64]) -> None:
    for row in range(3):
        place[row] = projection[row, 0] * x + projection[row, 1] * y + projection[row, 2] * z + projection[row, 3]


@kernel
def _fill(canvas: Canvas, n: int, record: int) -> None:
    """Give the pixels of the polygon ``canvas.corners[:n]`` to ``record`` where it is nearest."""
    for k in range(1, n - 1):
        _fill_triangle(canvas, 0, k, k + 1, record)


@kernel
def _fill_triangle(canvas: Canvas, a: int, b: int, c: int, record: int) -> None:
    height, width = canvas.depths.shape
    corners = canvas.corners
    if corners[a, 1] > corners[b, 1]:
        a, b = b, a
    if corners[b, 1] > corners[c, 1]:
        b, c = c, b
    if corners[a, 1] > corners[b, 1]:
        a, b = b, a
    xa, ya = corners[a, 0], corners[a, 1]
    xb, yb = corners[b, 0], corners[b, 1]
    xc, yc = corners[c, 0], corners[c, 1]
    first = int(math.ceil(max(ya - SLACK, 0.0)))
    last = int(math.floor(min(yc + SLACK, height - 1.0)))
    long_slope = (xc - xa) / (yc - ya) if yc > ya else 0.0
    top_slope = (xb - xa) / (yb - ya) if yb > ya else 0.0
    low_slope = (xc - xb) / (yc - yb) if yc > yb else 0.0
    plane = canvas.records[record]
    dx, dy, at = plane[INVERSE_DEPTH], plane[INVERSE_DEPTH + 1], plane[INVERSE_DEPTH + 2]
    for row in range(first, last + 1):
        y = min(max(float(row), ya), yc)
        x0 = xa + (y - ya) * long_slope
        x1 = xa + (y - ya) * top_slope if y < yb else xb + (y - yb) * low_slope
        if x0 > x1:
            x0, x1 = x1, x0
        left = int(math.ceil(max(x0 - SLACK, 0.0)))
        right = int(math.floor(min(x1 + SLACK, width - 1.0)))
        base = at + dy * row
        depths = canvas.depths[row]
        owners = canvas.owners[row]
        for x in range(left, right + 1):
            near = base + dx * x
            if near > depths[x]:
                depths[x] = near
                owners[x] = record


@kernel
def _set_planes(
    p: NDArray[np.float64],
    q: NDArray[np.float64],
    r: NDArray[np.float64],
    uv: NDArray[np.float64],
    record: NDArray[np.float64],
) -> float:
    """Write the planes of 1/z, u/z and v/z of a triangle, and return its sign: negative when its front is seen."""
    qr0, qr1, qr2 = q[1] * r[2] - q[2] * r[1], q[2] * r[0] - q[0] * r[2], q[0] * r[1] - q[1] * r[0]
    rp0, rp1, rp2 = r[1] * p[2] - r[2] * p[1], r[2] * p[0] - r[0] * p[2], r[0] * p[1] - r[1] * p[0]
    pq0, pq1, pq2 = p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0]
    volume = p[0] * qr0 + p[1] * qr1 + p[2] * qr2
    if volume == 0.0:
        return 0.0
    inverse = 1.0 / volume
    record[INVERSE_DEPTH] = (qr0 + rp0 + pq0) * inverse
    record[INVERSE_DEPTH + 1] = (qr1 + rp1 + pq1) * inverse
    record[INVERSE_DEPTH + 2] = (qr2 + rp2 + pq2) * inverse
    for axis in range(2):
        a, b, c = uv[axis] * inverse, uv[2 + axis] * inverse, uv[4 + axis] * inverse
        record[U_PLANE + 3 * axis] = a * qr0 + b * rp0 + c * pq0
        record[U_PLANE + 3 * axis + 1] = a * qr1 + b * rp1 + c * pq1
        record[U_PLANE + 3 * axis + 2] = a * qr2 + b * rp2 + c * pq2
    return volume


@kernel
def _outline(canvas: Canvas, p: NDArray[np.float64], q: NDArray[np.float64], r: NDArray[np.float64]) -> int:
    """Write the pixels of a triangle, clipped at the near plane, into ``canvas.corners`` and return how many corners.

    0: no pixel's centre lies within it.
    """
    corners = canvas.corners
    n = 0
    for k in range(3):
        if k == 0:
            here, there = p, q
        elif k == 1:
            here, there = q, r
        else:
            here, there = r, p
        if here[2] >= NEAR_M:
            corners[n, 0] = here[0] / here[2]
            corners[n, 1] = here[1] / here[2]
            n += 1
        if (here[2] >= NEAR_M) != (there[2] >= NEAR_M):
            share = (NEAR_M - here[2]) / (there[2] - here[2])
            corners[n, 0] = (here[0] + (there[0] - here[0]) * share) / NEAR_M
            corners[n, 1] = (here[1] + (there[1] - here[1]) * share) / NEAR_M
            n += 1
    if n < 3:
        return 0
    low_x = high_x = corners[0, 0]
    low_y = high_y = corners[0, 1]
    for k in range(1, n):
        low_x, high_x = min(low_x, corners[k, 0]), max(high_x, corners[k, 0])
        low_y, high_y = min(low_y, corners[k, 1]), max(high_y, corners[k, 1])
    height, width = canvas.depths.shape
    if math.ceil(max(low_x - SLACK, 0.0)) > math.floor(min(high_x + SLACK, width - 1.0)):
        return 0
    if math.ceil(max(low_y - SLACK, 0.0)) > math.floor(min(high_y + SLACK, height - 1.0)):
        return 0
    return n


@kernel
def draw_track(scene: Scene, skin: Skin, pose: NDArray[np.float64], canvas: Canvas) -> int:
    """Draw the chunks in view into the buffers of ``canvas`` and return the number of records used."""
    height, width = canvas.depths.shape
    far = skin.scalars[0]
    tan_x = pose[TAN_HALF_WIDTH] * skin.scalars[2]
    tan_y = tan_x / SCREEN_RATIO
    if width > SCREEN_RATIO * height:
        tan_x = tan_y * width / height
    slant_x = math.sqrt(1.0 + tan_x * tan_x)
    slant_y = math.sqrt(1.0 + tan_y * tan_y)
    n = 0
    for chunk in range(len(scene.spheres)):
        radius = scene.spheres[chunk, 3]
        right = up = forward = 0.0
        for i in range(3):
            away = scene.spheres[chunk, i] - pose[EYE + i]
            right += away * pose[RIGHT + i]
            up += away * pose[UP + i]
            forward += away * pose[FORWARD + i]
        if forward < NEAR_M - radius or forward > far + radius:
            continue
        if abs(right) - forward * tan_x > radius * slant_x or abs(up) - forward * tan_y > radius * slant_y:
            continue
        for k in range(scene.vertex_start[chunk], scene.vertex_start[chunk + 1]):
            vertex = scene.vertices[k]
            _place(canvas.projection, vertex[0], vertex[1], vertex[2], canvas.places[k])
        for t in range(scene.triangle_start[chunk], scene.triangle_start[chunk + 1]):
            p = canvas.places[scene.triangles[t, 0]]
            q = canvas.places[scene.triangles[t, 1]]
            r = canvas.places[scene.triangles[t, 2]]
            count = _outline(canvas, p, q, r)
            if count == 0:
                continue
            record = canvas.records[n]
            side = _set_planes(p, q, r, scene.uv[t], record)
            if side == 0.0:
                continue
            tone = skin.tones[t, 0 if side < 0.0 else 1]
            for i in range(4):
                record[TONE + i] = tone[i]
            record[EDGES] = scene.edges[t, 0]
            record[EDGES + 1] = scene.edges[t, 1]
            canvas.paints[n] = scene.paints[t]
            _fill(canvas, count, n)
            n += 1
    return n


@kernel
def draw_car(mesh: CarMesh, skin: Skin, car: NDArray[np.float64], canvas: Canvas, n: int) -> int:
    """Draw the car into the buffers of ``canvas`` after ``n`` records, and return the number of records used."""
    first = len(canvas.places) - len(mesh.vertices)
    for k in range(len(mesh.vertices)):
        part = mesh.parts[k]
        left, up, forward = mesh.vertices[k, 0], mesh.vertices[k, 1], mesh.vertices[k, 2]
        if part >= 0:
            if part < 2:  # a wheel that steers, drawn with a turn about its upright axis
                turn = -STEER_ANGLE * car[STEER]
                scale = 1.0 / math.sqrt(1.0 + turn * turn)
                left, forward = (left + turn * forward) * scale, (forward - turn * left) * scale
            left += mesh.wheels[part, 0]
            up += mesh.wheels[part, 1] - (car[WHEEL_ABSORB + part] - ABSORB_AT_REST_M)
            forward += mesh.wheels[part, 2]
        x = car[POSITION] + car[ROTATION] * left + car[ROTATION + 1] * up + car[ROTATION + 2] * forward
        y = car[POSITION + 1] + car[ROTATION + 3] * left + car[ROTATION + 4] * up + car[ROTATION + 5] * forward
        z = car[POSITION + 2] + car[ROTATION + 6] * left + car[ROTATION + 7] * up + car[ROTATION + 8] * forward
        _place(canvas.projection, x, y, z, canvas.places[first + k])
    flat = np.zeros(6)
    for t in range(len(mesh.triangles)):
        p = canvas.places[first + mesh.triangles[t, 0]]
        q = canvas.places[first + mesh.triangles[t, 1]]
        r = canvas.places[first + mesh.triangles[t, 2]]
        count = _outline(canvas, p, q, r)
        if count == 0:
            continue
        record = canvas.records[n]
        if _set_planes(p, q, r, flat, record) >= 0.0:
            continue
        facing = 0.0
        for i in range(3):
            normal = 0.0
            for j in range(3):
                normal += car[ROTATION + 3 * i + j] * mesh.normals[t, j]
            facing += normal * skin.light[i]
        light = (skin.light[3] + (1.0 - skin.light[3]) * max(facing, 0.0)) * skin.scalars[3]
        if mesh.lamps[t] and car[BRAKE] > 0.0:
            record[TONE], record[TONE + 1], record[TONE + 2] = 255.0, 70.0, 50.0
        else:
            for i in range(3):
                record[TONE + i] = min(255.0, mesh.tones[t, i] * light)
        canvas.paints[n] = PLAIN
        _fill(canvas, count, n)
        n += 1
    return n
