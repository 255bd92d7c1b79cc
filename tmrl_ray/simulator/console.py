"""The console of TMInterface, as far as a simulated game has something to do.

A client sends lines of text; a line may hold several commands, parted by semicolons. Here they become values that
``instance`` acts on. What only concerns the real game (the window, plugins, its account) is kept as a setting and has
no effect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from tmrl_ray.game.scripts import EVENT_KEYS, HELD_KEYS

CHALLENGE_SUFFIX = ".challenge.gbx"
TRACK_SUFFIXES = (".yaml", ".yml")


@dataclass(frozen=True, slots=True)
class LoadMap:
    """``map PATH``: leave the menus, or the race, for the track ``name``."""

    name: str


@dataclass(frozen=True, slots=True)
class SetCamera:
    """``cam N``."""

    number: int


@dataclass(frozen=True, slots=True)
class SetSpeed:
    """``set speed X``, the game's speed."""

    speed: float


@dataclass(frozen=True, slots=True)
class SetVariable:
    """``set NAME VALUE``: kept, without effect."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class PressKey:
    """``press KEY`` and ``rel KEY``."""

    key: str
    down: bool


@dataclass(frozen=True, slots=True)
class LoadScript:
    """``load FILE``: play the inputs of a script from now on."""

    file: str


@dataclass(frozen=True, slots=True)
class UnloadScript:
    """``unload``."""


@dataclass(frozen=True, slots=True)
class Teleport:
    """``tp X Y Z``."""

    position: tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class EndRace:
    """``finish``."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """A command that means something to the real game and nothing to a simulated one."""

    name: str


@dataclass(frozen=True, slots=True)
class Rejected:
    """Text that is no command, or a command with wrong arguments."""

    text: str
    reason: str


Command = (
    LoadMap
    | SetCamera
    | SetSpeed
    | SetVariable
    | PressKey
    | LoadScript
    | UnloadScript
    | Teleport
    | EndRace
    | Ignored
    | Rejected
)

_CAMERAS = ("1", "2", "3")
_KEYS = (*HELD_KEYS, *EVENT_KEYS)
_IGNORED = frozenset(
    ("toggle_console", "add_trigger", "remove_trigger", "clear_triggers", "replay", "clear", "bind", "unbind", "help")
)


def parse_commands(text: str) -> Iterator[Command]:
    """Yield the commands of a text."""
    for line in text.splitlines():
        for part in _split_outside_quotes(line):
            part = part.replace("\t", " ").strip()
            words = part.split(maxsplit=1)
            if not part.isprintable():
                yield Rejected(part, "it holds control characters")
            elif words:
                yield _parse(words[0].lower(), words[1] if len(words) > 1 else "", part)


def track_name(path: str) -> str:
    """Return the name of the track that a map's path stands for: the file's, without folders and suffix.

    The path of a track file of ours is its own name.
    """
    path = path.replace("\\", "/")
    if path.lower().endswith(TRACK_SUFFIXES):
        return path
    base = path.rsplit("/", 1)[-1]
    return base[: -len(CHALLENGE_SUFFIX)] if base.lower().endswith(CHALLENGE_SUFFIX) else base


def _split_outside_quotes(line: str) -> Iterator[str]:
    start, quoted = 0, False
    for i, letter in enumerate(line):
        if letter == '"':
            quoted = not quoted
        elif letter == ";" and not quoted:
            yield line[start:i]
            start = i + 1
    yield line[start:]


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) >= 2 and text[0] == text[-1] == '"' else text


def _numbers(text: str) -> tuple[float, ...] | None:
    """Return the numbers of a text; None when there is something else in it, or one that is not finite."""
    try:
        values = tuple(float(word) for word in text.replace(",", " ").split())
    except ValueError:
        return None
    return values if all(math.isfinite(value) for value in values) else None


def _parse(name: str, rest: str, text: str) -> Command:
    match name:
        case "map" | "load":
            return _parse_file(name, rest, text)
        case "cam":
            return SetCamera(int(rest)) if rest in _CAMERAS else Rejected(text, "there are the cameras 1, 2 and 3")
        case "set":
            return _parse_set(rest, text)
        case "press" | "rel":
            key = rest.lower()
            return PressKey(key, name == "press") if key in _KEYS else Rejected(text, f"keys are {', '.join(_KEYS)}")
        case "unload":
            return UnloadScript()
        case "finish":
            return EndRace()
        case "tp":
            values = _numbers(rest)
            if values is None or len(values) != 3:
                return Rejected(text, "tp takes three numbers")
            return Teleport((values[0], values[1], values[2]))
        case _ if name in _IGNORED:
            return Ignored(name)
        case _:
            return Rejected(text, "the simulator does not know this command")


def _parse_file(name: str, rest: str, text: str) -> Command:
    path = _unquoted(rest).strip()
    if not path:
        return Rejected(text, f"{name} takes the path of a file")
    return LoadMap(track_name(path)) if name == "map" else LoadScript(path)


def _parse_set(rest: str, text: str) -> Command:
    words = rest.split(maxsplit=1)
    if len(words) != 2:
        return Rejected(text, "set takes a name and a value")
    variable, value = words[0].lower(), _unquoted(words[1].strip())
    if variable != "speed":
        return SetVariable(variable, value)
    numbers = _numbers(value)
    if numbers is None or len(numbers) != 1 or numbers[0] < 0:
        return Rejected(text, "the speed is a number, 0 or more")
    return SetSpeed(numbers[0])
