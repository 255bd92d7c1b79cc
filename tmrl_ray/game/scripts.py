"""TMInterface's input scripts, read into what is held in each tick and written back.

A script is lines of ``TIME[-TIME] ACTION VALUE``, for example ``0.00-12.50 press up`` or ``4890 steer -30000``; the
syntax is documented on donadigo.com/tminterface/script-syntax. A time is seconds with a point (``9.43``), minutes and
seconds (``1:09.43``) or whole milliseconds that end in 0. Statements are parted by new lines or ``;``, and ``#``
starts a comment. The order of statements counts only between those at the same time; a time range is the same as two
statements, the second of which releases the key or lets the wheel go.

An input at time T acts in the tick from T to T + 10 ms, like inputs that a client sets in the run step of T.

Where a script uses both the keys and ``steer``, the later statement steers. The game's own rule is not documented;
scripts that we write use one of the two in a race.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from tmrl_ray.errors import ScriptError
from tmrl_ray.game.inputs import RELEASED, Inputs
from tmrl_ray.game.interface import TICK_MS
from tmrl_ray.game.protocol import MAX_STEER

HELD_KEYS = {"up": "accelerate", "down": "brake", "left": "left", "right": "right"}
"""The keys that are held, and the fields of ``Inputs`` that they are."""
EVENT_KEYS = ("enter", "delete", "horn")
"""The keys of which only the press counts: respawn, restart, horn."""
GAS_THRESHOLD = 19661
"""From this much on, analog gas is the brake, and from its negative the accelerator (TMInterface's documentation)."""

_TIME = re.compile(r"(?:(?:(?P<hours>\d+):)?(?P<minutes>\d+):)?(?P<whole>\d+)(?:\.(?P<fraction>\d{1,3}))?\Z")
_RANGE = re.compile(r"(?P<start>[\d:.]+)(?:-(?P<end>[\d:.]+))?\Z")
# fmt: off
_CONSOLE = frozenset((
    "add_trigger", "bf_add_trigger", "bf_remove_trigger", "bf_triggers", "bind", "cam", "clear", "dump_inputs",
    "dump_states", "finish", "help", "load", "load_infinity", "load_state", "map", "open_scripts_folder",
    "open_stdout", "quit", "recover_inputs", "remove_trigger", "replay", "save_state", "set", "sleep", "speed",
    "toggle_console", "toggle_editor", "toggle_info", "toggle_inputs", "toggle_speed", "tp", "triggers", "unbind",
    "unload", "vars", "warp",
))
# fmt: on
_INPUT_ACTIONS = ("press", "rel", "steer", "gas")


class KeyPress(NamedTuple):
    """A press of one of ``EVENT_KEYS``."""

    time_ms: int
    key: str


class Command(NamedTuple):
    """A console command in a script, at a time of the race or, when that is None, when the script is loaded."""

    time_ms: int | None
    text: str


@dataclass(frozen=True, slots=True)
class Timeline:
    """The inputs of a race over time.

    Equal timelines hold the same in every tick.
    """

    changes: tuple[tuple[int, Inputs], ...] = ()
    """(race time in ms, inputs from then on), by rising time, each other than the one before; nothing held before."""
    presses: tuple[KeyPress, ...] = ()
    """Respawns, restarts and the horn, by rising time."""
    commands: tuple[Command, ...] = ()
    """What else the script does, in its order."""

    @classmethod
    def of(cls, held: Iterable[Inputs], period_ms: int = TICK_MS, start_ms: int = 0) -> Timeline:
        """Return the timeline of inputs that were held for ``period_ms`` each, one after the other.

        Args:
            held: inputs per tick, or per decision of a race.
            period_ms: how long each was held, a multiple of 10.
            start_ms: race time at which the first began, a multiple of 10 and not negative.
        """
        if period_ms <= 0 or period_ms % TICK_MS or start_ms < 0 or start_ms % TICK_MS:
            raise ScriptError(
                f"inputs every {period_ms} ms from {start_ms} ms: both are multiples of {TICK_MS}, from the start on"
            )
        return cls(_merge((start_ms + i * period_ms, inputs) for i, inputs in enumerate(held)))

    @property
    def end_ms(self) -> int:
        """Race time from which on nothing changes."""
        return max([time_ms for time_ms, _ in self.changes[-1:]] + [press.time_ms for press in self.presses], default=0)

    def at(self, time_ms: int) -> Inputs:
        """Return what is held in the tick that starts at ``time_ms``."""
        index = bisect_right(self.changes, time_ms, key=lambda change: change[0])
        return self.changes[index - 1][1] if index else RELEASED

    def ticks(self, end_ms: int, start_ms: int = 0) -> list[Inputs]:
        """Return what is held in each tick from ``start_ms`` up to ``end_ms``, which is not included."""
        return [self.at(time_ms) for time_ms in range(start_ms, end_ms, TICK_MS)]


def _merge(held: Iterable[tuple[int, Inputs]]) -> tuple[tuple[int, Inputs], ...]:
    changes: list[tuple[int, Inputs]] = []
    last = RELEASED
    for time_ms, inputs in held:
        if inputs != last:
            changes.append((time_ms, inputs))
            last = inputs
    return tuple(changes)


class _Statement(NamedTuple):
    """One input at one time: what is left of a script's line once a range is taken apart."""

    time_ms: int
    action: str
    value: str | int


class _Line:
    """A line of a script being read; knows where it stands, for errors."""

    def __init__(self, number: int, text: str) -> None:
        self.number = number
        self.text = text.strip()

    def wrong(self, why: str, hint: str | None = None) -> ScriptError:
        return ScriptError(f"line {self.number}, {self.text!r}: {why}", hint=hint)

    def time(self, text: str) -> int:
        """Return a time in ms; exact, without floating point."""
        match = _TIME.match(text)
        if match is None:
            raise self.wrong(
                f"{text!r} is no time", "A time looks like 9.43 (seconds), 1:09.43 or 9430 (milliseconds)."
            )
        whole, fraction = int(match["whole"]), match["fraction"]
        if fraction is None and match["minutes"] is None:
            time_ms = whole
        else:
            seconds = int(match["hours"] or 0) * 3600 + int(match["minutes"] or 0) * 60 + whole
            time_ms = seconds * 1000 + int((fraction or "0").ljust(3, "0"))
        if time_ms % TICK_MS:
            raise self.wrong(
                f"{text!r} is not on a tick", "Ticks are 10 ms: milliseconds end in 0, seconds in hundredths."
            )
        return time_ms

    def integer(self, text: str, what: str) -> int:
        try:
            value = int(text)
        except ValueError as error:
            raise self.wrong(f"{what} is a whole number, not {text!r}") from error
        if not -MAX_STEER <= value <= MAX_STEER:
            raise self.wrong(f"{what} is {value}, beyond {-MAX_STEER} to {MAX_STEER}", "No device can send that.")
        return value


def parse_script(text: str) -> Timeline:
    """Return the timeline of a script.

    Raises:
        ScriptError: a statement is none; with the line's number and text.
    """
    statements: list[_Statement] = []
    commands: list[Command] = []
    for number, line_text in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = _Line(number, line_text)
        for statement in _split(line_text):
            _read(line, statement.split(), statements, commands)
    statements.sort(key=lambda statement: statement.time_ms)  # stable: at one time, the order of the lines
    presses = tuple(
        KeyPress(s.time_ms, str(s.value)) for s in statements if s.action == "press" and s.value in EVENT_KEYS
    )
    return Timeline(_play(statements), presses, tuple(commands))


def read_script(path: Path) -> Timeline:
    """Return the timeline of the script in a file.

    Raises:
        ScriptError: the file cannot be read, is no text, or holds what is no statement.
    """
    try:
        return parse_script(path.read_text(encoding="utf-8"))
    except UnicodeDecodeError as error:
        raise ScriptError(f"{path}: no script: not UTF-8 text") from error
    except OSError as error:
        raise ScriptError(f"{path}: cannot be read: {error.strerror}") from error
    except ScriptError as error:
        raise ScriptError(f"{path}: {error.args[0]}", hint=error.hint) from error


def _split(line: str) -> list[str]:
    """Return the statements of a line without its comment. What ``bind`` binds may hold semicolons."""
    code = line.split("#", 1)[0].strip()
    return [code] if code.split(None, 1)[:1] == ["bind"] else code.split(";")


def _read(line: _Line, words: list[str], statements: list[_Statement], commands: list[Command]) -> None:
    if not words:
        return
    if not words[0][0].isdigit():
        if words[0] not in _CONSOLE and words[0] not in _INPUT_ACTIONS:
            raise line.wrong(f"no command {words[0]!r}", "An input starts with a time, like: 2.50 press up")
        commands.append(Command(None, " ".join(words)))
        return
    match = _RANGE.match(words[0])
    if match is None:
        raise line.wrong(f"{words[0]!r} is no time", "A time looks like 9.43, a range of times like 9.43-10.20.")
    start_ms = line.time(match["start"])
    end_ms = None if match["end"] is None else line.time(match["end"])
    if end_ms is not None and end_ms < start_ms:
        raise line.wrong("the range ends before it starts")
    if words[1:2] and words[1] in _CONSOLE:
        if end_ms is not None:
            raise line.wrong("a command has one time")
        commands.append(Command(start_ms, " ".join(words[1:])))
        return
    if len(words) != 3:
        raise line.wrong("an input is a time, an action and one value", "For example: 2.50 press up")
    statements.extend(_inputs(line, start_ms, end_ms, words[1], words[2]))


def _inputs(line: _Line, start_ms: int, end_ms: int | None, action: str, value: str) -> list[_Statement]:
    if action in ("press", "rel"):
        if value not in HELD_KEYS and value not in EVENT_KEYS:
            raise line.wrong(f"no key {value!r}", f"The keys are {', '.join((*HELD_KEYS, *EVENT_KEYS))}.")
        if action == "rel" and end_ms is not None:
            raise line.wrong("a release has one time")
        ends: list[_Statement] = [] if end_ms is None else [_Statement(end_ms, "rel", value)]
        return [_Statement(start_ms, action, value), *ends]
    if action in ("steer", "gas"):
        ends = [] if end_ms is None else [_Statement(end_ms, action, 0)]
        return [_Statement(start_ms, action, line.integer(value, action)), *ends]
    raise line.wrong(f"no action {action!r}", "The actions are press, rel, steer and gas.")


def _play(statements: Sequence[_Statement]) -> tuple[tuple[int, Inputs], ...]:
    """Return the changes that statements, sorted by time, amount to."""
    after: dict[int, Inputs] = {}
    keys, gas = RELEASED, 0
    for time_ms, action, value in statements:
        if action == "steer":
            keys = keys._replace(steer=int(value))
        elif action == "gas":
            gas = int(value)
        elif value in HELD_KEYS:
            keys = keys._replace(**{HELD_KEYS[str(value)]: action == "press"})
            if value in ("left", "right"):
                keys = keys._replace(steer=None)
        after[time_ms] = keys._replace(
            accelerate=keys.accelerate or gas <= -GAS_THRESHOLD, brake=keys.brake or gas >= GAS_THRESHOLD
        )
    return _merge(after.items())


def format_script(timeline: Timeline) -> str:
    """Return a script that reads back to ``timeline``: by rising time, each press of a key with its end on one line.

    Raises:
        ScriptError: something is at a time that no script can hold.
    """
    lines = [(-1, 0, text) for time_ms, text in timeline.commands if time_ms is None]
    lines += [(time_ms, 0, f"{_seconds(time_ms)} {text}") for time_ms, text in timeline.commands if time_ms is not None]
    lines += [(time_ms, 1, f"{_seconds(time_ms)} press {key}") for time_ms, key in timeline.presses]
    for key, field in HELD_KEYS.items():
        lines += [(start, 2, text) for start, text in _ranges(timeline, key, field)]
    lines += [(time_ms, rank, f"{_seconds(time_ms)} {text}") for time_ms, rank, text in _steering(timeline)]
    lines.sort(key=lambda line: line[:2])
    return "".join(f"{text}\n" for _, _, text in lines)


def _ranges(timeline: Timeline, key: str, field: str) -> Iterable[tuple[int, str]]:
    start_ms: int | None = None
    for time_ms, inputs in timeline.changes:
        held = getattr(inputs, field)
        if held and start_ms is None:
            start_ms = time_ms
        elif not held and start_ms is not None:
            yield start_ms, f"{_seconds(start_ms)}-{_seconds(time_ms)} press {key}"
            start_ms = None
    if start_ms is not None:
        yield start_ms, f"{_seconds(start_ms)} press {key}"


def _steering(timeline: Timeline) -> Iterable[tuple[int, int, str]]:
    """Yield the ``steer`` statements, and those that give the wheel back to the keys where no key changes."""
    before = RELEASED
    for time_ms, inputs in timeline.changes:
        keys_change = (inputs.left, inputs.right) != (before.left, before.right)
        if inputs.steer is not None:
            if keys_change or inputs.steer != before.steer:
                yield time_ms, 3, f"steer {inputs.steer}"
        elif before.steer is not None and not keys_change:
            yield time_ms, 2, f"{'press' if inputs.left else 'rel'} left"
        before = inputs


def _seconds(time_ms: int) -> str:
    if time_ms < 0 or time_ms % TICK_MS:
        raise ScriptError(f"a script cannot hold an input at {time_ms} ms: times start at 0 and are whole ticks")
    return f"{time_ms // 1000}.{time_ms % 1000 // TICK_MS:02d}"
