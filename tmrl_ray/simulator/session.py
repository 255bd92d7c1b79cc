"""The server's side of the protocol for one client: when the game speaks, and what it does with what it hears.

A turn of the game is a tick, with all that belongs to it::

    RUN_STEP call, if one is due at this time         inputs, rewinds, requests come in here; not while the speed is 0
    the picture, if one was asked for                 again and again while the speed is 0
    the tick                                          not while the speed is 0
    CHECKPOINT and LAP calls for the gates passed
    the picture, if one was asked for in these calls

A client's message is heard only while a call waits for its answer. After a rewind the present time counts as
announced: the next run step is a later one. After a restart the first run step is that of the countdown's beginning.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.protocol import (
    DEFAULT_TIMEOUT_MS,
    INT32,
    LENGTH_PREFIXED,
    MAX_FRAME_SIDE,
    MAX_STEER,
    PAYLOADS,
    STEER_PROBE,
    SYNC_CALLS,
    MessageType,
    encode,
)
from tmrl_ray.simulator.connection import HALF_MESSAGE_S, ClientLeft, ClientTalksNonsense, Connection
from tmrl_ray.simulator.faults import Fault, FaultKind, GameExit, garbage, without_number
from tmrl_ray.simulator.instance import SimulatedGame
from tmrl_ray.simulator.race import Race

log = logging.getLogger(__name__)

TIMEOUT_CEILING_MS = 3_600_000
"""A client may ask for a week (public clients do, between races); after an hour of silence we take it for dead."""
MAX_STEP_PERIOD_MS = 60_000
"""So that a client is never without a call for longer than a minute of the race."""
REFUSAL_PAUSE_S = 1.0
"""Before each greeting but the first that follows a map which could not be loaded: public clients ask for it again at
once, and for ever."""
MAX_UNKNOWN_LOGGED = 20
"""Unknown messages that are logged for one client: random bytes make thousands of them."""


class Session:
    """A conversation with one client, from the greeting to its end.

    Args:
        connection: the client.
        game: the game that it drives.
        faults: what is to go wrong; each is taken from the list as it strikes.
        timeout_ceiling_ms: the longest silence that SET_TIMEOUT can ask for.
    """

    def __init__(
        self,
        connection: Connection,
        game: SimulatedGame,
        *,
        faults: list[Fault],
        timeout_ceiling_ms: int = TIMEOUT_CEILING_MS,
    ) -> None:
        self._connection = connection
        self._game = game
        self._faults = faults
        self._timeout_ceiling_ms = timeout_ceiling_ms
        self._timeout_s = DEFAULT_TIMEOUT_MS / 1000
        self._frame_size: tuple[int, int] | None = None
        self._announced = False
        self._delay_s = 0.0
        self._unknown = 0
        self._refusals = 0
        self._handlers = self._bind_handlers()

    def run(self) -> None:
        """Play the game with this client.

        Raises:
            SessionEnded: always, when it is over.
            GameExit: the fault ``exit`` struck.
        """
        self._call(MessageType.ON_CONNECT_SYNC)
        while True:
            self._turn()

    # The game's turn.

    def _turn(self) -> None:
        game = self._game
        if game.map_refused:
            self._tell_refusal()
            return
        race = game.race
        if race is None:
            self._show_menus()
            return
        self._refusals = 0
        if game.began_anew:
            game.began_anew = self._announced = False
        if game.speed != 0 and not self._announced and race.run_step_due(game.step_period_ms):
            self._announced = True
            self._strike(race.race_time_ms)
            self._call(MessageType.RUN_STEP_SYNC, race.race_time_ms)
            if self._race_changed(race):
                return
        if self._frame_size is not None:
            self._show_picture(*self._frame_size)
            if self._race_changed(race):
                return
        elif game.speed == 0:
            log.info("the client paused the game without asking for a picture: it stands still until the client leaves")
            self._connection.wait_for_end()
        if game.speed != 0 and (self._announced or not race.run_step_due(game.step_period_ms)):
            self._play_tick(race)

    def _tell_refusal(self) -> None:
        """Greet again, in the menus; with a pause for a client that asks for such maps again and again."""
        self._game.map_refused = False
        if self._refusals:
            self._connection.pause(REFUSAL_PAUSE_S)
        self._refusals += 1
        self._call(MessageType.ON_CONNECT_SYNC)

    def _race_changed(self, race: Race) -> bool:
        return self._game.began_anew or self._game.map_refused or self._game.race is not race

    def _show_menus(self) -> None:
        if self._frame_size is not None:
            self._show_picture(*self._frame_size)
            return
        log.info("the client left the game in its menus, where it hears nothing")
        self._connection.wait_for_end()

    def _play_tick(self, race: Race) -> None:
        passed_before, laps_before = race.gates_passed, race.laps_completed
        race.advance(self._game.step_period_ms)
        self._announced = False
        total = race.gates_total
        passed, laps = race.gates_passed, race.laps_completed
        for current in range(passed_before + 1, passed + 1):
            self._call(MessageType.CHECKPOINT_COUNT_CHANGED_SYNC, current, total)
            if self._race_changed(race):
                return
        if race.track.laps > 1 and laps > laps_before:
            self._call(MessageType.LAP_COUNT_CHANGED_SYNC, laps, race.track.laps)
        if passed > passed_before and self._frame_size is not None and not self._race_changed(race):
            self._show_picture(*self._frame_size)

    def _show_picture(self, width: int, height: int) -> None:
        self._frame_size = None
        picture = self._game.picture(width, height)
        if self._take_fault(FaultKind.SHORT_FRAME):
            self._connection.send(memoryview(picture)[: len(picture) // 2])
            self._connection.fall_silent()
        self._send_call(MessageType.REQUESTED_FRAME_SYNC, picture)

    # Calls.

    def _call(self, kind: MessageType, *values: int) -> None:
        self._send_call(kind, encode(kind, *values))

    def _send_call(self, kind: MessageType, data: bytes | bytearray) -> None:
        if self._delay_s:
            time.sleep(self._delay_s)
        self._connection.send(data)
        began = time.monotonic()
        while (word := self._read_id(began)) != kind:
            heard = time.monotonic()
            self._hear(word)
            began += time.monotonic() - heard  # the client's silence counts, not our work

    def _read_id(self, began: float) -> int:
        number: int = INT32.unpack(self._connection.read(INT32.size, began + self._timeout_s))[0]
        return number

    def _hear(self, word: int) -> None:
        handler = self._handlers.get(word)
        if handler is not None:
            handler()
            return
        # What follows may be its payload or the next message; like the plugin, read on.
        self._unknown += 1
        if self._unknown <= MAX_UNKNOWN_LOGGED:
            what = "answer to a call that is not open" if word in SYNC_CALLS else "unknown message"
            log.warning("%s: %d", what, word)

    # What is heard.

    def _bind_handlers(self) -> Mapping[int, Callable[[], None]]:
        plain: dict[MessageType, Callable[..., None]] = {
            MessageType.SET_SPEED: self._set_speed,
            MessageType.REWIND_TO_CURRENT_STATE: lambda: None,
            MessageType.GET_SIMULATION_STATE: self._reply_state,
            MessageType.SET_INPUT_STATE: self._set_inputs,
            MessageType.GIVE_UP: self._game.give_up,
            MessageType.PREVENT_SIMULATION_FINISH: self._prevent_finish,
            MessageType.SHUTDOWN: self._shut_down,
            MessageType.SET_TIMEOUT: self._set_timeout,
            MessageType.RACE_FINISHED: self._reply_finished,
            MessageType.REQUEST_FRAME: self._request_frame,
            MessageType.RESET_CAMERA: lambda: None,  # the camera is a function of the car's state
            MessageType.SET_ON_STEP_PERIOD: self._set_period,
            MessageType.UNREQUEST_FRAME: self._forget_frame,
            MessageType.TOGGLE_INTERFACE: self._toggle_interface,
            MessageType.IS_IN_MENUS: lambda: self._reply_int(self._game.race is None),
            MessageType.GET_INPUTS: lambda: self._reply_block(self._game.inputs_script()),
            MessageType.SET_ANALOG_STEER: self._steer,
        }
        sized: dict[MessageType, Callable[[bytes], None]] = {
            MessageType.REWIND_TO_STATE: self._rewind,
            MessageType.EXECUTE_COMMAND: self._execute,
        }
        handlers: dict[int, Callable[[], None]] = {}
        for kind, action in plain.items():
            handlers[kind] = partial(self._with_payload, kind, action) if PAYLOADS[kind].size else action
        for kind, taker in sized.items():
            handlers[kind] = partial(self._with_block, kind, taker)
        return handlers

    def _read_payload(self, length: int) -> memoryview:
        return self._connection.read(length, time.monotonic() + HALF_MESSAGE_S)

    def _with_payload(self, kind: MessageType, action: Callable[..., None]) -> None:
        payload = PAYLOADS[kind]
        values: tuple[Any, ...] = payload.unpack(self._read_payload(payload.size))
        action(*values)

    def _with_block(self, kind: MessageType, action: Callable[[bytes], None]) -> None:
        length: int = INT32.unpack(self._read_payload(INT32.size))[0]
        if not 0 <= length <= LENGTH_PREFIXED[kind]:
            raise ClientTalksNonsense(f"{kind.name} of {length} bytes; 0 to {LENGTH_PREFIXED[kind]} are possible")
        action(bytes(self._read_payload(length)))

    def _reply_int(self, value: int) -> None:
        self._connection.send(INT32.pack(value))

    def _reply_block(self, data: bytes) -> None:
        self._connection.send(INT32.pack(len(data)) + data)

    def _reply_state(self) -> None:
        state = self._game.state()
        self._reply_block(without_number(state) if self._take_fault(FaultKind.NO_NUMBER) else state)

    def _set_speed(self, speed: float) -> None:
        if not math.isfinite(speed) or speed < 0:
            log.warning("speed %s ignored: it must be 0 or more", speed)
            return
        self._game.speed = speed

    def _set_inputs(self, left: int, right: int, accelerate: int, brake: int) -> None:
        self._game.press(Inputs(left > 0, right > 0, accelerate > 0, brake > 0))

    def _steer(self, steer: int) -> None:
        if steer == STEER_PROBE:
            self._reply_int(MessageType.SET_ANALOG_STEER)
        elif -MAX_STEER <= steer <= MAX_STEER and self._game.race is not None:
            self._game.press(self._game.race.inputs._replace(steer=steer))

    def _rewind(self, state: bytes) -> None:
        if self._game.rewind(state):
            self._announced = True
            self._game.began_anew = False

    def _prevent_finish(self) -> None:
        if self._game.race is not None:
            self._game.race.prevent_finish()

    def _shut_down(self) -> None:
        raise ClientLeft("the client said goodbye")

    def _set_timeout(self, timeout_ms: int) -> None:
        self._timeout_s = min(timeout_ms, self._timeout_ceiling_ms) / 1000

    def _reply_finished(self) -> None:
        race = self._game.race
        self._reply_int(race is not None and (race.finished or race.tick_time_ms > race.race_time_ms))

    def _request_frame(self, width: int, height: int) -> None:
        if not (0 < width <= MAX_FRAME_SIDE and 0 < height <= MAX_FRAME_SIDE):
            raise ClientTalksNonsense(f"a picture of {width} x {height}; sides of 1 to {MAX_FRAME_SIDE} are possible")
        self._frame_size = (width, height)

    def _forget_frame(self) -> None:
        self._frame_size = None

    def _set_period(self, period_ms: int) -> None:
        if not 0 < period_ms <= MAX_STEP_PERIOD_MS:
            log.warning("run step period of %d ms ignored: 1 to %d are possible", period_ms, MAX_STEP_PERIOD_MS)
            return
        self._game.step_period_ms = period_ms

    def _toggle_interface(self, visible: int) -> None:
        self._game.interface_visible = bool(visible)

    def _execute(self, text: bytes) -> None:
        self._game.execute(text.decode("utf-8", errors="replace"))

    # Faults.

    def _take_fault(self, kind: FaultKind) -> bool:
        """Tell whether this fault strikes now, and take it from the list."""
        race = self._game.race
        for fault in self._faults:
            if fault.kind is kind and race is not None and race.race_time_ms >= fault.at_race_ms:
                self._faults.remove(fault)
                return True
        return False

    def _strike(self, race_time_ms: int) -> None:
        """Let the faults strike that are due at a run step."""
        for fault in [f for f in self._faults if f.kind is FaultKind.SLOW and race_time_ms >= f.at_race_ms]:
            self._delay_s = fault.delay_ms / 1000
        if self._take_fault(FaultKind.HANG):
            self._connection.fall_silent()
        if self._take_fault(FaultKind.EXIT):
            raise GameExit(f"the fault exit struck at {race_time_ms} ms")
        if self._take_fault(FaultKind.GARBAGE):
            self._connection.send(garbage())
