"""What a ray or a sphere of the car meets: queries on the grid of a track's solid triangles.

Only the front of a triangle is solid. Each cell of the grid also holds the triangles within half a metre of it, so that
a sphere of that radius, and a ray of twice that length seen from above, need only the cell of their middle.
"""

from __future__ import annotations

import math

from tmrl_ray.simulator.jit import kernel
from tmrl_ray.simulator.track import ContactArrays, Floats

EDGE_M2 = 1e-6
"""A ray may pass this far outside an edge (twice the area that it spans with it), so that none slips between two."""
BEHIND_M = 0.2
"""A sphere's centre this far behind a wall is still pushed out in front; farther behind, it is on the other side."""
LEAVING_MPS = 0.5
"""A sphere that moves away from a wall faster than this does not touch it."""
NOTHING = -1


@kernel
def cell_of(contacts: ContactArrays, x: float, z: float) -> int:
    """Return the cell over (x, z), or ``NOTHING`` outside of the grid."""
    ix = (x - contacts.origin[0]) / contacts.origin[2]
    iz = (z - contacts.origin[1]) / contacts.origin[2]
    if not (0.0 <= ix < contacts.size[0] and 0.0 <= iz < contacts.size[1]):
        return NOTHING
    return int(int(ix) * contacts.size[1] + int(iz))


@kernel
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
    for k in range(contacts.cell_start[cell], contacts.cell_start[cell + 1]):
        triangle = contacts.cell_triangles[k]
        normal = contacts.normals[triangle]
        facing = normal[0] * dx + normal[1] * dy + normal[2] * dz
        if facing > -1e-6:
            continue
        corner = contacts.corners[triangle]
        ax, ay, az = corner[0, 0] - x, corner[0, 1] - y, corner[0, 2] - z
        distance = (normal[0] * ax + normal[1] * ay + normal[2] * az) / facing
        if distance < 0.0 or distance >= nearest:
            continue
        px, py, pz = x + distance * dx, y + distance * dy, z + distance * dz
        if _inside(corner, normal, px, py, pz):
            nearest, found = distance, triangle
    return nearest, found


@kernel
def _inside(corner: Floats, normal: Floats, px: float, py: float, pz: float) -> bool:
    for i in range(3):
        j = i + 1 if i < 2 else 0
        ex, ey, ez = corner[j, 0] - corner[i, 0], corner[j, 1] - corner[i, 1], corner[j, 2] - corner[i, 2]
        qx, qy, qz = px - corner[i, 0], py - corner[i, 1], pz - corner[i, 2]
        turn = normal[0] * (ey * qz - ez * qy) + normal[1] * (ez * qx - ex * qz) + normal[2] * (ex * qy - ey * qx)
        if turn < -EDGE_M2:
            return False
    return True


@kernel
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
    for k in range(contacts.cell_start[cell], contacts.cell_start[cell + 1]):
        triangle = contacts.cell_triangles[k]
        normal = contacts.normals[triangle]
        corner = contacts.corners[triangle]
        height = normal[0] * (x - corner[0, 0]) + normal[1] * (y - corner[0, 1]) + normal[2] * (z - corner[0, 2])
        if height >= radius - depth or height < -BEHIND_M:
            continue
        if normal[0] * vx + normal[1] * vy + normal[2] * vz > LEAVING_MPS:
            continue
        if _inside(corner, normal, x, y, z):
            depth, nx, ny, nz = radius - height, normal[0], normal[1], normal[2]
            continue
        if height < 0.0:
            continue
        gx, gy, gz, square = _to_boundary(corner, x, y, z)
        if square < (radius - depth) * (radius - depth) and square > 1e-12:
            distance = math.sqrt(square)
            depth = radius - distance
            nx, ny, nz = gx / distance, gy / distance, gz / distance
    return depth, nx, ny, nz


@kernel
def _to_boundary(corner: Floats, x: float, y: float, z: float) -> tuple[float, float, float, float]:
    """Return the vector from the nearest point of a triangle's three edges to a point, and its square."""
    bx, by, bz, best = 0.0, 0.0, 0.0, 1e300
    for i in range(3):
        j = i + 1 if i < 2 else 0
        ex, ey, ez = corner[j, 0] - corner[i, 0], corner[j, 1] - corner[i, 1], corner[j, 2] - corner[i, 2]
        qx, qy, qz = x - corner[i, 0], y - corner[i, 1], z - corner[i, 2]
        along = (qx * ex + qy * ey + qz * ez) / (ex * ex + ey * ey + ez * ez)
        along = min(max(along, 0.0), 1.0)
        gx, gy, gz = qx - along * ex, qy - along * ey, qz - along * ez
        square = gx * gx + gy * gy + gz * gz
        if square < best:
            bx, by, bz, best = gx, gy, gz, square
    return bx, by, bz, best
