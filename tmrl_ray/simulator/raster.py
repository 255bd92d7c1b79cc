"""The rasteriser: which triangle each pixel shows.

A frame is drawn in three passes. The first projects the vertices of the chunks in view and makes a record of each
triangle that may be seen. The second fills a buffer of depths and one of record numbers. The third, in
:mod:`~tmrl_ray.simulator.shading`, goes over the pixels and evaluates the texture of the records that won.

What varies over a triangle, divided by its depth (1/z, u/z, v/z), is a plane over the pixels. It is found from the
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

# A record, float64: planes over (x, y, 1) of 1/z, u/z and v/z (0 to 8), then:
TONE = 9  # 3: red, green, blue, under its light
LIGHT = 12  # that light
EDGES = 13  # 4: of the road, see Scene.edges
CORNERS = 17  # 8: samples of its three or four corners
N_CORNERS = 25
RECORD_SIZE = 26

STEER_ANGLE = 0.35  # tangent of the front wheels' angle at full lock, as drawn
BRAKE_LIGHT = (255.0, 70.0, 50.0)

Floats = NDArray[np.float64]
Pair = tuple[float, float]
Triple = tuple[float, float, float]
Quadruple = tuple[float, float, float, float]


class Skin(NamedTuple):
    """Colours of one track in one look."""

    tones: Floats
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
    records: Floats
    """(R, RECORD_SIZE)."""
    paints: NDArray[np.int32]
    """(R,) paint of each record."""
    sheets: NDArray[np.int32]
    """(R,) sheet of each record, see Scene.sheets; the car's triangles have negative numbers of their own."""
    places: Floats
    """(V, 5) vertices as x * z, y * z, z, and, if beyond the near plane, x, y, where x and y are pixels."""
    projection: Floats
    """(3, 4) from world coordinates to that."""


@kernel
def tangents(pose: Floats, field_scale: float, height: int, width: int) -> tuple[float, float]:
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
    pose: Floats, tangent: tuple[float, float], height: int, width: int, projection: Floats
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
def _place(projection: Floats, x: float, y: float, z: float) -> Triple:
    """Return a point as x * depth, y * depth and depth, where x and y are samples."""
    return (
        projection[0, 0] * x + projection[0, 1] * y + projection[0, 2] * z + projection[0, 3],
        projection[1, 0] * x + projection[1, 1] * y + projection[1, 2] * z + projection[1, 3],
        projection[2, 0] * x + projection[2, 1] * y + projection[2, 2] * z + projection[2, 3],
    )


@inlined
def _is_seen(p: Pair, q: Pair, r: Pair, height: int, width: int) -> bool:
    """Tell whether the box around three samples holds the middle of one in the picture."""
    top = math.ceil(max(min(p[1], q[1], r[1]) - SLACK, 0.0))
    left = math.ceil(max(min(p[0], q[0], r[0]) - SLACK, 0.0))
    bottom = min(max(p[1], q[1], r[1]) + SLACK, height - 1.0)
    right = min(max(p[0], q[0], r[0]) + SLACK, width - 1.0)
    return top <= bottom and left <= right


@inlined
def _inverse(p: Triple, q: Triple, r: Triple) -> tuple[Triple, Triple, Triple, float]:
    """Return the columns of the inverse of the matrix with the rows p, q, r, times its determinant, and that."""
    first = (q[1] * r[2] - q[2] * r[1], q[2] * r[0] - q[0] * r[2], q[0] * r[1] - q[1] * r[0])
    second = (r[1] * p[2] - r[2] * p[1], r[2] * p[0] - r[0] * p[2], r[0] * p[1] - r[1] * p[0])
    third = (p[1] * q[2] - p[2] * q[1], p[2] * q[0] - p[0] * q[2], p[0] * q[1] - p[1] * q[0])
    return first, second, third, p[0] * first[0] + p[1] * first[1] + p[2] * first[2]


@inlined
def _plane(columns: tuple[Triple, Triple, Triple], a: float, b: float, c: float) -> Triple:
    """Return the plane over the samples of what is a, b and c at the corners, divided by the depth."""
    first, second, third = columns
    return (
        a * first[0] + b * second[0] + c * third[0],
        a * first[1] + b * second[1] + c * third[1],
        a * first[2] + b * second[2] + c * third[2],
    )


@inlined
def _sample(p: Triple) -> Pair:
    inverse = 1.0 / p[2]
    return p[0] * inverse, p[1] * inverse


@inlined
def _cut(p: Triple, q: Triple) -> Pair:
    """Return where the edge from p to q passes the near plane, in samples."""
    share = (NEAR_M - p[2]) / (q[2] - p[2])
    return (p[0] + (q[0] - p[0]) * share) / NEAR_M, (p[1] + (q[1] - p[1]) * share) / NEAR_M


@inlined
def _clipped(p: Triple, q: Triple, r: Triple) -> tuple[int, Pair, Pair, Pair, Pair]:
    """Return the part of a triangle beyond the near plane: how many corners it has, and 4 of which that many count."""
    beyond = int(p[2] >= NEAR_M) + int(q[2] >= NEAR_M) + int(r[2] >= NEAR_M)
    if beyond == 0:
        return 0, (0.0, 0.0), (0.0, 0.0), (0.0, 0.0), (0.0, 0.0)
    if beyond == 3:
        return 3, _sample(p), _sample(q), _sample(r), (0.0, 0.0)
    if beyond == 1:  # turned so that p is the one beyond
        if q[2] >= NEAR_M:
            p, q, r = q, r, p
        elif r[2] >= NEAR_M:
            p, q, r = r, p, q
        return 3, _sample(p), _cut(p, q), _cut(p, r), (0.0, 0.0)
    if q[2] < NEAR_M:  # turned so that p is the one that is not
        p, q, r = q, r, p
    elif r[2] < NEAR_M:
        p, q, r = r, p, q
    return 4, _sample(q), _sample(r), _cut(r, p), _cut(p, q)


@inlined
def _chunk_is_seen(sphere: Quadruple, pose: Floats, frustum: tuple[float, float, float, float, float]) -> bool:
    far, tan_x, tan_y, slant_x, slant_y = frustum
    x, y, z, radius = sphere[0] - pose[EYE], sphere[1] - pose[EYE + 1], sphere[2] - pose[EYE + 2], sphere[3]
    forward = x * pose[FORWARD] + y * pose[FORWARD + 1] + z * pose[FORWARD + 2]
    right = abs(x * pose[RIGHT] + y * pose[RIGHT + 1] + z * pose[RIGHT + 2])
    up = abs(x * pose[UP] + y * pose[UP + 1] + z * pose[UP + 2])
    in_depth: bool = -radius <= forward - NEAR_M and forward <= far + radius
    return in_depth and right - forward * tan_x <= radius * slant_x and up - forward * tan_y <= radius * slant_y


@kernel
def add_track(scene: Scene, skin: Skin, pose: Floats, tangent: Pair, canvas: Canvas) -> int:
    """Make records of the triangles of a track that may be in the picture, and return how many there are."""
    height, width = canvas.depths.shape
    frustum = (skin.far, tangent[0], tangent[1], math.sqrt(1.0 + tangent[0] ** 2), math.sqrt(1.0 + tangent[1] ** 2))
    places, records, paints, projection = canvas.places, canvas.records, canvas.paints, canvas.projection
    vertices, triangles, uv, edges = scene.vertices, scene.triangles, scene.uv, scene.edges
    spheres, vertex_start, triangle_start = scene.spheres, scene.vertex_start, scene.triangle_start
    kinds, tones, sheets, groups = scene.paints, skin.tones, scene.sheets, canvas.sheets
    n = 0
    for chunk in range(len(spheres)):
        sphere = (spheres[chunk, 0], spheres[chunk, 1], spheres[chunk, 2], spheres[chunk, 3])
        if not _chunk_is_seen(sphere, pose, frustum):
            continue
        for k in range(vertex_start[chunk], vertex_start[chunk + 1]):
            place = _place(projection, vertices[k, 0], vertices[k, 1], vertices[k, 2])
            places[k, 0], places[k, 1], places[k, 2] = place
            places[k, 3], places[k, 4] = _sample(place)
        for t in range(triangle_start[chunk], triangle_start[chunk + 1]):
            a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
            p = (places[a, 0], places[a, 1], places[a, 2])
            q = (places[b, 0], places[b, 1], places[b, 2])
            r = (places[c, 0], places[c, 1], places[c, 2])
            if p[2] >= NEAR_M and q[2] >= NEAR_M and r[2] >= NEAR_M:
                count = 3
                here, there = (places[a, 3], places[a, 4]), (places[b, 3], places[b, 4])
                last = beyond = (places[c, 3], places[c, 4])
                if not _is_seen(here, there, last, height, width):
                    continue
            else:
                count, here, there, last, beyond = _clipped(p, q, r)
                if count == 0:
                    continue
            first, second, third, volume = _inverse(p, q, r)
            if volume == 0.0:
                continue
            share = 1.0 / volume
            columns = (first, second, third)
            plane = _plane(columns, share, share, share)
            records[n, 0], records[n, 1], records[n, 2] = plane
            plane = _plane(columns, share * uv[t, 0], share * uv[t, 2], share * uv[t, 4])
            records[n, 3], records[n, 4], records[n, 5] = plane
            plane = _plane(columns, share * uv[t, 1], share * uv[t, 3], share * uv[t, 5])
            records[n, 6], records[n, 7], records[n, 8] = plane
            face = 0 if volume < 0.0 else 1
            for i in range(4):
                records[n, TONE + i] = tones[t, face, i]
                records[n, EDGES + i] = edges[t, i]
            records[n, CORNERS], records[n, CORNERS + 1] = here
            records[n, CORNERS + 2], records[n, CORNERS + 3] = there
            records[n, CORNERS + 4], records[n, CORNERS + 5] = last
            records[n, CORNERS + 6], records[n, CORNERS + 7] = beyond
            records[n, N_CORNERS] = count
            paints[n] = kinds[t]
            groups[n] = sheets[t]
            n += 1
    return n


@kernel
def add_car(mesh: CarMesh, skin: Skin, car: Floats, canvas: Canvas, n: int) -> int:
    """Make records of the car after ``n`` others, and return how many there are. It is never as near as NEAR_M."""
    height, width = canvas.depths.shape
    places, records, paints, groups = canvas.places, canvas.records, canvas.paints, canvas.sheets
    triangles, normals, tones, lamps = mesh.triangles, mesh.normals, mesh.tones, mesh.lamps
    offset = len(places) - len(mesh.vertices)
    _place_car(mesh, car, canvas, offset)
    for t in range(len(triangles)):
        a, b, c = offset + triangles[t, 0], offset + triangles[t, 1], offset + triangles[t, 2]
        p = (places[a, 0], places[a, 1], places[a, 2])
        q = (places[b, 0], places[b, 1], places[b, 2])
        r = (places[c, 0], places[c, 1], places[c, 2])
        if p[2] < NEAR_M or q[2] < NEAR_M or r[2] < NEAR_M:
            continue
        first, second, third, volume = _inverse(p, q, r)
        here, there, last = _sample(p), _sample(q), _sample(r)
        if volume >= 0.0 or not _is_seen(here, there, last, height, width):
            continue
        share = 1.0 / volume
        plane = _plane((first, second, third), share, share, share)
        records[n, 0], records[n, 1], records[n, 2] = plane
        facing = 0.0
        for i in range(3):
            row = ROTATION + 3 * i
            normal = car[row] * normals[t, 0] + car[row + 1] * normals[t, 1] + car[row + 2] * normals[t, 2]
            facing += normal * skin.sun[i]
        light = (skin.ambient + (1.0 - skin.ambient) * max(facing, 0.0)) * skin.exposure
        for i in range(3):
            records[n, TONE + i] = min(255.0, tones[t, i] * light)
        if lamps[t] and car[BRAKE] > 0.0:
            records[n, TONE], records[n, TONE + 1], records[n, TONE + 2] = BRAKE_LIGHT
        records[n, CORNERS], records[n, CORNERS + 1] = here
        records[n, CORNERS + 2], records[n, CORNERS + 3] = there
        records[n, CORNERS + 4], records[n, CORNERS + 5] = last
        records[n, N_CORNERS] = 3
        paints[n] = PLAIN
        groups[n] = -1 - t
        n += 1
    return n


@kernel
def _place_car(mesh: CarMesh, car: Floats, canvas: Canvas, offset: int) -> None:
    vertices, parts, wheels = mesh.vertices, mesh.parts, mesh.wheels
    projection, places = canvas.projection, canvas.places
    turn = -STEER_ANGLE * car[STEER]
    scale = 1.0 / math.sqrt(1.0 + turn * turn)
    for k in range(len(vertices)):
        part = parts[k]
        left, up, forward = vertices[k, 0], vertices[k, 1], vertices[k, 2]
        if part >= 0:
            if part < 2:  # a wheel that steers turns about its upright axis
                left, forward = (left + turn * forward) * scale, (forward - turn * left) * scale
            left += wheels[part, 0]
            up += wheels[part, 1] - (car[WHEEL_ABSORB + part] - ABSORB_AT_REST_M)
            forward += wheels[part, 2]
        x = car[POSITION] + car[ROTATION] * left + car[ROTATION + 1] * up + car[ROTATION + 2] * forward
        y = car[POSITION + 1] + car[ROTATION + 3] * left + car[ROTATION + 4] * up + car[ROTATION + 5] * forward
        z = car[POSITION + 2] + car[ROTATION + 6] * left + car[ROTATION + 7] * up + car[ROTATION + 8] * forward
        places[offset + k, 0], places[offset + k, 1], places[offset + k, 2] = _place(projection, x, y, z)


@kernel
def fill(canvas: Canvas, count: int) -> None:
    """Give each sample to the nearest of ``count`` records that covers it."""
    depths, owners, records = canvas.depths, canvas.owners, canvas.records
    height, width = depths.shape
    for n in range(count):
        dx, dy, at = records[n, 0], records[n, 1], records[n, 2]
        p = (records[n, CORNERS], records[n, CORNERS + 1])
        for k in range(2, int(records[n, N_CORNERS])):
            corner = CORNERS + 2 * k
            q, r = (records[n, corner - 2], records[n, corner - 1]), (records[n, corner], records[n, corner + 1])
            top, middle, bottom = _by_row(p, q, r)
            long_slope, top_slope, low_slope = _slope(top, bottom), _slope(top, middle), _slope(middle, bottom)
            first = int(math.ceil(max(top[1] - SLACK, 0.0)))
            last = int(math.floor(min(bottom[1] + SLACK, height - 1.0)))
            for row in range(first, last + 1):
                y = min(max(float(row), top[1]), bottom[1])
                x0 = top[0] + (y - top[1]) * long_slope
                x1 = top[0] + (y - top[1]) * top_slope if y < middle[1] else middle[0] + (y - middle[1]) * low_slope
                left = int(math.ceil(max(min(x0, x1) - SLACK, 0.0)))
                right = int(math.floor(min(max(x0, x1) + SLACK, width - 1.0)))
                base = at + dy * row
                for x in range(left, right + 1):
                    near = np.float32(base + dx * x)
                    if near > depths[row, x]:
                        depths[row, x] = near
                        owners[row, x] = n


@inlined
def _by_row(p: Pair, q: Pair, r: Pair) -> tuple[Pair, Pair, Pair]:
    """Return three points from the top of the picture to the bottom."""
    if p[1] > q[1]:
        p, q = q, p
    if q[1] > r[1]:
        q, r = r, q
    if p[1] > q[1]:
        p, q = q, p
    return p, q, r


@inlined
def _slope(p: Pair, q: Pair) -> float:
    return (q[0] - p[0]) / (q[1] - p[1]) if q[1] > p[1] else 0.0
