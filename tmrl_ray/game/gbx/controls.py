"""What a player pressed, as a ghost records it, and the same as one :class:`Inputs` per tick.

The game stores an event as (clock, name of the control, 32 bits). The clock reads 100,000 at the start of the race and
an event with clock 100,000 + t + 10 acts in the tick that begins at t (gbxtools and TMInterface agree on that).
TMInterface's own recordings run 65,535 ms ahead, and give themselves away by a `_FakeIsRaceRunning` that is not on a
tick. An axis is a signed 24-bit number, 65,536 at full deflection, positive to the left; a recording that holds
`_FakeDontInverseAxis` has it the other way round. Facts: gbxtools, the wiki of GBX.NET, TMInterface's documentation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx.reader import Reader
from tmrl_ray.game.inputs import RELEASED, Inputs

TICK_MS: Final = 10
MAX_RACE_MS: Final = 6 * 3600 * 1000
"""A timeline of more ticks than this is refused: no race takes that long."""
PEDAL_THRESHOLD: Final = 19661
"""Deflection at which an analog pedal counts as pressed: 0.3 of the full 65,536 (TMInterface's documentation)."""
FULL: Final = 65536

_CLOCK_START: Final = 100_000
_TMINTERFACE_AHEAD_MS: Final = 0xFFFF
_RUNNING: Final = "_FakeIsRaceRunning"
_NOT_INVERSED: Final = "_FakeDontInverseAxis"
_AXES: Final = frozenset({"Steer", "Gas", "AccelerateReal", "BrakeReal"})
_SIGNED_AXES: Final = frozenset({"Steer", "Gas"})
_ENTRY_BYTES: Final = 9


@dataclass(frozen=True, slots=True)
class ControlEvent:
    """One change of one control."""

    time_ms: int
    """Race time at which the tick begins in which it acts first; a multiple of 10, negative in the countdown."""
    control: str
    """The game's name: Accelerate, Brake, SteerLeft, SteerRight, Steer, Gas, Respawn, Horn, ..."""
    value: int
    """A key: 1 pressed, 0 released. An axis: -65536..65536; Steer: negative is left; Gas: negative is the brake."""


def read_control_events(reader: Reader) -> tuple[ControlEvent, ...]:
    """Read the list of control names and the events that refer to them."""
    names = [reader.name() for _ in range(reader.count(4))]
    count = reader.count(_ENTRY_BYTES)
    reader.u32()
    raw: list[tuple[int, str, int]] = []
    for _ in range(count):
        clock, at, index = reader.u32(), reader.offset, reader.u8()
        if index >= len(names):
            reader.fail(f"control number {index} of {len(names)}", at=at)
        raw.append((clock - _CLOCK_START, names[index], reader.u32()))
    return _events(raw)


def _events(raw: Sequence[tuple[int, str, int]]) -> tuple[ControlEvent, ...]:
    ahead_ms = _TMINTERFACE_AHEAD_MS if any(n == _RUNNING and t % TICK_MS == 5 for t, n, _ in raw) else 0
    sign = 1 if any(name == _NOT_INVERSED for _, name, _ in raw) else -1
    events = []
    for stored_ms, name, bits in raw:
        time_ms = stored_ms - ahead_ms
        late = name == "Respawn" and time_ms % TICK_MS != 0  # a respawn between two ticks acts in the next one
        begins_ms = time_ms // TICK_MS * TICK_MS - (0 if late else TICK_MS)
        if name in _AXES:
            value = ((bits & 0xFFFFFF) ^ 0x800000) - 0x800000
            value = max(-FULL, min(FULL, sign * value if name in _SIGNED_AXES else value))
        else:
            value = int(bits != 0)
        events.append(ControlEvent(begins_ms, name, value))
    return tuple(events)


def inputs_per_tick(events: Iterable[ControlEvent], duration_ms: int) -> tuple[Inputs, ...]:
    """Return what is held in each tick of a race.

    Args:
        events: the changes, in the order of the recording.
        duration_ms: how long the race took.

    Returns:
        Inputs (T,): number i is held in the tick from 10 i to 10 i + 10 ms of race time.

    Raises:
        GbxError: the race is longer than any race is.
    """
    if duration_ms > MAX_RACE_MS:
        raise GbxError(f"a race of {duration_ms} ms: more than {MAX_RACE_MS} are not unrolled into ticks")
    held = _Held()
    timeline: list[Inputs] = []
    present = RELEASED
    for event in sorted(events, key=lambda event: event.time_ms):
        begins = min(max(event.time_ms, 0), duration_ms) // TICK_MS
        timeline.extend([present] * (begins - len(timeline)))
        held.apply(event)
        present = held.inputs()
    timeline.extend([present] * (-(-duration_ms // TICK_MS) - len(timeline)))
    return tuple(timeline)


class _Held:
    """The state of the controls between two events."""

    def __init__(self) -> None:
        self._values: dict[str, int] = {}
        self._steers_by_axis = False

    def apply(self, event: ControlEvent) -> None:
        self._values[event.control] = event.value
        if event.control in ("Steer", "SteerLeft", "SteerRight"):
            self._steers_by_axis = event.control == "Steer"

    def inputs(self) -> Inputs:
        value = self._values.get
        gas = value("Gas", 0)
        return Inputs(
            left=bool(value("SteerLeft")),
            right=bool(value("SteerRight")),
            accelerate=bool(value("Accelerate")) or value("AccelerateReal", 0) >= FULL or gas > PEDAL_THRESHOLD,
            brake=bool(value("Brake")) or value("BrakeReal", 0) >= FULL or gas < -PEDAL_THRESHOLD,
            steer=value("Steer") if self._steers_by_axis else None,
        )
