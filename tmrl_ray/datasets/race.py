"""One recorded race: its facts, its frames and what was held, however they are stored.

``folder`` keeps it as a folder of pictures, ``parquet`` as rows of a table; both read and write this class.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from tmrl_ray.datasets.states import RaceStates
from tmrl_ray.errors import DatasetError
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.game.gbx.controls import PEDAL_THRESHOLD
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.racing.actions import ACTION_COUNT, KEY_NAMES, action_of

SCHEMA_VERSION = 1
"""Of what we write; 0 stands for recordings of others, which have none."""

Actions = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class RaceFacts:
    """What ``metadata.json`` says of a race; None is what it does not say."""

    map: str
    """Name of the map, that of the race's folder's folder."""
    name: str
    """Of the race, that of its folder."""
    interval_ms: float | None = None
    """Between two frames."""
    size: tuple[int, int] | None = None
    """Width and height of the frames."""
    race_time_ms: int | None = None
    """The finish time, or the time of the last moment."""
    finished: bool | None = None
    decision_period_ms: int | None = None
    """Between two decisions of the driver; None: it could press keys in every tick."""
    layout_hash: str | None = None
    """Of the observation that the states were recorded for."""
    schema_version: int = 0
    more: dict[str, Any] = field(default_factory=dict)
    """All other fields, as they were read."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One frame of a race."""

    file: str
    """Name of the picture in the race's folder."""
    step: int
    """Number of the frame."""
    time_ms: int
    """Race clock of the picture."""
    action: int | None = None
    """Index into ``ACTIONS`` of what was held in the tick that began then; None: not known, or none of the twelve."""
    keys: tuple[bool, ...] | None = None
    """Of ``KEY_NAMES``, which ones were held; None: not known."""
    more: dict[str, Any] = field(default_factory=dict)
    """All other fields, as they were read."""


@dataclass(frozen=True, eq=False)
class Race:
    """A recorded race."""

    facts: RaceFacts
    entries: tuple[Entry, ...]
    """Its frames, in the order of the manifest."""
    images: Sequence[bytes]
    """The encoded picture of each entry."""
    timeline: Actions | None = None
    """(T,) the action held in each tick of 10 ms from race time 0 on, 255: none of the twelve; None: not recorded."""
    states: RaceStates | None = None
    """What is known of the car; None: nothing."""

    @property
    def label(self) -> str:
        """What to call it in messages."""
        return f"{self.facts.map}/{self.facts.name}"

    @property
    def times_ms(self) -> NDArray[np.int64]:
        """(n,) race clock of each entry."""
        return np.array([entry.time_ms for entry in self.entries], np.int64)

    @property
    def interval_ms(self) -> float | None:
        """Between two frames: as the facts say, else the most frequent one; None: there are fewer than two."""
        if self.facts.interval_ms:
            return self.facts.interval_ms
        steps = np.diff(np.unique(self.times_ms))
        return float(np.bincount(steps).argmax()) if len(steps) else None

    @property
    def actions(self) -> Actions:
        """(T,) the timeline or, where there is none, the action of the frame that is nearest to each tick.

        Raises:
            DatasetError: nothing is known of what was held.
        """
        return timeline_of_entries(self) if self.timeline is None else self.timeline

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Return the picture of an entry, grey (H, W).

        Raises:
            DatasetError: it is not there, or cannot be decoded.
        """
        try:
            return decode(self.images[index])
        except (OSError, ValueError, UnidentifiedImageError) as error:
            raise DatasetError(
                f"race {self.label}: picture {self.entries[index].file} cannot be read: {error}",
                hint="To see and repair all defects: tmrl-ray dataset validate, tmrl-ray dataset repair",
            ) from error

    def kept(self, numbers: Sequence[int]) -> Race:
        """Return the race with some of its entries only."""
        entries = tuple(self.entries[number] for number in numbers)
        return replace(self, entries=entries, images=_ChosenImages(self.images, numbers))


class _ChosenImages(Sequence[bytes]):
    """Some of a race's pictures, read when they are asked for."""

    def __init__(self, images: Sequence[bytes], numbers: Sequence[int]) -> None:
        self._images = images
        self._numbers = list(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        return self._images[self._numbers[index]]


def timeline_of_entries(race: Race) -> Actions:
    """Return (T,) the action of the entry that is nearest in time to each tick, up to the race's last moment.

    Raises:
        DatasetError: no entry says what was held.
    """
    known = [entry for entry in race.entries if entry.action is not None and 0 <= entry.action < ACTION_COUNT]
    if not known:
        raise DatasetError(
            f"race {race.label} does not say what was held: no entry has an action, and there is no timeline",
            hint="Such a race is of use for its pictures only: build the cache without labels.",
        )
    times_ms = np.array([entry.time_ms for entry in known])
    order = np.argsort(times_ms, kind="stable")
    times_ms, actions = times_ms[order], np.array([entry.action for entry in known], np.uint8)[order]
    last_ms = max(race.facts.race_time_ms or 0, int(times_ms[-1]) + TICK_MS)
    ticks_ms = np.arange(0, last_ms, TICK_MS)
    after = np.clip(np.searchsorted(times_ms, ticks_ms), 0, len(times_ms) - 1)
    before = np.maximum(after - 1, 0)
    nearest = np.where(np.abs(ticks_ms - times_ms[before]) <= np.abs(times_ms[after] - ticks_ms), before, after)
    chosen: Actions = actions[nearest]
    return chosen


def keys_of(inputs: Inputs) -> tuple[bool, ...]:
    """Return which of ``KEY_NAMES`` inputs hold; analog steering holds the key of its side from 0.3 of the lock on.

    The public recordings have keys only; 0.3 is what TMInterface documents as the threshold of the analog pedals.
    """
    steer = inputs.steer or 0
    held = {
        "accelerate": inputs.accelerate,
        "brake": inputs.brake,
        "left": inputs.left if inputs.steer is None else steer <= -PEDAL_THRESHOLD,
        "right": inputs.right if inputs.steer is None else steer >= PEDAL_THRESHOLD,
    }
    return tuple(held[name] for name in KEY_NAMES)


def action_of_keys(keys: Sequence[bool]) -> int:
    """Return the action that holds exactly these of ``KEY_NAMES``; NO_ACTION: left and right together."""
    held = dict(zip(KEY_NAMES, keys, strict=True))
    if held["left"] and held["right"]:
        return NO_ACTION
    return action_of(Inputs(**held))


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return an encoded picture as grey (H, W).

    Raises:
        OSError, ValueError: it is damaged, or no picture.
    """
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("L"))


def encode(frame: NDArray[np.uint8]) -> bytes:
    """Return a grey picture (H, W) as a PNG, which keeps every grey value."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "png", compress_level=1)
    return buffer.getvalue()
