"""Settings of a race as the agent sees it: maps, reference line, observation, reward, cut-offs, scripted driver.

Defaults are those of the public TMNF agents where these exist. A *zone* is a point of the reference line.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.config.settings import Settings


class MapEntry(Settings):
    """One line of the cycle of maps that is driven."""

    name: Annotated[str, Field(min_length=1)]
    """Short name, for metrics and files."""
    map: Annotated[str, Field(min_length=1)]
    """What the game loads: a track's name or YAML file for the simulator, a map's path for the real game."""
    line: Path | None = None
    """Reference line, an .npy file of (N, 3) metres; null: the centre line of the simulator's track."""
    exploration: bool = True
    """True: races explore; false: races are greedy and only measured."""
    fill_buffer: bool = True
    """Whether the races are stored as experience."""
    repeat: PositiveInt = 1
    """How many races are driven on it before the cycle goes on."""
    references_s: dict[Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")], PositiveFloat] = {}
    """Times in seconds by which races on it are measured, by what they are called: ``{author: 24.54, gold: 25.87}``. On
    tracks that ship, the time of the pursuit driver is known."""


class LineSettings(Settings):
    """The reference line and how a car's progress along it is told."""

    spacing_m: PositiveFloat = 0.5
    """Distance between two zones."""
    zones_before_start: NonNegativeInt = 20
    """Zones added before the line's first point, in the direction in which it begins."""
    zones_after_finish: NonNegativeInt = 1000
    """Zones added after its last point, so that the agent sees where the road would go on."""
    smoothing_zones: NonNegativeInt = 5
    """Each zone becomes the middle between the zones this many before and after it; 0: no smoothing."""
    road_width_m: PositiveFloat = 90.0
    """A zone that is farther away than half of this is not reached, however near the next one is."""
    checkpoint_radius_m: PositiveFloat | None = 12.0
    """A zone near a real checkpoint is only passed by a car that comes this near to it; null: never asked for."""
    deck_height_m: float | None = None
    """Progress counts only while the car is above this height; null: at any height."""


MOST_PREVIOUS_ACTIONS = 50
"""With four keys each, more floats than all others together."""


class ObservationSettings(Settings):
    """The vector of floats that the agent sees next to the picture."""

    way_points: Annotated[int, Field(ge=1, le=400)] = 40
    """How many points of the line ahead are seen, in the car's frame."""
    way_point_zones: Annotated[int, Field(ge=1, le=200)] = 20
    """Zones between two way-points; 20 zones are 10 m."""
    previous_actions: Annotated[int, Field(ge=0, le=MOST_PREVIOUS_ACTIONS)] = 5
    """How many earlier decisions are seen, oldest first."""
    finish_margin_m: PositiveFloat = 700.0
    """From this distance on the agent sees how far the finish is; farther away it sees this constant."""
    mini_race_ms: Annotated[int, Field(ge=100, multiple_of=10)] = 7000
    """Length of a mini-race, which scales the clock that the agent sees."""


class RewardSettings(Settings):
    """The weight of each term of the reward. The terms are stored one by one, so weights may change later."""

    per_ms: float = -0.0012
    """For each millisecond of race time."""
    per_metre: float = 0.01
    """For each metre of progress along the line; going back gives it back."""
    per_speed: float = 0.0
    """For each m/s gained or lost between two decisions while the car moves forwards; 0.02 is as if the race
    went on at the final speed for two seconds."""
    speed_slide: ScheduleSettings = ScheduleSettings.constant(0.0)
    """At most per decision, for sliding by just the amount at which the car gains speed; over env steps."""
    neo_slide: ScheduleSettings = ScheduleSettings.constant(0.0)
    """For a decision with a sideways speed of at least 2 m/s; over env steps."""
    kamikaze: float = 0.0
    """For a decision that keeps the accelerator down, or with at most one wheel on the ground."""
    close_to_line: float = 0.0
    """For each metre between the car and the line, within 5 to 25 m; negative draws the car to the line."""
    finish: float = 0.0
    """For crossing the finish line. Where only progress is rewarded the last metre is worth no more than any other, and
    a car may stop before it; a bonus of what a few seconds of driving are worth makes it go on."""
    schedule_speed: PositiveFloat = 1.0
    """Multiplies the env steps of the schedules: larger means slower."""


class CutOffSettings(Settings):
    """When a race is given up."""

    race_ms: Annotated[int, Field(ge=10)] = 300_000
    """After this race time."""
    no_progress_ms: Annotated[int, Field(ge=10)] = 2_000
    """After this race time without a zone farther along the line than any before."""

    @model_validator(mode="after")
    def _progress_first(self) -> Self:
        if self.no_progress_ms > self.race_ms:
            raise ValueError(
                f"no_progress_ms = {self.no_progress_ms} is longer than race_ms = {self.race_ms}, "
                "so that it could never end a race: make it shorter"
            )
        return self


class PursuitSettings(Settings):
    """The driver that follows the middle of the road with a speed profile and never errs."""

    kind: Literal["pursuit"] = "pursuit"
    """Follows the middle of the road as fast as the car allows."""


class HumanSettings(Settings):
    """The driver that plays like a person: late, with whole key strokes, and never twice alike."""

    kind: Literal["human"] = "human"
    """Keys, reaction times and mistakes like a person's."""
    seed: NonNegativeInt = 0
    """The same seed drives the same races again, in the same order."""


DriverSettings = Annotated[PursuitSettings | HumanSettings, Field(discriminator="kind")]
