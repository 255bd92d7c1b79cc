"""Progress along the reference line: in which zone the car is, and how many metres it has come.

The rules are those of the public TMNF agents. The car moves on to the next zone while that one is at least as near
as its own and within reach, and falls back while the one behind is nearer; so progress is signed. A zone bound to a
real checkpoint is left forwards only by a car that came near the checkpoint on its way since the last look: looking
at the way, not only at its end, holds at any speed.
"""

from __future__ import annotations

from math import dist, hypot

from tmrl_ray.racing.reference_line import Point, ReferenceLine


class Progress:
    """Where one car is along a line. Three Python floats at a time: a look takes one or two microseconds.

    Args:
        line: the reference line; its settings say how near a zone must be to be reached.
    """

    def __init__(self, line: ReferenceLine) -> None:
        self.line = line
        settings = line.settings
        self._reach_m = hypot(settings.spacing_m / 2, settings.road_width_m / 2)
        self._deck_height_m = settings.deck_height_m
        self._points = line.points
        self._segments = line.segments
        self._checkpoints = {
            zone: (tuple(checkpoint.position.tolist()), checkpoint.radius_m)
            for zone, checkpoint in line.checkpoints.items()
        }
        self.zone = line.first_zone
        """The zone in which the car is."""
        self.furthest_zone = line.first_zone
        """The furthest zone in which it has been since ``begin``."""
        self.metres = 0.0
        """Metres along the line, 0 at its first point; never more than one zone past the finish."""
        self._position: Point = self._points[line.first_zone]

    def begin(self, position: Point, zone: int | None = None) -> None:
        """Start anew with a car at ``position``, in ``zone`` (None: the first one)."""
        self.zone = self.furthest_zone = self.line.first_zone if zone is None else zone
        self._position = position
        self._measure(position)

    def update(self, position: Point) -> None:
        """Look where the car is now, at ``position`` in metres."""
        if self._deck_height_m is None or position[1] > self._deck_height_m:
            self._move_on(position)
            self._fall_back(position)
        self._position = position
        self._measure(position)
        self.furthest_zone = max(self.furthest_zone, self.zone)

    def finish(self) -> None:
        """Count the line as driven to its end: the game says that the finish was crossed."""
        self.zone = self.furthest_zone = self.line.last_zone
        self.metres = self.line.length_m

    @property
    def metres_left(self) -> float:
        """Metres along the line to the finish, at least 0."""
        return max(0.0, self.line.length_m - self.metres)

    def _move_on(self, position: Point) -> None:
        points, last, zone = self._points, self.line.last_zone, self.zone
        here = dist(position, points[zone])
        while zone < last:
            ahead = dist(position, points[zone + 1])
            if ahead > here or ahead > self._reach_m:
                break
            if zone in self._checkpoints and not self._has_passed(zone, position):
                break
            zone, here = zone + 1, ahead
        self.zone = zone

    def _fall_back(self, position: Point) -> None:
        points, zone = self._points, self.zone
        here = dist(position, points[zone])
        while zone >= 2:
            behind = dist(position, points[zone - 1])
            if not (behind < here and behind <= self._reach_m):
                break
            zone, here = zone - 1, behind
        self.zone = zone

    def _has_passed(self, zone: int, position: Point) -> bool:
        """Whether the way from the last look to ``position`` comes near the zone's checkpoint."""
        checkpoint, radius_m = self._checkpoints[zone]
        x0, y0, z0 = self._position
        x, y, z = position[0] - x0, position[1] - y0, position[2] - z0
        to_x, to_y, to_z = checkpoint[0] - x0, checkpoint[1] - y0, checkpoint[2] - z0
        square = x * x + y * y + z * z
        share = min(1.0, max(0.0, (x * to_x + y * to_y + z * to_z) / square)) if square else 0.0
        return hypot(to_x - share * x, to_y - share * y, to_z - share * z) < radius_m

    def _measure(self, position: Point) -> None:
        (x0, y0, z0), (tx, ty, tz), length_m, metres = self._segments[self.zone - 1]
        along = (position[0] - x0) * tx + (position[1] - y0) * ty + (position[2] - z0) * tz
        self.metres = metres + min(length_m, max(0.0, along))
