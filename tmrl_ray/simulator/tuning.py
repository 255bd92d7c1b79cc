"""Every number of the car: tables, constants, and where each comes from.

The force model that uses them is spread over ``suspension``, ``tyres``, ``engine`` and ``body``; ``vehicle`` puts it
together. "Public" means: figures that several public projects state about the game. "Measured" means: read off
recorded races of the real game. "Fitted" means: found by ``calibrate`` against the measured figures.

Axes of the car: left, up, forward. The mass is 1, so that a force is an acceleration in m/s2. Tables are rows of
(speed in km/h, value), because that is how the public figures stand.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Any, Self

import numpy as np
from pydantic import AfterValidator, Field, model_validator

from tmrl_ray.config.settings import Settings
from tmrl_ray.simulator.track import Floats, Material

TICK_S = 0.01
"""One tick of the game."""
KMH_PER_MPS = 3.6
GRAVITY_MPS2 = 9.81

TuningArrays = Any
"""The same numbers as one flat numpy record, by the names of :class:`CarTuning`: ``tuning.brake_limit`` is a number in
a kernel, ``tuning.grip_cap`` an array (rows, 2). Static typing knows no such records."""


def _rising(table: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    speeds = [speed for speed, _ in table]
    if len(table) < 2 or any(b <= a for a, b in zip(speeds, speeds[1:], strict=False)):
        raise ValueError("a table needs at least two rows with rising speeds in km/h")
    return table


Table = Annotated[tuple[tuple[float, float], ...], AfterValidator(_rising)]
Triple = tuple[float, float, float]
NotNegative = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class MaterialGrip(Settings):
    """How a surface changes the car; 1 is asphalt. Public."""

    top_speed: Positive = 1.0
    """Squeezes the speed axis of the acceleration table: the bands end earlier on a slow surface."""
    engine: NotNegative = 1.0
    """On the engine's force."""
    brake: NotNegative = 1.0
    """On the limit of the brakes."""
    grip: NotNegative = 1.0
    """On the cap of the lateral tyre force."""
    bump_m: NotNegative = 0.0
    """Height of the periodic unevenness, peak to peak, metres. Public that it is there; the size is ours."""


ASPHALT = MaterialGrip()
GRASS = MaterialGrip(top_speed=0.5, engine=0.4, brake=0.05, grip=0.15, bump_m=0.08)
DIRT = MaterialGrip(top_speed=0.9, engine=0.9, brake=0.4, grip=0.25, bump_m=0.05)
ICE = MaterialGrip(top_speed=1.0, engine=0.1, brake=0.0, grip=0.0)
SAND = MaterialGrip(top_speed=0.2, engine=0.4, brake=1.0, grip=0.5, bump_m=0.05)


class CarTuning(Settings):
    """The Stadium car."""

    # Body
    inverse_inertia: Triple = (0.48, 0.48, 1.2)
    """About left (pitch), up (yaw) and forward (roll), for a mass of 1. Public."""
    centre_of_mass: Triple = (0.0, 0.4385, 0.288)
    """From the car's origin, metres. Public."""
    gravity_grounded: Positive = 3.0
    """In multiples of 9.81 m/s2, with at least one wheel on the ground. Public."""
    gravity_airborne: Positive = 2.5
    """The same in the air. Public; 2.51 measured in two free flights."""
    air_drag: NotNegative = 0.03
    """Deceleration per m/s in the air; there is none on the ground. Public."""
    speed_limit_mps: Positive = 277.8
    """Beyond it the car loses ``over_limit_drag``. Public (1000 km/h)."""
    over_limit_drag: NotNegative = 10.0
    """m/s2. Public."""
    spin_limit: Positive = 25.0
    """rad/s. Ours: keeps the integration of the attitude accurate in a tumble; no measured spin comes near it."""

    # Suspension
    wheel_offsets: tuple[Triple, Triple, Triple, Triple] = (
        (0.863, 0.3525, 1.782),
        (-0.863, 0.3525, 1.782),
        (-0.885, 0.3525, -1.2055),
        (0.885, 0.3525, -1.2055),
    )
    """Wheel centres with the suspension fully pressed; front left, front right, rear right, rear left. Public."""
    wheel_radius_m: Positive = 0.364
    """Public."""
    suspension_rest_m: Positive = 0.2
    """Travel at which the spring pushes no more: a hanging wheel. Public."""
    suspension_stop_m: NotNegative = 0.005
    """Travel at which the suspension is fully pressed and hard. Public (the smallest value that the game reports)."""
    suspension_stiffness: Positive = 40.0
    """Per wheel, 1/s2. Public; 40 * 0.184 m * 4 wheels = 29.4 m/s2 holds the car at its measured height."""
    suspension_damping: NotNegative = 1.0
    """Per wheel, 1/s. Public."""
    suspension_drop_mps: Positive = 3.0
    """How fast a wheel without ground extends. Ours, for the picture and the reported travel only."""

    # Engine and gears
    acceleration: Table = ((0.0, 16.0), (101.0, 11.0), (201.0, 7.0), (401.0, 5.5), (801.0, 1.0))
    """Full gas, m/s2: each row holds from its speed to that of the next. Public."""
    gear_ratios: tuple[Positive, Positive, Positive, Positive, Positive] = (370.0, 220.0, 160.0, 110.0, 85.0)
    """rpm per m/s in gears 1 to 5. Public."""
    max_rpm: Positive = 11000.0
    """Public."""
    shift_up: tuple[Share, Share, Share, Share] = (0.95, 0.90, 0.95, 0.95)
    """Share of ``max_rpm`` at which gears 1 to 4 shift up: 101.7, 162, 235, 342 km/h. Public."""
    shift_down: tuple[Share, Share, Share, Share] = (0.5, 0.57, 0.55, 0.6)
    """Share of ``max_rpm`` below which gears 2 to 5 shift down: 90, 141, 198, 280 km/h. Public."""
    clutch_ticks: Annotated[int, Field(ge=0)] = 4
    """A shift opens the clutch for so long before the rpm moves; the engine does not push in a shift. Measured: with
    ``rpm_fall`` it makes the plateau of 0.27 to 0.30 s at 102.4 km/h, and those of 0.15 to 0.20 s in later gears."""
    rpm_rise: Positive = 10000.0
    """How fast the rpm can rise, rpm per second. Measured at the start of recorded races."""
    rpm_fall: Positive = 17000.0
    """How fast they can fall. Measured in the shifts of recorded races."""
    launch_rpm: Positive = 1200.0
    """A standing start ends when the speed asks for so many rpm; until then they rise freely with the gas. Measured."""
    engine_drag: NotNegative = 1.0
    """Slow-down with the gas released, m/s2, at any speed. Public."""
    engine_drag_per_mps: NotNegative = 0.314
    """The same, per m/s. Fitted; public figures say 0.3, which coasts 4 % too far from 345 km/h."""
    reverse: Table = ((0.0, 30.0), (50.0, 8.0), (100.0, 1.5))
    """Acceleration backwards with the brake held, m/s2, by backward speed. Public."""
    reverse_limit_mps: Positive = 138.6
    """Public."""

    # Brakes
    brake_base: NotNegative = 1.0
    """m/s2. Public."""
    brake_per_mps: NotNegative = 1.75
    """1/s. Public."""
    brake_limit: Positive = 29.5
    """m/s2. Fitted together with ``engine_drag_per_mps``; public figures say 30."""
    brake_limit_sliding: Positive = 60.0
    """The limit once a wheel slides, m/s2; each sliding wheel's quarter of it is halved. Public."""

    # Steering
    steer_slew: Positive = 20.0
    """Full locks per second. Public."""
    steer_force: Table = (
        (0.0, 16.0),
        (50.0, 10.4),
        (100.0, 8.5),
        (150.0, 6.8),
        (200.0, 5.5),
        (300.0, 4.25),
        (400.0, 4.0),
        (500.0, 3.75),
    )
    """Force at full lock with which each front wheel turns the car, m/s2, at half the wheelbase. Public."""
    steer_fade_mps: Positive = 30.0
    """Below it the torque fades with the sine of the speed. Public."""
    steer_dead_mps: NotNegative = 0.7
    """Below it there is none. Public."""
    yaw_damping: Positive = 0.08
    """Share of each wheel's lateral force, 20 * speed across, that turns the car back. Public. At the wheelbase L of
    2.99 m the steady yaw rate is then steer_force / (20 * 0.08 * L) = 0.209 * steer_force, as measured, and it is
    reached with a time constant of 0.15 s, as measured in recorded races."""

    # Tyres
    grip_stiffness: Positive = 20.0
    """Lateral force of a wheel per m/s of lateral speed, 1/s. Public."""
    grip_cap: Table = ((0.0, 80.0), (100.0, 80.0), (200.0, 75.0), (300.0, 67.0), (400.0, 60.0), (500.0, 55.0))
    """Largest lateral force of a wheel under the load of a car that stands, m/s2; the load scales it. Public."""
    slide_grip: NotNegative = 0.35
    """On the cap of a wheel that slides. Public."""
    slide_grip_braking: NotNegative = 0.2
    """The same with the brake held. Public."""
    slide_overflow: NotNegative = 0.018
    """Share of the force beyond the cap that a sliding wheel still gives. Public."""
    brake_trigger: NotNegative = 0.35
    """With the brake held, a wheel begins to slide at this share of its cap. Ours: the share of a wheel that slides; a
    tap of the brake then starts a slide in a full turn from about 170 km/h on, as players know it."""
    adherence_none: float = 0.3
    """Tyres have no force when the cosine between the ground's normal and the car's up axis is below this. Public."""
    adherence_full: float = 0.7
    """And their full force above this. Public."""
    squat_arm_m: NotNegative = 0.09
    """How far below the centre of mass the force along the car acts: it squats under its engine. Fitted to the
    suspension travel on the turbo pads of recorded races."""
    lean_arm_m: NotNegative = 0.15
    """The same for the force across the car: it leans in a turn. Fitted to the suspension travel in full turns."""

    # Air
    air_damping: NotNegative = 0.4
    """Torque against the spin in the air, per rad/s. Public."""
    air_damping_square: NotNegative = 0.2
    """The same, per rad2/s2. Public."""
    air_steer_damping: Positive = 3.0
    """The factor on both while one steers in the direction in which the car yaws. Public."""

    # Special surfaces
    turbo: NotNegative = 5.0
    """Multiples of the acceleration that a yellow pad adds. Public, and as measured."""
    turbo_ticks: Annotated[int, Field(ge=0)] = 25
    """For so long after the last contact. Public."""
    turbo2: NotNegative = 20.0
    """The same of a red pad. Public."""
    turbo2_ticks: Annotated[int, Field(ge=0)] = 10
    """Public."""
    concrete: MaterialGrip = ASPHALT
    """Also pavement, metal, wood, turbo pads and whatever is not named here."""
    asphalt: MaterialGrip = ASPHALT
    """The road."""
    grass: MaterialGrip = GRASS
    """Public."""
    dirt: MaterialGrip = DIRT
    """Dirt and dirt roads. Public."""
    ice: MaterialGrip = ICE
    """Public."""
    sand: MaterialGrip = SAND
    """Public."""

    # Walls
    body_centre: Triple = (0.0, 0.65, 0.075)
    """Middle of the box that encloses the body's spheres, metres. From the car's dimensions."""
    body_half: Triple = (1.0, 0.45, 2.025)
    """Half of that box: half width 1.0 m, nose at +2.1 m, tail at -1.95 m. Public."""
    wall_restitution: Share = 0.5
    """Public."""
    ground_restitution: Share = 0.8
    """Of the body on ground. Public."""
    rest_speed_mps: NotNegative = 2.0
    """Slower hits do not bounce. Ours: lets a car that lies on its roof come to rest."""
    wall_friction: NotNegative = 0.3
    """Largest tangential impulse, as a share of the normal one. Public."""
    wall_ticks: Annotated[int, Field(ge=0)] = 50
    """The slow-down after a wall lasts for so long. Public."""
    wall_drag: Table = ((0.0, 0.0), (50.0, 12.0), (100.0, 24.0), (200.0, 48.0), (400.0, 70.0))
    """That slow-down, m/s2. Public."""

    @model_validator(mode="after")
    def _limits_in_order(self) -> Self:
        if self.adherence_none >= self.adherence_full:
            raise ValueError(
                f"adherence_none = {self.adherence_none} must be below adherence_full = {self.adherence_full}"
            )
        if self.suspension_stop_m >= self.suspension_rest_m:
            rest = self.suspension_rest_m
            raise ValueError(f"suspension_stop_m = {self.suspension_stop_m} must be below suspension_rest_m = {rest}")
        for gear, (down, up) in enumerate(zip(self.shift_down, self.shift_up, strict=True), start=1):
            if down / self.gear_ratios[gear] >= up / self.gear_ratios[gear - 1]:
                raise ValueError(f"gear {gear + 1} shifts down at a higher speed than gear {gear} shifts up")
        return self

    @cached_property
    def arrays(self) -> TuningArrays:
        """The numbers for the kernels: one record, tables as (rows, 2), materials as (32, 5) by material id."""
        values: dict[str, Floats] = {}
        for name in type(self).model_fields:
            value = getattr(self, name)
            if not isinstance(value, MaterialGrip):
                values[name] = np.array(value, dtype=np.float64)
        values["materials"] = self._material_rows()
        dtype = np.dtype([(name, np.float64, value.shape) for name, value in values.items()])
        record = np.zeros(1, dtype=dtype)
        for name, value in values.items():
            record[name][0] = value
        return record[0]

    def _material_rows(self) -> Floats:
        kinds = {
            Material.ASPHALT: self.asphalt,
            Material.GRASS: self.grass,
            Material.ICE: self.ice,
            Material.SAND: self.sand,
            Material.DIRT: self.dirt,
            Material.DIRT_ROAD: self.dirt,
        }
        rows = [kinds.get(Material(i), self.concrete) if i in list(Material) else self.concrete for i in range(32)]
        return np.array([[row.top_speed, row.engine, row.brake, row.grip, row.bump_m] for row in rows])


TOP_SPEED, ENGINE, BRAKE_LIMIT, GRIP, BUMP = range(5)
"""Columns of ``materials``."""
