"""The rasteriser: which triangle each pixel shows, then the colour of each pixel, once.

A frame is drawn in two passes. The first projects the vertices of the chunks in view and fills a buffer of depths and
one of triangle numbers. The second goes over the pixels and evaluates the texture of the one triangle that won. In
both, what varies over a triangle divided by its depth (1/z, u/z, v/z) is a plane over the pixels, found from the
triangle's corners in homogeneous coordinates (Olano and Greer, "Triangle scan conversion using 2D homogeneous
coordinates", 1997), so that clipping at the near plane does not touch it.

Shape letters: H W samples, V vertices, F triangles, R records (triangles that may be seen in this frame).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.camera import EYE, FORWARD, RIGHT, SCREEN_RATIO, TAN_HALF_WIDTH, UP
from tmrl_ray.simulator.car_body import ABSORB_AT_REST_M, CarMesh
from tmrl_ray.simulator.car_state import BRAKE, POSITION, ROTATION, STEER, WHEEL_ABSORB
from tmrl_ray.simulator.jit import inlined, kernel
from tmrl_ray.simulator.paint import PLAIN
from tmrl_ray.simulator.scene import Scene

NEAR_M = 0.15
"""Nothing nearer to the eye is drawn."""
SAMPLES = 2
"""Each pixel of a picture is SAMPLES x SAMPLES samples here: edges of triangles are averaged over them."""
SLACK = 1.0 / 64.0
"""Samples by which triangles are drawn too large, so that no sky shines through where two of them meet."""

# A record, float64: planes over (x, y, 1) of 1/z, u/z and v/z, then the tone, the light and the road's edges.
INVERSE_DEPTH, U_PLANE, V_PLANE, TONE, LIGHT, EDGES = 0, 3, 6, 9, 12, 13
RECORD_SIZE = 17

STEER_ANGLE = 0.35  # tangent of the front wheels' angle at full lock, as drawn


class Skin(NamedTuple):
    """Colours of one track in one look."""

    tones: NDArray[np.float64]
    """(F, 2, 4) red, green, blue under their light, and the light; of the front and of the back."""
    ground: tuple[float, float, float, float]
    """The same of the flat ground."""
    sky_top: tuple[float, float, float]
    haze: tuple[float, float, float]
    """The horizon, and the fog."""
    sun: tuple[float, float, float]
    """Unit vector to the sun."""
    ambient: float
    """Share of light in the shade."""
    exposure: float
    far: float
    """Fog distance, metres."""
    grain: float
    field_scale: float
    seed: int


class Canvas(NamedTuple):
    """Scratch memory for frames of one size on one track."""

    depths: NDArray[np.float32]
    """(H, W) 1/z of what a pixel shows."""
    owners: NDArray[np.int32]
    """(H, W) its record, -1 for the sky."""
    records: NDArray[np.float64]
    """(R, RECORD_SIZE)."""
    paints: NDArray[np.int32]
    """(R,) paint of each record."""
    places: NDArray[np.float64]
    """(V, 5) vertices as x * z, y * z, z, and, if beyond the near plane, x, y, where x and y are pixels."""
    projection: NDArray[np.float64]
    """(3, 4) from world coordinates to that."""
    corners: NDArray[np.float64]
    """(4, 2) pixels of a polygon that is clipped at the near plane."""


@kernel
def tangents(pose: NDArray[np.float64], field_scale: float, height: int, width: int) -> tuple[float, float]:
    """Return the tangents of half the field of view, across and down, for pictures of ``width`` x ``height``.

    The field is that of a 4:3 screen. A wider picture sees more to the sides; a narrower one (64x64) is the 4:3
    screen squeezed, so that it sees as much of the road as a player does.
    """
    tan_x = pose[TAN_HALF_WIDTH] * field_scale
    tan_y = tan_x / SCREEN_RATIO
    if width > SCREEN_RATIO * height:
        tan_x = tan_y * width / height
    return tan_x, tan_y


@kernel
def project(
    pose: NDArray[np.float64], tangent: tuple[float, float], height: int, width: int, projection: NDArray[np.float64]
) -> tuple[float, float]:
    """Write the projection (3, 4) of a camera pose, and return the focal lengths along x and y in pixels."""
    focal_x = 0.5 * width / tangent[0]
    focal_y = 0.5 * height / tangent[1]
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


@inlined
def _place(
    projection: NDArray[np.float64], x: float, y: float, z: float, places: NDArray[np.float64], index: int
) -> None:
    across = projection[0, 0] * x + projection[0, 1] * y + projection[0, 2] * z + projection[0, 3]
    down = projection[1, 0] * x + projection[1, 1] * y + projection[1, 2] * z + projection[1, 3]
    depth = projection[2, 0] * x + projection[2, 1] * y + projection[2, 2] * z + projection[2, 3]
    places[index, 0] = across
    places[index, 1] = down
    places[index, 2] = depth
    if depth >= NEAR_M:
        inverse = 1.0 / depth
        places[index, 3] = across * inverse
        places[index, 4] = down * inverse


@inlined
def _is_seen(places: NDArray[np.float64], triangle: tuple[int, int, int], height: int, width: int) -> bool:
    """Tell whether the box around a triangle, all of it beyond the near plane, holds the middle of a pixel."""
    a, b, c = triangle
    ya, yb, yc = places[a, 4], places[b, 4], places[c, 4]
    top = math.ceil(max(min(ya, yb, yc) - SLACK, 0.0))
    if top > min(max(ya, yb, yc) + SLACK, height - 1.0):
        return False
    xa, xb, xc = places[a, 3], places[b, 3], places[c, 3]
    left = math.ceil(max(min(xa, xb, xc) - SLACK, 0.0))
    is_seen: bool = left <= min(max(xa, xb, xc) + SLACK, width - 1.0)
    return is_seen


@inlined
def _set_planes(
    places: NDArray[np.float64],
    triangle: tuple[int, int, int],
    uv: tuple[float, float, float, float, float, float],
    records: NDArray[np.float64],
    n: int,
) -> float:
    """Write the planes of 1/z, u/z and v/z of a triangle, and return its sign: negative when its front is seen."""
    a, b, c = triangle
    p0, p1, p2 = places[a, 0], places[a, 1], places[a, 2]
    q0, q1, q2 = places[b, 0], places[b, 1], places[b, 2]
    r0, r1, r2 = places[c, 0], places[c, 1], places[c, 2]
    qr0, qr1, qr2 = q1 * r2 - q2 * r1, q2 * r0 - q0 * r2, q0 * r1 - q1 * r0
    rp0, rp1, rp2 = r1 * p2 - r2 * p1, r2 * p0 - r0 * p2, r0 * p1 - r1 * p0
    pq0, pq1, pq2 = p1 * q2 - p2 * q1, p2 * q0 - p0 * q2, p0 * q1 - p1 * q0
    volume: float = p0 * qr0 + p1 * qr1 + p2 * qr2
    if volume == 0.0:
        return volume
    inverse = 1.0 / volume
    records[n, INVERSE_DEPTH] = (qr0 + rp0 + pq0) * inverse
    records[n, INVERSE_DEPTH + 1] = (qr1 + rp1 + pq1) * inverse
    records[n, INVERSE_DEPTH + 2] = (qr2 + rp2 + pq2) * inverse
    ua, va, ub, vb, uc, vc = uv
    ua, ub, uc = ua * inverse, ub * inverse, uc * inverse
    records[n, U_PLANE] = ua * qr0 + ub * rp0 + uc * pq0
    records[n, U_PLANE + 1] = ua * qr1 + ub * rp1 + uc * pq1
    records[n, U_PLANE + 2] = ua * qr2 + ub * rp2 + uc * pq2
    va, vb, vc = va * inverse, vb * inverse, vc * inverse
    records[n, V_PLANE] = va * qr0 + vb * rp0 + vc * pq0
    records[n, V_PLANE + 1] = va * qr1 + vb * rp1 + vc * pq1
    records[n, V_PLANE + 2] = va * qr2 + vb * rp2 + vc * pq2
    return volume


@inlined
def _paint_triangle(canvas: Canvas, triangle: tuple[int, int, int], n: int) -> None:
    """Give the pixels of a triangle to record ``n`` where it is nearest; the near plane clips it to 3 or 4 corners."""
    places = canvas.places
    a, b, c = triangle
    if places[a, 2] >= NEAR_M and places[b, 2] >= NEAR_M and places[c, 2] >= NEAR_M:
        here = (places[a, 3], places[a, 4])
        _fill(canvas, here, (places[b, 3], places[b, 4]), (places[c, 3], places[c, 4]), n)
        return
    corners = canvas.corners
    count = 0
    start = a
    for end in (b, c, a):
        z, z_end = places[start, 2], places[end, 2]
        if z >= NEAR_M:
            corners[count, 0] = places[start, 3]
            corners[count, 1] = places[start, 4]
            count += 1
        if (z >= NEAR_M) != (z_end >= NEAR_M):
            share = (NEAR_M - z) / (z_end - z)
            corners[count, 0] = (places[start, 0] + (places[end, 0] - places[start, 0]) * share) / NEAR_M
            corners[count, 1] = (places[start, 1] + (places[end, 1] - places[start, 1]) * share) / NEAR_M
            count += 1
        start = end
    for k in range(2, count):
        here = (corners[0, 0], corners[0, 1])
        _fill(canvas, here, (corners[k - 1, 0], corners[k - 1, 1]), (corners[k, 0], corners[k, 1]), n)


@inlined
def _fill(canvas: Canvas, p: tuple[float, float], q: tuple[float, float], r: tuple[float, float], record: int) -> None:
    """Give the pixels of the triangle ``p``, ``q``, ``r`` (pixels) to ``record`` where it is nearest."""
    if p[1] > q[1]:
        p, q = q, p
    if q[1] > r[1]:
        q, r = r, q
    if p[1] > q[1]:
        p, q = q, p
    depths, owners, records = canvas.depths, canvas.owners, canvas.records
    height, width = depths.shape
    first = int(math.ceil(max(p[1] - SLACK, 0.0)))
    last = int(math.floor(min(r[1] + SLACK, height - 1.0)))
    long_slope = (r[0] - p[0]) / (r[1] - p[1]) if r[1] > p[1] else 0.0
    top_slope = (q[0] - p[0]) / (q[1] - p[1]) if q[1] > p[1] else 0.0
    low_slope = (r[0] - q[0]) / (r[1] - q[1]) if r[1] > q[1] else 0.0
    dx, dy, at = records[record, INVERSE_DEPTH], records[record, INVERSE_DEPTH + 1], records[record, INVERSE_DEPTH + 2]
    for row in range(first, last + 1):
        y = min(max(float(row), p[1]), r[1])
        x0 = p[0] + (y - p[1]) * long_slope
        x1 = p[0] + (y - p[1]) * top_slope if y < q[1] else q[0] + (y - q[1]) * low_slope
        left = int(math.ceil(max(min(x0, x1) - SLACK, 0.0)))
        right = int(math.floor(min(max(x0, x1) + SLACK, width - 1.0)))
        base = at + dy * row
        for x in range(left, right + 1):
            near = np.float32(base + dx * x)
            if near > depths[row, x]:
                depths[row, x] = near
                owners[row, x] = record


@inlined
def _chunk_is_seen(
    scene: Scene, chunk: int, pose: NDArray[np.float64], frustum: tuple[float, float, float, float, float]
) -> bool:
    far, tan_x, tan_y, slant_x, slant_y = frustum
    radius = scene.spheres[chunk, 3]
    right = up = forward = 0.0
    for i in range(3):
        away = scene.spheres[chunk, i] - pose[EYE + i]
        right += away * pose[RIGHT + i]
        up += away * pose[UP + i]
        forward += away * pose[FORWARD + i]
    if forward < NEAR_M - radius or forward > far + radius:
        return False
    is_beside: bool = abs(right) - forward * tan_x > radius * slant_x
    is_above: bool = abs(up) - forward * tan_y > radius * slant_y
    return not (is_beside or is_above)


@kernel
def draw_track(
    scene: Scene, skin: Skin, pose: NDArray[np.float64], tangent: tuple[float, float], canvas: Canvas
) -> int:
    """Draw the chunks in view into the buffers of ``canvas`` and return the number of records used."""
    height, width = canvas.depths.shape
    tan_x, tan_y = tangent
    frustum = (skin.far, tan_x, tan_y, math.sqrt(1.0 + tan_x * tan_x), math.sqrt(1.0 + tan_y * tan_y))
    places, records, paints, projection = canvas.places, canvas.records, canvas.paints, canvas.projection
    vertices, triangles, uvs = scene.vertices, scene.triangles, scene.uv
    n = 0
    for chunk in range(len(scene.spheres)):
        if not _chunk_is_seen(scene, chunk, pose, frustum):
            continue
        for k in range(scene.vertex_start[chunk], scene.vertex_start[chunk + 1]):
            _place(projection, vertices[k, 0], vertices[k, 1], vertices[k, 2], places, k)
        for t in range(scene.triangle_start[chunk], scene.triangle_start[chunk + 1]):
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            triangle = (a, b, c)
            hidden = int(places[a, 2] < NEAR_M) + int(places[b, 2] < NEAR_M) + int(places[c, 2] < NEAR_M)
            if hidden == 3 or (hidden == 0 and not _is_seen(places, triangle, height, width)):
                continue
            uv = (uvs[t, 0], uvs[t, 1], uvs[t, 2], uvs[t, 3], uvs[t, 4], uvs[t, 5])
            side = _set_planes(places, triangle, uv, records, n)
            if side == 0.0:
                continue
            face = 0 if side < 0.0 else 1
            for i in range(4):
                records[n, TONE + i] = skin.tones[t, face, i]
            for i in range(4):
                records[n, EDGES + i] = scene.edges[t, i]
            paints[n] = scene.paints[t]
            _paint_triangle(canvas, triangle, n)
            n += 1
    return n


@kernel
def draw_car(mesh: CarMesh, skin: Skin, car: NDArray[np.float64], canvas: Canvas, n: int) -> int:
    """Draw the car into the buffers of ``canvas`` after ``n`` records, and return the number of records used."""
    height, width = canvas.depths.shape
    places, records = canvas.places, canvas.records
    first = len(places) - len(mesh.vertices)
    _place_car(mesh, car, canvas, first)
    for t in range(len(mesh.triangles)):
        a, b, c = first + mesh.triangles[t, 0], first + mesh.triangles[t, 1], first + mesh.triangles[t, 2]
        if places[a, 2] < NEAR_M or places[b, 2] < NEAR_M or places[c, 2] < NEAR_M:
            continue
        if not _is_seen(places, (a, b, c), height, width):
            continue
        if _set_planes(places, (a, b, c), (0.0, 0.0, 0.0, 0.0, 0.0, 0.0), records, n) >= 0.0:
            continue
        facing = 0.0
        for i in range(3):
            normal = 0.0
            for j in range(3):
                normal += car[ROTATION + 3 * i + j] * mesh.normals[t, j]
            facing += normal * skin.sun[i]
        light = (skin.ambient + (1.0 - skin.ambient) * max(facing, 0.0)) * skin.exposure
        if mesh.lamps[t] and car[BRAKE] > 0.0:
            records[n, TONE], records[n, TONE + 1], records[n, TONE + 2] = 255.0, 70.0, 50.0
        else:
            for i in range(3):
                records[n, TONE + i] = min(255.0, mesh.tones[t, i] * light)
        canvas.paints[n] = PLAIN
        _paint_triangle(canvas, (a, b, c), n)
        n += 1
    return n


@kernel
def _place_car(mesh: CarMesh, car: NDArray[np.float64], canvas: Canvas, first: int) -> None:
    for k in range(len(mesh.vertices)):
        part = mesh.parts[k]
        left, up, forward = mesh.vertices[k, 0], mesh.vertices[k, 1], mesh.vertices[k, 2]
        if part >= 0:
            if part < 2:  # a wheel that steers turns about its upright axis
                turn = -STEER_ANGLE * car[STEER]
                scale = 1.0 / math.sqrt(1.0 + turn * turn)
                left, forward = (left + turn * forward) * scale, (forward - turn * left) * scale
            left += mesh.wheels[part, 0]
            up += mesh.wheels[part, 1] - (car[WHEEL_ABSORB + part] - ABSORB_AT_REST_M)
            forward += mesh.wheels[part, 2]
        x = car[POSITION] + car[ROTATION] * left + car[ROTATION + 1] * up + car[ROTATION + 2] * forward
        y = car[POSITION + 1] + car[ROTATION + 3] * left + car[ROTATION + 4] * up + car[ROTATION + 5] * forward
        z = car[POSITION + 2] + car[ROTATION + 6] * left + car[ROTATION + 7] * up + car[ROTATION + 8] * forward
        _place(canvas.projection, x, y, z, canvas.places, first + k)
