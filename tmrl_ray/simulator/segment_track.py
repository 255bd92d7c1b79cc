"""Layout of a track from segments: the main way with its jumps, forks and markers, and the branches beside it."""

from __future__ import annotations

import math

import numpy as np

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.ribbon import SPACING_M, Ribbon
from tmrl_ray.simulator.segments import (
    Begin,
    Ends,
    Expansion,
    LineNodes,
    Way,
    Widths,
    expand,
    follow,
    pieces_between,
    ribbon_of,
    shifted,
    widths,
)
from tmrl_ray.simulator.track import BranchLine, Floats
from tmrl_ray.simulator.track_builder import LEAD_IN_M, RUN_OUT_M, START_ARCH_M, Layout
from tmrl_ray.simulator.track_file import Branch, Curve, Easing, Gap, Segment, Straight, TrackSpec

CLOSING_FIT = 0.012
"""A closed track may miss its own start by this part of its length; the miss is spread along it."""
CLOSING_TURN_RAD = 0.02
BRANCH_FIT_M = 6.0
"""The end of a branch may miss the main road by this much; the miss is spread along it."""


def lay_segments(spec: TrackSpec) -> Layout:
    """Lay out a track that is given by segments.

    Raises:
        TrackError: a marker is missing or misplaced, a label is unknown, a closed track or a branch does not meet.
    """
    segments = _with_ends(spec)
    expansion = expand(segments, spec.road)
    cuts = _fork_cuts(spec, expansion)
    main = _Main(spec, expansion, cuts)
    roads = list(main.roads)
    branches = []
    for branch in spec.branches:
        more, line = _lay_branch(spec, branch, main)
        roads += more
        branches.append(line)
    return main.layout(roads, branches)


def _with_ends(spec: TrackSpec) -> list[Segment]:
    """Return the segments with road behind the spawn and past the finish, after checking the markers."""
    markers = [(i, s) for i, s in enumerate(spec.segments) if isinstance(s, str)]
    finishes = [i for i, s in markers if s == "finish"]
    for i in (0, -1):
        if isinstance(spec.segments[i], Gap):
            raise TrackError(f"track {spec.name!r}: segments cannot begin or end with a gap")
    if spec.laps is not None:
        if finishes:
            raise TrackError(
                f"track {spec.name!r}: segments.{finishes[0]} is 'finish', but on a closed track (laps: {spec.laps}) "
                "the start line is the finish",
                hint="Remove 'finish', or remove 'laps'.",
            )
        return list(spec.segments)
    if len(finishes) != 1:
        raise TrackError(
            f"track {spec.name!r}: {len(finishes)} segments are 'finish', exactly one must be",
            hint="Put 'finish' where the race ends, or give 'laps' for a closed track.",
        )
    late = [i for i, s in markers if s == "checkpoint" and i > finishes[0]]
    if late:
        raise TrackError(f"track {spec.name!r}: segments.{late[0]} is a checkpoint after the finish")
    after = sum(_length(s) for s in spec.segments[finishes[0] :])
    last = [Straight(straight=RUN_OUT_M - after)] if after < RUN_OUT_M else []
    return [Straight(straight=LEAD_IN_M), *spec.segments, *last]


def _length(segment: Segment) -> float:
    if isinstance(segment, Straight):
        return segment.straight
    if isinstance(segment, Curve):
        return segment.radius * math.radians(segment.angle)
    return 0.0


def _fork_cuts(spec: TrackSpec, expansion: Expansion) -> dict[int, list[int]]:
    """Return, for each part, the nodes at which branches leave or join, rising."""
    cuts: dict[int, set[int]] = {}
    for i, branch in enumerate(spec.branches):
        for key, label in (("leaves", branch.leaves), ("joins", branch.joins)):
            if label not in expansion.labels:
                known = ", ".join(sorted(expansion.labels)) or "none: no segment has a label"
                raise TrackError(f"track {spec.name!r}: branches.{i}.{key}: {label!r} is no label; labels: {known}")
        part, _, node = expansion.labels[branch.leaves]
        cuts.setdefault(part, set()).add(node)
        part, node, _ = expansion.labels[branch.joins]
        cuts.setdefault(part, set()).add(node)
    return {part: sorted(nodes) for part, nodes in cuts.items()}


class _Main:
    """The main way: its parts in world coordinates, its ribbons and its line."""

    def __init__(self, spec: TrackSpec, expansion: Expansion, cuts: dict[int, list[int]]) -> None:
        self.spec = spec
        self.expansion = expansion
        self.closed = spec.laps is not None
        self.lead_in_m = 0.0 if self.closed else LEAD_IN_M
        if self.closed and expansion.gaps:
            raise TrackError(f"track {spec.name!r}: a closed track cannot have a gap")
        self.ways: list[Way] = []
        self.widths: list[list[Widths]] = []
        self.cuts = cuts
        self.roads: list[Ribbon] = []
        self.line = LineNodes()
        self.first_node: list[int] = []
        self._follow_parts()
        self._lay_parts()

    def _follow_parts(self) -> None:
        heading = math.radians(self.spec.start.heading)
        point = np.array(self.spec.start.position)
        point = point - self.lead_in_m * np.array([math.sin(heading), 0.0, math.cos(heading)])
        begin = Begin(point, heading)
        for k, wanted in enumerate(self.expansion.parts):
            way = follow(wanted, begin, self.spec.easing, closed=self.closed)
            self.ways.append(self._closed_up(way) if self.closed else way)
            if k < len(self.expansion.gaps):
                begin = landing(way, self.expansion.gaps[k])

    def _closed_up(self, way: Way) -> Way:
        """Spread the distance by which the end of a closed way misses its start along it."""
        miss = way.points[-1] - way.points[0]
        turn = (way.heading[-1] - way.heading[0] + math.pi) % (2 * math.pi) - math.pi
        allowed = CLOSING_FIT * len(way.wanted) * SPACING_M
        if abs(turn) > CLOSING_TURN_RAD or float(np.linalg.norm(miss)) > allowed:
            x, y, z = (float(v) for v in miss)
            raise TrackError(
                f"track {self.spec.name!r}: the last segment does not lead back to the first: it ends "
                f"{x:+.1f} m in x, {y:+.1f} m in y, {z:+.1f} m in z and {math.degrees(turn):+.1f} degrees off "
                f"(allowed: {allowed:.1f} m and {math.degrees(CLOSING_TURN_RAD):.1f} degrees)",
                hint="Change lengths or angles of the segments, or remove 'laps' for a track that is not closed.",
            )
        share = np.linspace(0.0, 1.0, len(way.points))[:, None]
        return shifted(way, -share * miss)

    def _lay_parts(self) -> None:
        for k, way in enumerate(self.ways):
            if k > 0:
                self.line.fly(self.ways[k - 1], way)
            self.first_node.append(self.line.count)
            cuts = self.cuts.get(k, [])
            eased = widths(way.wanted, self.spec.easing, cuts, closed=self.closed)
            self.widths.append(eased)
            ranges = pieces_between(cuts, len(way.wanted))
            for j, ((first, last), width) in enumerate(zip(ranges, eased, strict=True)):
                ends = Ends(j == 0 and not self.closed, j == len(ranges) - 1 and not self.closed)
                distance = self.line.count * SPACING_M - self.lead_in_m
                self.roads.append(ribbon_of(way, first, last, width, distance_m=distance, ends=ends))
                is_last = j == len(ranges) - 1 and not self.closed
                nodes, own = slice(first, last + is_last), slice(0, last - first + is_last)
                self.line.add(
                    way.points[nodes], way.forward[nodes], way.up[nodes], width.left_m[own], width.right_m[own]
                )

    def layout(self, roads: list[Ribbon], branches: list[BranchLine]) -> Layout:
        """Return the layout with these roads and branches."""
        marks = [(kind, self.first_node[part] + node) for kind, part, node in self.expansion.marks]
        spawn = round(self.lead_in_m / SPACING_M)
        finish = self.line.count + round(START_ARCH_M / SPACING_M)
        return Layout(
            name=self.spec.name,
            roads=roads,
            points=np.concatenate(self.line.points),
            forward=np.concatenate(self.line.forward),
            up=np.concatenate(self.line.up),
            left_m=np.concatenate(self.line.left_m),
            right_m=np.concatenate(self.line.right_m),
            checkpoints=[node for kind, node in marks if kind == "checkpoint"],
            finish=next((node for kind, node in marks if kind == "finish"), finish),
            spawn=spawn,
            gaps=self.line.gaps,
            closed=self.closed,
            laps=self.spec.laps or 1,
            ground_y=self.spec.ground,
            branches=branches,
        )

    def fork(self, part: int, node: int, side: str) -> tuple[Floats, float]:
        """Return the middle (3,) and the half width of the room that the main road leaves beside it at a cut."""
        k = self.cuts[part].index(node)
        before, after = self.widths[part][k], self.widths[part][k + 1]
        reach = [(w.left_m if side == "left" else w.right_m)[i] for w, i in ((before, -1), (after, 0))]
        way = self.ways[part]
        left = np.cross(way.up[node], way.forward[node]) * (1 if side == "left" else -1)
        return way.points[node] + left * (reach[0] + reach[1]) / 2, abs(reach[0] - reach[1]) / 2


def landing(way: Way, gap: Gap) -> Begin:
    """Return where the road goes on after a jump."""
    heading = float(way.heading[-1])
    ahead = np.array([math.sin(heading), 0.0, math.cos(heading)])
    aside = np.array([ahead[2], 0.0, -ahead[0]])
    point = way.points[-1] + gap.gap * ahead + gap.sideways * aside - np.array([0.0, gap.drop, 0.0])
    return Begin(point, heading)


def _lay_branch(spec: TrackSpec, branch: Branch, main: _Main) -> tuple[list[Ribbon], BranchLine]:
    """Return the ribbons and the line of a branch, fitted between its two forks."""
    part, _, node = main.expansion.labels[branch.leaves]
    joined_part, joined_node, _ = main.expansion.labels[branch.joins]
    start, start_half = main.fork(part, node, branch.side)
    end, end_half = main.fork(joined_part, joined_node, branch.side)
    for key, label, half in (("leaves", branch.leaves, start_half), ("joins", branch.joins, end_half)):
        if half < 2:
            raise TrackError(
                f"track {spec.name!r}, branch {branch.name!r}: the main road leaves {2 * half:.1f} m on the "
                f"{branch.side} at {key} {label!r}, at least 4 m are needed",
                hint=f"Make segment {label!r} wider on that side ({branch.side}: ...).",
            )
    expansion = expand(branch.segments, branch.road)
    _flare(expansion, spec.easing, (start_half, end_half))
    way_at, joined_at = main.ways[part], main.ways[joined_part]
    _lean(expansion, spec.easing, (way_at, node), (joined_at, joined_node))
    begin = Begin(start, float(way_at.heading[node]))
    ways = []
    for k, wanted in enumerate(expansion.parts):
        ways.append(follow(wanted, begin, spec.easing))
        if k < len(expansion.gaps):
            begin = landing(ways[-1], expansion.gaps[k])
    ways = _fitted(spec, branch, ways, end, float(joined_at.heading[joined_node]))

    ribbons = []
    line = LineNodes()
    leaves = main.first_node[part] + node
    for k, way in enumerate(ways):
        if k > 0:
            line.fly(ways[k - 1], way)
        (width,) = widths(way.wanted, spec.easing, [])
        distance = (leaves + line.count) * SPACING_M - main.lead_in_m
        ends = Ends(k > 0, k < len(ways) - 1)
        ribbons.append(ribbon_of(way, 0, len(way.wanted), width, distance_m=distance, ends=ends))
        line.add(way.points, way.forward, way.up, width.left_m, width.right_m)
    return ribbons, BranchLine(
        name=branch.name,
        line=np.concatenate(line.points),
        line_up=np.concatenate(line.up),
        half_width=np.minimum(np.concatenate(line.left_m), np.concatenate(line.right_m)),
        leaves=leaves - round(main.lead_in_m / SPACING_M),
        joins=main.first_node[joined_part] + joined_node - round(main.lead_in_m / SPACING_M),
    )


def _flare(expansion: Expansion, easing: Easing, halves: tuple[float, float]) -> None:
    """Give both ends of a branch the width of the room at its forks."""
    reach = round(easing.width / 2 / SPACING_M) + 1
    for array in (expansion.parts[0].left_m, expansion.parts[0].right_m):
        array[:reach] = halves[0]
    for array in (expansion.parts[-1].left_m, expansion.parts[-1].right_m):
        array[-reach:] = halves[1]


def _lean(expansion: Expansion, easing: Easing, start: tuple[Way, int], end: tuple[Way, int]) -> None:
    """Give both ends of a branch the slope and the bank of the main road at its forks."""
    for name, length in (("pitch", easing.slope), ("bank", easing.bank)):
        reach = round(length / 2 / SPACING_M) + 1
        getattr(expansion.parts[0], name)[:reach] = getattr(start[0], name)[start[1]]
        getattr(expansion.parts[-1], name)[-reach:] = getattr(end[0], name)[end[1]]


def _fitted(spec: TrackSpec, branch: Branch, ways: list[Way], end: Floats, heading: float) -> list[Way]:
    """Move the ways of a branch, more and more towards its end, so that it ends exactly at ``end``."""
    miss = ways[-1].points[-1] - end
    turn = (ways[-1].heading[-1] - heading + math.pi) % (2 * math.pi) - math.pi
    if abs(turn) > CLOSING_TURN_RAD or float(np.linalg.norm(miss)) > BRANCH_FIT_M:
        along = np.array([math.sin(heading), 0.0, math.cos(heading)])
        aside = np.array([along[2], 0.0, -along[0]])
        raise TrackError(
            f"track {spec.name!r}, branch {branch.name!r}: it does not meet the main road at {branch.joins!r}: it ends "
            f"{miss @ along:+.1f} m ahead, {miss @ aside:+.1f} m left, {miss[1]:+.1f} m up and "
            f"{math.degrees(turn):+.1f} degrees off (allowed: {BRANCH_FIT_M:.0f} m and "
            f"{math.degrees(CLOSING_TURN_RAD):.1f} degrees)",
            hint="Change lengths or angles of the branch's segments.",
        )
    total = sum(len(way.wanted) for way in ways)
    done = 0
    fitted = []
    for way in ways:
        t = (done + np.arange(len(way.points))[:, None]) / total
        fitted.append(shifted(way, -(3 * t**2 - 2 * t**3) * miss))
        done += len(way.wanted)
    return fitted
