"""A ghost: who drove, how fast, what was pressed and where the car was."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx.container import ignore, read_node
from tmrl_ray.game.gbx.controls import TICK_MS, ControlEvent, inputs_per_tick, read_control_events
from tmrl_ray.game.gbx.reader import Reader
from tmrl_ray.game.gbx.samples import Samples, read_samples
from tmrl_ray.game.inputs import Inputs

GHOST: Final = 0x03092000


@dataclass(frozen=True, eq=False, kw_only=True)
class Ghost:
    """One recorded race."""

    race_time_ms: int | None
    """The finish time; None where the race was not finished."""
    checkpoint_times_ms: tuple[int, ...]
    """When each checkpoint was passed, the finish included."""
    respawns: int
    login: str
    nickname: str
    """With the game's formatting codes."""
    vehicle: str
    game_version: str
    controls: tuple[ControlEvent, ...]
    """Every change of a control, the game's own `_Fake...` events included."""
    recorded_samples: Samples | None
    """None where the ghost carries no trace; see ``samples``."""

    @property
    def samples(self) -> Samples:
        """The trace of the car.

        Raises:
            GbxError: the ghost carries none.
        """
        if self.recorded_samples is None or len(self.recorded_samples) == 0:
            raise GbxError(f"the ghost of {self.login!r} carries no trace of its car")
        return self.recorded_samples

    @property
    def duration_ms(self) -> int:
        """The race time, or the time of the last input of a race that was not finished."""
        if self.race_time_ms is not None:
            return self.race_time_ms
        return max((event.time_ms + TICK_MS for event in self.controls), default=0)

    @cached_property
    def inputs(self) -> tuple[Inputs, ...]:
        """What was held in each tick: number i from 10 i to 10 i + 10 ms of race time. Respawns are not in here."""
        return inputs_per_tick(self.controls, self.duration_ms)

    @property
    def respawn_times_ms(self) -> tuple[int, ...]:
        """Race times of the ticks in which the car was put back to a checkpoint."""
        return tuple(event.time_ms for event in self.controls if event.control == "Respawn" and event.value)


@dataclass
class _Draft:
    race_time_ms: int | None = None
    checkpoint_times_ms: tuple[int, ...] = ()
    respawns: int = 0
    login: str = ""
    nickname: str = ""
    vehicle: str = ""
    game_version: str = ""
    controls: tuple[ControlEvent, ...] = ()
    samples: Samples | None = None


def read_ghost(reader: Reader) -> Ghost | None:
    """Read a reference to a ghost; None where there is none."""
    draft = read_node(reader, GHOST, _CHUNKS, _Draft)
    if draft is None:
        return None
    return Ghost(
        race_time_ms=draft.race_time_ms,
        checkpoint_times_ms=draft.checkpoint_times_ms,
        respawns=draft.respawns,
        login=draft.login,
        nickname=draft.nickname,
        vehicle=draft.vehicle,
        game_version=draft.game_version,
        controls=draft.controls,
        recorded_samples=draft.samples,
    )


def _read_trace(reader: Reader, draft: _Draft) -> None:
    draft.samples = read_samples(reader)


def _read_race_time(reader: Reader, draft: _Draft) -> None:
    draft.race_time_ms = reader.time_ms()


def _read_respawns(reader: Reader, draft: _Draft) -> None:
    respawns = reader.i32()
    draft.respawns = max(respawns, 0)


def _read_checkpoint_times(reader: Reader, draft: _Draft) -> None:
    times = [(reader.time_ms(), reader.u32())[0] for _ in range(reader.count(8))]
    draft.checkpoint_times_ms = tuple(time for time in times if time is not None)


def _read_name(reader: Reader, _draft: _Draft) -> None:
    reader.name()


def _read_login(reader: Reader, draft: _Draft) -> None:
    draft.login = reader.text()


def _read_nickname(reader: Reader, draft: _Draft) -> None:
    draft.nickname = reader.name()


def _read_vehicle(reader: Reader, draft: _Draft) -> None:
    draft.vehicle = reader.ident()[0]


def _read_validation(reader: Reader, draft: _Draft) -> None:
    duration_ms = reader.u32()
    if duration_ms == 0:
        return
    reader.u32()
    draft.controls = read_control_events(reader)
    draft.game_version = reader.text()
    reader.skip(12)  # checksum of the game, operating system, processor
    reader.text()  # race settings


def _read_validation_and_end(reader: Reader, draft: _Draft) -> None:
    at = reader.offset
    _read_validation(reader, draft)
    if reader.offset - at > 4:
        reader.u32()


_CHUNKS: Final = {
    0x0303F005: _read_trace,
    0x03092005: _read_race_time,
    0x03092008: _read_respawns,
    0x0309200B: _read_checkpoint_times,
    0x0309200C: ignore(4),
    0x0309200E: _read_name,
    0x0309200F: _read_login,
    0x03092010: _read_name,
    0x03092011: _read_validation,
    0x03092012: ignore(20),
    0x03092015: _read_nickname,
    0x03092018: _read_vehicle,
    0x03092019: _read_validation_and_end,
}
