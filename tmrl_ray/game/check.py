"""Why a game does not answer, or its car does not move: the logic of ``tmrl-ray game check``.

Each step looks at one thing, in the order in which they depend on each other, and says what to do where it fails.
The first failure ends the list: what comes after it could only fail for the same reason. ``check_files`` looks at
the files of a real game, before it runs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tmrl_ray.config.game import GameSettings, Patience
from tmrl_ray.errors import (
    GameError,
    GameGoneError,
    GameHungError,
    GameProtocolError,
    GameUnavailableError,
)
from tmrl_ray.game.client import GameClient
from tmrl_ray.game.connection import Address
from tmrl_ray.game.inputs import RELEASED, Inputs
from tmrl_ray.game.interface import Moment
from tmrl_ray.game.protocol import DEFAULT_TIMEOUT_MS
from tmrl_ray.game.session import SocketGame

LAUNCH_STEPS = 40
"""Decisions of full throttle: 2 s, after which the car does 100 km/h where it can."""
TURN_STEPS = 10
MOVING_M = 2.0
"""Metres after the launch below which the car has not moved: a healthy one is 28 m away."""
TURNED = 0.02
"""Sine of the angle that a car must turn in half a second of steering."""
FLAT_PICTURE_LEVELS = 2.0
"""Standard deviation, in grey levels, below which a picture shows nothing."""
SLOW_FACTOR = 2.0
"""Decisions slower than this many times real time are worth a word."""

_CHECK_PATIENCE = Patience(connect_s=3.0, greeting_s=30.0)
"""Somebody watches: shorter than a collector's, which may find its game still starting."""
_GAS = Inputs(accelerate=True)
_RESTART = "Restart the game, and let no other client connect."
_ADVICE: dict[type[GameError], str] = {
    GameUnavailableError: (
        "Start the game with its plugin: the console must say that it listens on this port. In the real game look for"
        " the plugin in TMInterface's list, and for custom_port; the simulator is started by: tmrl-ray game serve"
    ),
    GameHungError: _RESTART,
    GameGoneError: _RESTART,
    GameProtocolError: "Another program listens on this port, or another plugin, for example of TMInterface 1.x.",
}
_HELLO_SILENT = (
    "It accepts connections and says nothing: it may still be starting (does it wait at the login? the account must"
    " be an online one), or still wait for a client that died: then restart it."
)

_MAP_SILENT = (
    "Look at the game: an error about the map (its name is a path below the Tracks folder), a dialog that waits for a"
    " click, or a login. Loading takes longer on a slow disk: try once more."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckStep:
    """What one step found."""

    name: str
    ok: bool
    found: str
    """What was seen, in a sentence."""
    advice: str = ""
    """What to do; empty when nothing needs to be done."""


class _Failed(Exception):
    """A step found something wrong."""

    def __init__(self, found: str, advice: str) -> None:
        super().__init__(found)
        self.found = found
        self.advice = advice


def check_game(
    address: Address, map_name: str, *, patience: Patience | None = None, settings: GameSettings | None = None
) -> Iterator[CheckStep]:
    """Yield step after step of trying out a game, up to the first that fails. The game is left running.

    Args:
        address: where it should listen.
        map_name: a map to drive on whose road goes on straight for 40 m behind the start.
        patience: how long to wait for it.
        settings: how it will be played; with pictures, which are looked at too.
    """
    run = _Check(address, map_name, patience or _CHECK_PATIENCE, settings or GameSettings())
    try:
        for name, step in run.steps():
            result = _take(name, step)
            yield result
            if not result.ok:
                return
    finally:
        run.close()


def _take(name: str, step: Callable[[], str]) -> CheckStep:
    try:
        return CheckStep(name=name, ok=True, found=step())
    except _Failed as failure:
        return CheckStep(name=name, ok=False, found=failure.found, advice=failure.advice)
    except GameError as error:
        return CheckStep(name=name, ok=False, found=error.args[0], advice=_advice(error))


def _advice(error: GameError) -> str:
    """Return the hint of an error, or ours where there is none or it leads back here."""
    if error.hint is not None and "game check" not in error.hint:
        return error.hint
    return next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), _RESTART)


class _Check:
    """The steps and what they hand on to each other."""

    def __init__(self, address: Address, map_name: str, patience: Patience, settings: GameSettings) -> None:
        self._address = address
        self._map = map_name
        self._patience = patience
        self._settings = settings
        self._client: GameClient | None = None
        self._session: SocketGame | None = None
        self._first: Moment | None = None
        self._moments: list[Moment] = []
        self._seconds = 0.0

    def steps(self) -> Iterator[tuple[str, Callable[[], str]]]:
        """Yield the steps in their order."""
        yield "port", self.port
        yield "hello", self.hello
        yield "plugin", self.plugin
        yield "menus", self.menus
        yield "map", self.map
        yield "race", self.race
        yield "run steps", self.run_steps
        yield "inputs", self.inputs
        yield "car moves", self.moves
        yield "steering", self.steering
        yield "rewind", self.rewind
        if self._settings.frame_size is not None:
            yield "pictures", self.pictures
            yield "row order", self.row_order
            yield "camera", self.camera
        yield "patience", self.waits
        yield "rate", self.rate

    def close(self) -> None:
        """Leave the game."""
        if self._session is not None:
            self._session.close()
        elif self._client is not None:
            self._client.close()

    @property
    def game(self) -> SocketGame:
        assert self._session is not None
        return self._session

    @property
    def client(self) -> GameClient:
        assert self._client is not None
        return self._client

    def port(self) -> str:
        try:
            self._client = GameClient.connect(self._address, self._patience)
        except GameUnavailableError as error:
            raise _Failed(error.args[0], _ADVICE[GameUnavailableError]) from error
        return f"something listens on {self._address}"

    def hello(self) -> str:
        try:
            self._session = SocketGame(self.client, self._settings)
        except GameHungError as error:
            raise _Failed(error.args[0], _HELLO_SILENT) from error
        return "it speaks the game's protocol"

    def plugin(self) -> str:
        if self.client.knows_analog_steer():
            return "tmrl_ray's plugin or its simulator, with analog steering"
        return "the public plugin: everything but analog steering"

    def menus(self) -> str:
        return "the game is in its menus" if self.client.is_in_menus() else "the game is in a race"

    def map(self) -> str:
        began = time.monotonic()
        try:
            self.game.load_map(self._map)
        except GameHungError as error:
            raise _Failed(error.args[0], _MAP_SILENT) from error
        return f"{self._map} loaded in {time.monotonic() - began:.1f} s"

    def race(self) -> str:
        self._first = self.game.start_race()
        state = self._first.state
        return f"at the start line, {self._first.checkpoints_total} checkpoints, a state of {len(state)} bytes"

    def run_steps(self) -> str:
        began = time.monotonic()
        self._moments = [self.game.step(_GAS) for _ in range(LAUNCH_STEPS)]
        self._seconds = time.monotonic() - began
        return f"a decision every {self._settings.decision_period_ms} ms of the race"

    def inputs(self) -> str:
        state = self._moments[-1].state
        if not state.input_accelerate or state.input_brake:
            raise _Failed(
                "the accelerator was pressed, the game's state does not show it",
                "A loaded script may press other keys (unload it), or another program drives: close it. If the game"
                " has the focus, take it away: the keyboard overrides us.",
            )
        return "the accelerator arrives"

    def moves(self) -> str:
        assert self._first is not None
        last = self._moments[-1].state
        metres = float(np.linalg.norm(last.position - self._first.state.position))
        if metres < MOVING_M:
            raise _Failed(
                f"after {self._moments[-1].race_time_ms / 1000:g} s of full throttle the car is {metres:.2f} m away",
                "Bind accelerate, brake, left and right to keys in the game's profile, make the window active once,"
                " and see that no dialog or pause menu is open. Does it move when you press the key?",
            )
        return f"{metres:.0f} m in {self._moments[-1].race_time_ms / 1000:g} s, {last.display_speed} km/h"

    def steering(self) -> str:
        before = self._moments[-1].state.rotation.copy()
        for _ in range(TURN_STEPS):
            moment = self.game.step(_GAS._replace(left=True))
        # Columns of a rotation: left, up, forward.
        turned = float(moment.state.rotation[:, 2] @ before[:, 0])
        if turned < TURNED:
            wrong_way = turned < -TURNED
            raise _Failed(
                "the car turned right when told to turn left" if wrong_way else "the car did not turn left",
                "Left and right are bound the wrong way round: see the game's profile, Inputs."
                if wrong_way
                else "Bind left and right to keys in the game's profile, Inputs.",
            )
        return f"left is left, {np.degrees(np.arcsin(min(turned, 1.0))):.0f} degrees in half a second"

    def rewind(self) -> str:
        assert self._first is not None
        again = self.game.start_race()
        if again.race_time_ms != self._first.race_time_ms or not np.array_equal(
            again.state.position, self._first.state.position
        ):
            raise _Failed(
                f"a rewind to the start led to {again.race_time_ms} ms, {again.state.position.round(2)}",
                "TMInterface 2.1 is needed; an open dialog of the game may be in the way.",
            )
        return "a rewind leads back to the start line"

    def pictures(self) -> str:
        frame = self._moments[-1].frame
        assert frame is not None
        if float(frame.std()) < FLAT_PICTURE_LEVELS:
            raise _Failed(
                "the picture has one colour",
                "The game must not be minimised nor run with its drawing off: set draw_game true",
            )
        return f"{frame.shape[1]} x {frame.shape[0]} pixels, values {frame.min()} to {frame.max()}"

    def row_order(self) -> str:
        """Tell below from above by movement: near the car the ground flies past, the sky hardly changes."""
        frames = [m.frame.astype(np.float64) for m in self._moments[-10:] if m.frame is not None]
        change = np.mean([np.abs(b - a) for a, b in zip(frames, frames[1:], strict=False)], axis=0)
        third = len(change) // 3
        above, below = float(change[:third].mean()), float(change[-third:].mean())
        if above > below:
            raise _Failed(
                f"the upper third of the picture moves more ({above:.1f} levels) than the lower ({below:.1f})",
                "The pictures come with the bottom row first, or the camera looks backwards: report it with a picture.",
            )
        return "the top row comes first"

    def camera(self) -> str:
        chosen = self._settings.camera
        other = 1 if chosen != 1 else 3
        here = self.game.start_race().frame
        self.game.execute(f"cam {other}")
        there = self.game.start_race().frame
        self.game.execute(f"cam {chosen}")
        if here is None or there is None or np.array_equal(here, there):
            raise _Failed(
                f"cameras {chosen} and {other} show the same picture",
                "TMInterface must have disable_forced_camera, and the map no camera of its own.",
            )
        return f"camera {chosen}"

    def waits(self) -> str:
        pause_s = DEFAULT_TIMEOUT_MS / 1000 + 0.5
        self.game.start_race()
        time.sleep(pause_s)
        try:
            self.game.step(RELEASED)
        except GameGoneError as error:
            raise _Failed(
                f"the game hung up when we thought for {pause_s:g} s",
                "It does not obey SET_TIMEOUT: install the plugin that comes with tmrl_ray.",
            ) from error
        return f"it waits for us for {pause_s:g} s"

    def rate(self) -> str:
        per_second = len(self._moments) / max(self._seconds, 1e-9)
        factor = per_second * self._settings.decision_period_ms / 1000
        if factor < SLOW_FACTOR:
            raise _Failed(
                f"{per_second:.0f} decisions/s, {factor:.1f} times real time",
                "Lowest resolution and quality, windowed, dxvk under Wine; fewer games at a time.",
            )
        return f"{per_second:.0f} decisions/s, {factor:.0f} times real time"
