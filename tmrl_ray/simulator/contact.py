"""What a ray or a sphere of the car meets: queries on the grid of a track's solid triangles.

Only the front of a triangle is solid. Each cell of the grid also holds the triangles within half a metre of it, so that
a sphere of that radius, and a ray of twice that length seen from above, need only the cell of their middle.
"""

from __future__ import annotations

import math

from tmrl_ray.simulator.jit import inlined
from tmrl_ray.simulator.track import ContactArrays, Floats

EDGE_M = 1e-6
"""A ray may pass this far outside an edge, so that none slips through a seam."""
FLATTEST = 1e-6
"""A ray that meets a plane under a smaller sine than this runs along it."""
BEHIND_M = 0.2
"""A sphere's centre this far behind a wall is still pushed out in front; farther behind, it is on the other side."""
LEAVING_MPS = 0.5
"""A sphere that moves away from a wall faster than this does not touch it."""
NOTHING = -1


@inlined
def cell_of(contacts: ContactArrays, x: float, z: float) -> int:
    """Return the cell over (x, z), or ``NOTHING`` outside of the grid."""
    ix = (x - contacts.origin[0]) / contacts.origin[2]
    iz = (z - contacts.origin[1]) / contacts.origin[2]
    if not (0.0 <= ix < contacts.size[0] and 0.0 <= iz < contacts.size[1]):
        return NOTHING
    return int(int(ix) * contacts.size[1] + int(iz))


@inlined
def height_above(planes: Floats, triangle: int, side: int, x: float, y: float, z: float) -> float:
    """Return how far a place is above a triangle (``side`` 0) or inside one of its edges (1 to 3), metres."""
    return float(
        planes[triangle, side, 0] * x
        + planes[triangle, side, 1] * y
        + planes[triangle, side, 2] * z
        - planes[triangle, side, 3]
    )


@inlined
def cast_ray(
    contacts: ContactArrays, x: float, y: float, z: float, dx: float, dy: float, dz: float, reach: float
) -> tuple[float, int]:
    """Return the distance to the first front face along a ray and its triangle, or (reach, ``NOTHING``).

    Args:
        x, y, z: where the ray begins, metres.
        dx, dy, dz: its unit direction.
        reach: its length, metres.
    """
    nearest, found = reach, NOTHING
    cell = cell_of(contacts, x + 0.5 * reach * dx, z + 0.5 * reach * dz)
    if cell == NOTHING:
        return nearest, found
    planes, boxes = contacts.planes, contacts.boxes
    end_x, end_z = x + reach * dx, z + reach * dz
    low_x, high_x = min(x, end_x), max(x, end_x)
    low_z, high_z = min(z, end_z), max(z, end_z)
    for k in range(contacts.cell_start[cell], contacts.cell_start[cell + 1]):
        triangle = contacts.cell_triangles[k]
        # One branch for all four, because single ones are as good as random to the processor.
        beside_x = (boxes[triangle, 0] > high_x) | (boxes[triangle, 3] < low_x)
        if beside_x | (boxes[triangle, 2] > high_z) | (boxes[triangle, 5] < low_z):
            continue
        facing = planes[triangle, 0, 0] * dx + planes[triangle, 0, 1] * dy + planes[triangle, 0, 2] * dz
        height = height_above(planes, triangle, 0, x, y, z)
        if facing > -FLATTEST or height < 0.0 or height >= -facing * nearest:
            continue
        distance = -height / facing
        if _inside(planes, triangle, x + distance * dx, y + distance * dy, z + distance * dz):
            nearest, found = distance, triangle
    return nearest, found


@inlined
def _inside(planes: Floats, triangle: int, x: float, y: float, z: float) -> bool:
    first = height_above(planes, triangle, 1, x, y, z)
    second = height_above(planes, triangle, 2, x, y, z)
    third = height_above(planes, triangle, 3, x, y, z)
    return min(first, second, third) >= -EDGE_M


@inlined
def touch_sphere(
    contacts: ContactArrays, x: float, y: float, z: float, vx: float, vy: float, vz: float, radius: float
) -> tuple[float, float, float, float]:
    """Return how deep a sphere of at most 0.5 m is in the ground, and the unit normal out of it; depth 0: it is free.

    Of several triangles the deepest counts: the seam between two triangles of one wall is then never felt. What the
    sphere moves away from does not count: a car that comes through the back of a wall is not thrown out in front.
    """
    depth, nx, ny, nz = 0.0, 0.0, 0.0, 0.0
    cell = cell_of(contacts, x, z)
    if cell == NOTHING:
        return depth, nx, ny, nz
    planes = contacts.planes
    for k in range(contacts.cell_start[cell], contacts.cell_start[cell + 1]):
        triangle = contacts.cell_triangles[k]
        height = height_above(planes, triangle, 0, x, y, z)
        if height >= radius - depth or height < -BEHIND_M:
            continue
        if planes[triangle, 0, 0] * vx + planes[triangle, 0, 1] * vy + planes[triangle, 0, 2] * vz > LEAVING_MPS:
            continue
        if _inside(planes, triangle, x, y, z):
            depth = radius - height
            nx, ny, nz = planes[triangle, 0, 0], planes[triangle, 0, 1], planes[triangle, 0, 2]
            continue
        if height < 0.0:
            continue
        gx, gy, gz, square = _to_boundary(contacts.corners, triangle, x, y, z)
        if square < (radius - depth) * (radius - depth) and square > 1e-12:
            distance = math.sqrt(square)
            depth = radius - distance
            nx, ny, nz = gx / distance, gy / distance, gz / distance
    return depth, nx, ny, nz


@inlined
def _to_boundary(corners: Floats, triangle: int, x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """Return the vector from the nearest point of a triangle's three edges to a point, and its square."""
    bx, by, bz, best = 0.0, 0.0, 0.0, 1e300
    for i in range(3):
        j = i + 1 if i < 2 else 0
        ax, ay, az = corners[triangle, i, 0], corners[triangle, i, 1], corners[triangle, i, 2]
        ex, ey, ez = corners[triangle, j, 0] - ax, corners[triangle, j, 1] - ay, corners[triangle, j, 2] - az
        qx, qy, qz = x - ax, y - ay, z - az
        along = (qx * ex + qy * ey + qz * ez) / (ex * ex + ey * ey + ez * ez)
        along = min(max(along, 0.0), 1.0)
        gx, gy, gz = qx - along * ex, qy - along * ey, qz - along * ez
        square = gx * gx + gy * gy + gz * gz
        if square < best:
            bx, by, bz, best = gx, gy, gz, square
    return bx, by, bz, best
