"""Settings of recordings and of the caches that are made of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from tmrl_ray.config.game import Pixels
from tmrl_ray.config.race import ObservationSettings
from tmrl_ray.config.settings import Settings

PictureRate = Annotated[float, Field(gt=0, le=100)]
DriverKind = Literal["pursuit", "human", "trained", "inputs", "replay"]


class RecordSettings(Settings):
    """What is recorded of each map, and by whom."""

    driver: DriverKind = "human"
    """pursuit, human: scripted. trained: the weights of a run. inputs: a TMInterface script. replay: what is pressed
    in a .Replay.Gbx, which only the real game drives again."""
    races: PositiveInt = 20
    """On each map; those that are there already count."""
    seed: NonNegativeInt = 0
    """The same seed records the same races again in the simulator, in whatever order they are driven."""
    fps: PictureRate = 20.0
    """Pictures per second of race time; 20 is one for each decision of the agent, 100 one for each tick."""


class CacheSettings(Settings):
    """How recorded races become arrays. What is not set here, labels and splits, is worked out when it is asked for."""

    frame_size: tuple[Pixels, Pixels] = (64, 64)
    """Width and height of the pictures; recordings of another size are resampled."""
    floats: bool = True
    """Whether the observation's floats are kept."""
    actions: bool = True
    """Whether what was held is kept."""
    may_lack: tuple[Literal["floats", "actions"], ...] = ()
    """What is kept of the races that give it; one that does not give something else cannot be used."""
    observation: ObservationSettings = ObservationSettings()
    """Which floats are observed; must be as it was for the recording, but for the previous actions."""
    decision_period_ms: Annotated[int, Field(ge=10, le=1000, multiple_of=10)] = 50
    """Between two decisions of the agent: the previous actions among the floats are so far apart, however fine the
    recording is."""
    finished_only: bool = True
    """Whether races that did not reach the finish are left out."""
    maps: tuple[str, ...] | None = None
    """The maps whose races are taken; null: all."""
