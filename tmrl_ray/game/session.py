"""Races over a connection to a game: the order of messages that makes decisions of calls.

:class:`SocketGame` is the :class:`~tmrl_ray.game.interface.Game` of a game behind a socket: the real one with the
public plugin or ours, or ``tmrl-ray game serve``. It does what the public clients do, in their order::

    hello        SET_TIMEOUT, SET_SPEED 1, SET_ON_STEP_PERIOD, set ..., IS_IN_MENUS, map NAME, answer
    first race   GIVE_UP; the state at race time 0 is kept
    other races  REWIND_TO_STATE (start), in a run step
    decision     in a run step: GET_STATE, REWIND_CURRENT, SET_SPEED 0, REQUEST_FRAME, answer
                 in the picture: SET_INPUT, SET_SPEED, answer       (without pictures: GET_STATE, SET_INPUT, answer)
    finish       in the checkpoint call: GET_STATE, REWIND_TO_STATE (the same without the finish), so that the game
                 does not show its dialog

Between races the game stands still in an open call, with a time-out of a week.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.game import Patience
from tmrl_ray.errors import (
    GameGoneError,
    GameHungError,
    GameProtocolError,
    GameRefusedError,
    StateError,
)
from tmrl_ray.game.client import (
    Call,
    CheckpointCountChanged,
    Connected,
    Frame,
    GameClient,
    RunStep,
)
from tmrl_ray.game.connection import Address, Deadline, always
from tmrl_ray.game.frames import bgra_to_grey
from tmrl_ray.game.greeting import PARKED_TIMEOUT_MS, greet, map_command, set_scene, usable
from tmrl_ray.game.inputs import RELEASED, Inputs
from tmrl_ray.game.interface import GameSettings, Moment
from tmrl_ray.game.protocol import MessageType
from tmrl_ray.game.sim_state import SimState

RACE_TIMEOUT_MS = 10_100
"""How long the game waits for us in a race (Linesight's figure: a little more than ten seconds for a decision)."""


class SocketGame:
    """A game behind a socket; see :class:`~tmrl_ray.game.interface.Game` for the loop in which it is used.

    Args:
        client: a fresh connection; it belongs to the game from now on.
        settings: how the game is played.
        player: the name of the player's account that a real game logs in with; None leaves that to the game.
        on_close: called once by ``close``, after the connection is closed; ends a process that was started for us.

    Raises:
        GameLostError: the game did not say hello.
    """

    def __init__(
        self,
        client: GameClient,
        settings: GameSettings | None = None,
        *,
        player: str | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self.settings = settings or GameSettings()
        self._client = client
        self._on_close = on_close
        self._map: str | None = None
        self._starts: dict[str, bytes] = {}
        self._racing = False
        self._knows_analog_steer: bool | None = None
        self._speed: float | None = None
        self._clock_ms = greet(client, self.settings, player)

    @classmethod
    def connect(
        cls,
        address: Address,
        settings: GameSettings | None = None,
        *,
        patience: Patience | None = None,
        player: str | None = None,
        still_running: Callable[[], bool] = always,
    ) -> SocketGame:
        """Connect to the game that listens on ``address``.

        Args:
            address: where it listens.
            settings: how it is played.
            patience: how long to wait for what.
            player: see the class.
            still_running: false once the game's process has ended, to stop waiting then.

        Raises:
            GameUnavailableError: nothing accepted a connection.
            GameLostError: what did is no game of ours, or did not say hello.
        """
        return cls(GameClient.connect(address, patience, still_running), settings, player=player)

    def load_map(self, name: str) -> None:
        """Load a map by its name or path; see :class:`~tmrl_ray.game.interface.Game`.

        Raises:
            GameRefusedError: the game stayed in its menus or went on with the race that it had.
            GameHungError: the map's race did not begin in time.
        """
        if name == self._map:
            return
        command = map_command(name)
        self._map, self._racing = None, False
        self._client.execute_command(command)
        self._go_on()
        try:
            self._wait_for_new_race(name)
        except GameHungError as error:
            raise GameHungError(
                f"{error}: map {name!r} did not start",
                hint="The game may not have it: the name is a path below its Tracks folder. See: tmrl-ray game check",
            ) from error
        self._map = name

    def start_race(self, state: bytes | None = None) -> Moment:
        """Start a race from the start line, or from ``state``; see :class:`~tmrl_ray.game.interface.Game`."""
        if self._map is None:
            raise RuntimeError("no map is loaded: call load_map first")
        if state is not None:
            SimState(state)  # refuses what is none before the game sees it
        start = self._starts.get(self._map) if state is None else bytes(state)
        self._client.set_timeout(RACE_TIMEOUT_MS)
        self._speed = None  # the game may have changed it by itself: its countdown has a speed of its own
        self._racing = True
        self._to_run_step()
        if start is None:
            return self._first_race(self._map)
        self._client.set_input_state(RELEASED)
        self._client.rewind_to_state(start)
        self._set_speed(self.settings.running_speed)
        return self._look(None)

    def step(self, inputs: Inputs) -> Moment:
        """Hold ``inputs`` for one decision period; see :class:`~tmrl_ray.game.interface.Game`."""
        if not self._racing:
            raise RuntimeError("no race is on: call start_race first")
        self._press(inputs)
        self._go_on()
        while True:
            match self._client.wait_call():
                case RunStep(time_ms):
                    self._check_clock(time_ms)
                    return self._look(time_ms)
                case CheckpointCountChanged(current, target) if current == target:
                    return self._finish()
                case other:
                    self._pass_over(other)

    def rest(self) -> None:
        """Tell the game that the race is over and no decision will come for a while.

        Only a race that is cut off needs it, before a pause of more than ten seconds; a finish does it by itself.
        """
        self._racing = False
        self._client.set_timeout(PARKED_TIMEOUT_MS)
        self._client.flush()

    def execute(self, command: str) -> None:
        """Execute a line of the game's console, while the game stands still."""
        self._client.execute_command(command)
        self._client.flush()

    def close(self) -> None:
        """Leave the game at normal speed with its instruments shown; end its process if it was started for us."""
        on_close, self._on_close = self._on_close, None
        self._racing, self._map = False, None
        if self._client.open_call is not None:
            self._client.set_speed(1)
            self._client.toggle_interface(True)
        self._client.close()
        if on_close is not None:
            on_close()

    def _set_speed(self, speed: float) -> None:
        if speed != self._speed:
            self._client.set_speed(speed)
            self._speed = speed

    def _go_on(self) -> None:
        """Answer the open call so that the race runs."""
        self._set_speed(self.settings.running_speed)
        self._client.respond()

    def _pass_over(self, call: Call) -> None:
        """Answer a call that means nothing to us."""
        if isinstance(call, Connected):
            raise GameGoneError(f"the game on {self._client.address} went back to its menus in the middle of a race")
        self._client.respond()

    def _wait_for_new_race(self, name: str) -> None:
        client = self._client
        deadline = Deadline(client.patience.load_s)
        while True:
            match client.wait_call(max(deadline.remaining_s, 0)):
                case RunStep(time_ms) if time_ms < 0 and (self._clock_ms is None or time_ms <= self._clock_ms):
                    if set_scene(client, self.settings):
                        return
                    self._clock_ms = None  # the race has begun, and cannot be driven yet
                case RunStep(time_ms):
                    self._clock_ms = time_ms  # the old race goes on until the map is there; its clock only rises
                case Connected() if client.is_in_menus():
                    self._clock_ms = None
                    raise GameRefusedError(
                        f"the game on {client.address} has no map {name!r}",
                        hint="The simulator's are listed by: tmrl-ray game tracks. In the real game the name is a path"
                        " below its Tracks folder.",
                    )
            if deadline.passed:
                raise GameRefusedError(
                    f"{client.patience.load_s:g} s after it was told to load map {name!r}, the game on"
                    f" {client.address} still drives the race that it had",
                    hint="The game may not have it: the name is a path below its Tracks folder.",
                )
            client.respond()

    def _first_race(self, name: str) -> Moment:
        """Restart the race and keep its state at time 0."""
        client = self._client
        client.give_up()
        client.set_input_state(RELEASED)
        self._go_on()
        countdown_seen = False
        for call in self._calls(client.patience.load_s):
            match call:
                case RunStep(0) if countdown_seen and usable(state := client.simulation_state()):
                    self._starts[name] = state.tobytes()
                    return self._look(0)
                case RunStep(time_ms):
                    if countdown_seen and time_ms >= 0:  # at 0 it had no state yet: once more
                        client.give_up()
                    countdown_seen = time_ms < 0
                    client.respond()
                case other:
                    self._pass_over(other)
        raise GameHungError(
            f"the game on {client.address} did not get through the countdown of map {name!r}"
            f" in {client.patience.load_s:g} s"
        )

    def _calls(self, seconds: float) -> Iterator[Call]:
        """Yield calls for so long; the last one may come a little later, and is answered by the caller like all."""
        deadline = Deadline(seconds)
        while not deadline.passed:
            yield self._client.wait_call(max(deadline.remaining_s, 0))

    def _to_run_step(self) -> None:
        """Come to a run step, the only call in which a rewind and a request for a picture are safe."""
        if self._client.open_call is MessageType.RUN_STEP_SYNC:
            return
        self._go_on()
        for call in self._calls(self._client.patience.answer_s):
            match call:
                case RunStep():
                    return
                case CheckpointCountChanged(current, target) if current == target:
                    self._undo_finish()
                    self._client.respond()
                case other:
                    self._pass_over(other)
        raise GameHungError(f"the game on {self._client.address} calls, but takes no step")

    def _check_clock(self, time_ms: int) -> None:
        before, period_ms = self._clock_ms, self.settings.decision_period_ms
        # From a state between two decisions, the next decision comes early.
        if before is None or not before < time_ms < before + 2 * period_ms:
            raise GameProtocolError(
                f"the race clock of the game on {self._client.address} went from {before} to {time_ms} ms;"
                f" a decision was due every {period_ms} ms",
                hint="Did somebody restart the race by hand, or another client set another period?",
            )

    def _press(self, inputs: Inputs) -> None:
        if inputs.steer is None:
            self._client.set_input_state(inputs)
            return
        if self._knows_analog_steer is None:
            self._knows_analog_steer = self._client.knows_analog_steer()
        if not self._knows_analog_steer:
            raise GameRefusedError(
                f"the game on {self._client.address} has no analog steering",
                hint="The public plugin steers with keys only. Install ours, or leave Inputs.steer at None.",
            )
        self._client.set_input_state(inputs._replace(left=False, right=False))
        self._client.set_analog_steer(inputs.steer)

    def _look(self, time_ms: int | None) -> Moment:
        """In a run step: take the state, and the picture that belongs to it.

        Args:
            time_ms: the race time of the step; None after a rewind, when the state has another.
        """
        client, size = self._client, self.settings.frame_size
        client.request_state()
        if size is None:
            return self._moment(self._read_state(), None, time_ms)
        client.rewind_to_current_state()
        self._set_speed(0)
        client.request_frame(*size)
        client.respond()
        state = self._read_state()
        while True:
            match client.wait_call():
                case Frame(bgra):
                    return self._moment(state, bgra, time_ms)
                case CheckpointCountChanged(current, target) if current == target:
                    return self._finish()  # in a tick that the game ran before it drew
                case other:
                    self._pass_over(other)

    def _finish(self) -> Moment:
        """In the checkpoint call of the finish: take the state, go on as if the finish had not been passed."""
        client, size = self._client, self.settings.frame_size
        self._racing = False
        state = self._undo_finish()
        client.set_timeout(PARKED_TIMEOUT_MS)
        if size is None:
            client.flush()
            return self._finish_moment(state, None)
        self._set_speed(0)
        client.request_frame(*size)
        client.respond()
        for call in self._calls(client.patience.answer_s):
            if isinstance(call, Frame):
                return self._finish_moment(state, call.bgra)
            if isinstance(call, CheckpointCountChanged) and call.current == call.target:
                self._undo_finish()
            self._pass_over(call)
        raise GameHungError(f"the game on {client.address} did not send the picture of the finish")

    def _undo_finish(self) -> SimState:
        """Return the state at the finish; rewind the game to the same without the finish's time."""
        self._client.request_state()
        state = self._read_state()
        unfinished = state.copy()
        unfinished.cp_times[-1] = -1
        self._client.rewind_to_state(unfinished.to_bytes())
        return state

    def _read_state(self) -> SimState:
        try:
            state = SimState.adopt(self._client.read_state())
        except StateError as error:
            raise GameProtocolError(f"the game on {self._client.address} sent no state in a race: {error}") from error
        if not state.is_credible:
            raise GameProtocolError(f"the game on {self._client.address} sent a state of no car: {state}")
        return state

    def _moment(self, state: SimState, bgra: NDArray[np.uint8] | None, time_ms: int | None) -> Moment:
        self._clock_ms = state.race_time if time_ms is None else time_ms
        times = state.cp_times
        return Moment(
            race_time_ms=self._clock_ms,
            state=state,
            frame=self._frame(bgra),
            checkpoints_passed=int(np.count_nonzero(times >= 0)),
            checkpoints_total=len(times),
            finished=False,
        )

    def _finish_moment(self, state: SimState, bgra: NDArray[np.uint8] | None) -> Moment:
        times = state.cp_times
        if len(times) == 0 or times[-1] < 0:
            raise GameProtocolError(
                f"the game on {self._client.address} passed the finish, and its state has no time for it"
            )
        return Moment(
            race_time_ms=int(times[-1]),
            state=state,
            frame=self._frame(bgra),
            checkpoints_passed=len(times),
            checkpoints_total=len(times),
            finished=True,
        )

    def _frame(self, bgra: NDArray[np.uint8] | None) -> NDArray[np.uint8] | None:
        return bgra if bgra is None or not self.settings.grey else bgra_to_grey(bgra)
