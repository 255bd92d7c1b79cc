"""The track file: YAML that says how a track is laid out, and the models that check it.

A file has a ``name``, optionally ``ground``, ``laps`` and ``start``, and one of two ways to lay the road:

(a) ``segments``, a list that is followed from the start line::

    name: example
    road: {width: 16, material: asphalt, walls: none}   # what holds unless a segment says otherwise
    segments:
      - straight: 80                                    # metres
      - {curve: left, radius: 40, angle: 90, bank: 8}   # degrees; bank leans into the curve
      - checkpoint
      - {straight: 60, climb: 4}                        # metres of height; or slope: 7 (percent)
      - {straight: 12, material: turbo}                 # a turbo pad
      - {gap: 25, drop: 2}                              # no road; the landing is 2 m lower than the lip
      - {straight: 90, walls: both, tunnel: true}
      - {loop: 14, shift: 20}                           # once round, radius 14 m, 20 m to the left
      - finish

Changes of curvature, slope, bank and width are eased, each over a length of ``easing``, centred on the joint of two
segments. The road begins 12 m behind the spawn and goes on for 60 m past the finish. On a closed track (``laps``
given) the last segment must lead back to the first; ``finish`` is the start line and is not written.

A road may fork: ``branches`` lists other ways. One leaves at the end of the main segment with the label ``leaves``,
beside the road that goes straight on, and joins at the start of the segment labelled ``joins``. Both of these segments
must be wide enough on that side (``left`` or ``right`` give the half widths)::

      - {straight: 40, left: 32, label: fork}
      - ...
      - {straight: 40, left: 32, label: meet}
    branches:
      - {name: detour, side: left, leaves: fork, joins: meet, width: 16, segments: [...]}

(b) ``line``, a file of positions that were driven or drawn (N, 3), with ranges by distance along it in metres::

    name: my_track
    line:
      file: my_line.npy          # relative to this file
      width: 16
      materials: [{from: 300, to: 420, material: dirt}]
      walls: [{from: 0, to: 100, side: both, height: 1}]
      gaps: [{from: 500, to: 520}]
      checkpoints: [{at: 250}, {near: [512.0, 10.0, 640.0]}]
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

MaterialName = Literal[
    "asphalt", "concrete", "pavement", "grass", "ice", "metal", "sand", "dirt", "dirt_road", "rubber", "wood",
    "turbo", "turbo2", "free_wheeling",
]  # fmt: skip
Sides = Literal["none", "left", "right", "both"]
Metres = Annotated[float, Field(gt=0, le=5000)]
HalfWidth = Annotated[float, Field(ge=2, le=60)]
Point = tuple[float, float, float]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Shoulder(_Model):
    """A strip along both edges of the road: a kerb when it rises, a verge when it falls."""

    width: float = Field(gt=0, le=30)
    """Metres."""
    rise: float = Field(default=0.0, ge=-3, le=1)
    """How much its outer edge is above the road's edge, metres; negative: below."""
    material: MaterialName = "grass"
    """What it is made of."""


class Road(_Model):
    """What the road is like where a segment does not say otherwise."""

    width: float = Field(default=16.0, ge=4, le=60)
    """Metres from edge to edge."""
    material: MaterialName = "asphalt"
    """What the road is made of."""
    walls: Sides = "none"
    """On which sides walls stand."""
    wall_height: float = Field(default=1.0, ge=0.2, le=12)
    """Metres above the road."""
    shoulder: Shoulder | None = None
    """Strips beside the road."""


class Easing(_Model):
    """Over which length changes are eased, metres."""

    curve: float = Field(default=24.0, ge=1, le=200)
    """Curvature."""
    slope: float = Field(default=30.0, ge=1, le=200)
    """Slope."""
    bank: float = Field(default=36.0, ge=1, le=200)
    """Bank."""
    width: float = Field(default=24.0, ge=1, le=200)
    """Width."""


class Stretch(_Model):
    """What every segment of road can say about itself; what is left out is as ``road`` says."""

    width: float | None = Field(default=None, ge=4, le=60)
    """Metres from edge to edge."""
    left: HalfWidth | None = None
    """Metres from the centre line to the left edge, instead of half the width."""
    right: HalfWidth | None = None
    """Metres from the centre line to the right edge, instead of half the width."""
    material: MaterialName | None = None
    """What the road is made of."""
    walls: Sides | None = None
    """On which sides walls stand."""
    wall_height: float | None = Field(default=None, ge=0.2, le=12)
    """Metres above the road."""
    shoulder: Shoulder | None = None
    """Strips beside the road; null, when written: none here."""
    tunnel: bool = False
    """Whether the road runs through a tunnel."""
    bank: float = Field(default=0.0, ge=-80, le=80)
    """Degrees; leans into a curve, to the left on a straight; negative: the other way."""
    slope: float | None = Field(default=None, ge=-80, le=80)
    """Percent upwards; 0 when neither this nor ``climb`` is given."""
    climb: float | None = Field(default=None, ge=-200, le=200)
    """Metres upwards over the segment, instead of ``slope``."""
    label: str | None = None
    """A name by which a branch refers to this segment."""

    @model_validator(mode="after")
    def _one_way_to_climb(self) -> Stretch:
        if self.slope is not None and self.climb is not None:
            raise ValueError("give slope or climb, not both")
        return self


class Straight(Stretch):
    """Straight on."""

    straight: Metres
    """Length, metres."""


class Curve(Stretch):
    """A bend of constant radius between its eased ends."""

    curve: Literal["left", "right"]
    """To which side."""
    radius: float = Field(ge=8, le=2000)
    """Metres."""
    angle: float = Field(gt=0, le=720)
    """Degrees by which the direction changes."""


class Gap(_Model):
    """No road: the car flies from the lip behind it to the landing before it."""

    gap: float = Field(ge=2, le=300)
    """Horizontal distance from lip to landing, metres."""
    drop: float = Field(default=0.0, ge=-30, le=60)
    """How much lower the landing is, metres."""
    sideways: float = Field(default=0.0, ge=-100, le=100)
    """How far to the left the landing is, metres."""


class Loop(_Model):
    """Once round in the vertical; the road comes out beside where it went in."""

    loop: float = Field(ge=8, le=60)
    """Radius, metres."""
    shift: float = Field(ge=-100, le=100)
    """How far to the left it comes out, metres; at least the road's width to either side."""
    width: float | None = Field(default=None, ge=4, le=60)
    """Metres from edge to edge."""


KINDS = ("straight", "curve", "gap", "loop")
MARKERS = ("checkpoint", "finish")


def _kind_of(value: Any) -> str:
    if isinstance(value, str):
        return "marker"
    keys = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
    return next((kind for kind in KINDS if kind in keys), "unknown")


Segment = Annotated[
    Annotated[Straight, Tag("straight")]
    | Annotated[Curve, Tag("curve")]
    | Annotated[Gap, Tag("gap")]
    | Annotated[Loop, Tag("loop")]
    | Annotated[Literal["checkpoint", "finish"], Tag("marker")],
    Discriminator(_kind_of),
]


class Branch(_Model):
    """Another way, from one place of the main road to another."""

    name: str
    """What messages call it."""
    side: Literal["left", "right"]
    """On which side of the main road it leaves and joins."""
    leaves: str
    """Label of the segment at whose end it leaves."""
    joins: str
    """Label of the segment at whose start it joins."""
    road: Road = Road()
    """What it is like where its segments do not say otherwise."""
    segments: tuple[Segment, ...]
    """The way; its end is moved by up to ``BRANCH_FIT_M`` to meet the main road exactly."""


class Start(_Model):
    """Where the spawn is."""

    position: Point = (512.0, 10.0, 512.0)
    """On the road, metres."""
    heading: float = 0.0
    """Degrees to the left from +z."""


class MaterialRange(_Model):
    """A stretch of another material."""

    start: float = Field(alias="from", ge=0)
    """Metres along the line."""
    end: float = Field(alias="to", gt=0)
    """Metres along the line."""
    material: MaterialName
    """What the road is made of there."""


class WallRange(_Model):
    """A stretch with walls."""

    start: float = Field(alias="from", ge=0)
    """Metres along the line."""
    end: float = Field(alias="to", gt=0)
    """Metres along the line."""
    side: Literal["left", "right", "both"] = "both"
    """Where they stand."""
    height: float = Field(default=1.0, ge=0.2, le=12)
    """Metres above the road."""


class GapRange(_Model):
    """A stretch without road."""

    start: float = Field(alias="from", ge=0)
    """Metres along the line."""
    end: float = Field(alias="to", gt=0)
    """Metres along the line."""


class CheckpointAt(_Model):
    """A checkpoint at a distance."""

    at: float = Field(ge=0)
    """Metres along the line."""


class CheckpointNear(_Model):
    """A checkpoint where the line comes nearest to a position."""

    near: Point
    """World position, metres; the line must pass within ``CHECKPOINT_REACH_M``."""


def _checkpoint_kind(value: Any) -> str:
    keys = value if isinstance(value, dict) else getattr(type(value), "model_fields", ())
    return next((kind for kind in ("at", "near") if kind in keys), "unknown")


Checkpoint = Annotated[
    Annotated[CheckpointAt, Tag("at")] | Annotated[CheckpointNear, Tag("near")], Discriminator(_checkpoint_kind)
]


class Line(_Model):
    """A road along a line of positions."""

    file: str
    """Path of the .npy file, relative to the track file: (N, 3) metres, in driving order."""
    width: float = Field(default=16.0, ge=4, le=60)
    """Metres from edge to edge."""
    smooth: float = Field(default=8.0, ge=0, le=100)
    """Window, in metres, over which the positions are averaged: driven lines are rounded and shaky."""
    height: float = Field(default=0.0275, ge=0, le=5)
    """How far the positions are above the road: the origin of a car rides 2.75 cm above it."""
    bank: float = Field(default=0.0, ge=0, le=45)
    """The most that the road leans into its bends, degrees."""
    material: MaterialName = "asphalt"
    """What the road is made of."""
    materials: tuple[MaterialRange, ...] = ()
    """Stretches of another material."""
    walls: tuple[WallRange, ...] = ()
    """Stretches with walls."""
    gaps: tuple[GapRange, ...] = ()
    """Stretches without road."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """Where the checkpoints are."""
    finish: float | None = Field(default=None, gt=0)
    """Metres along the line; left out: the end of the line."""
    shoulder: Shoulder | None = None
    """Strips beside the road."""


class TrackSpec(_Model):
    """A whole track file."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_. -]*$")
    """What the track is called."""
    description: str = ""
    """One line for people."""
    start: Start = Start()
    """Where the spawn is; only with ``segments``."""
    ground: float | None = None
    """Height of the ground; left out: 1 m below the lowest road."""
    laps: int | None = Field(default=None, ge=1, le=100)
    """Given: the track is closed and driven that many times round."""
    road: Road = Road()
    """What the road is like where a segment does not say otherwise."""
    easing: Easing = Easing()
    """Over which length changes are eased."""
    segments: tuple[Segment, ...] = ()
    """The way, from the start line on."""
    branches: tuple[Branch, ...] = ()
    """Other ways."""
    line: Line | None = None
    """Instead of ``segments``: a line to follow."""

    @model_validator(mode="after")
    def _one_layout(self) -> TrackSpec:
        if bool(self.segments) == (self.line is not None):
            raise ValueError("give either segments or line")
        idle = sorted(self.model_fields_set & {"start", "laps", "road", "easing", "branches"})
        if self.line is not None and idle:
            raise ValueError(f"{', '.join(idle)}: only with segments, not with line")
        return self

    @model_validator(mode="after")
    def _labels_are_unique(self) -> TrackSpec:
        labels = [s.label for s in self.segments if isinstance(s, Stretch) and s.label is not None]
        twice = sorted({label for label in labels if labels.count(label) > 1})
        if twice:
            raise ValueError(f"label {', '.join(twice)} is given to more than one segment")
        return self
