"""A race on a track: the rules around the car, and everything that a game can do to a race.

The server and the embedded game each hold one :class:`Race` for the track that is loaded. The order of a tick is the
game's: inputs that are set while the clock shows T act in the tick T -> T + 10; gates are passed at its end.
"""

from __future__ import annotations

from bisect import bisect_right

from tmrl_ray.game.inputs import RELEASED, Inputs
from tmrl_ray.game.scripts import KeyPress, Timeline
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.simulator import race_state as rs
from tmrl_ray.simulator.car_state import CarState, at_rest
from tmrl_ray.simulator.race_state import blank_arrays, held_inputs, hold_inputs
from tmrl_ray.simulator.race_ticks import advance, write_dyna
from tmrl_ray.simulator.state_codec import StateCodec
from tmrl_ray.simulator.track import Pose, Track
from tmrl_ray.simulator.tuning import CarTuning

NEVER_MS = -1
"""As ``stop_ms``: no clock of a race stops on it, as it is no multiple of 10."""
MAX_LOGGED_INPUTS = 200_000
"""Changes of inputs that are kept for GET_INPUTS; a race of an hour with a change at each decision has 72,000."""


class Race:
    """One car on one track, from the countdown on.

    Args:
        track: where the race is.
        tuning: how the car drives.
    """

    def __init__(self, track: Track, tuning: CarTuning | None = None) -> None:
        self.track = track
        self._contacts = track.contacts
        self._tuning = (tuning or CarTuning()).arrays
        self._codec = StateCodec(track)
        self._arrays = blank_arrays(track)
        self._input_log: list[tuple[int, Inputs]] = []
        self._respawn_log: list[KeyPress] = []
        self._script_inputs: dict[int, Inputs] = {}
        self._script_respawns: set[int] = set()
        self._script_times: list[int] = []
        self.restart()

    # What is known about the race.

    @property
    def car(self) -> CarState:
        """(CAR_SIZE,) the car; a view that the next tick changes."""
        return self._arrays.car

    @property
    def race_time_ms(self) -> int:
        """Time on the race clock: negative in the countdown, the finish time once finished."""
        return int(self._arrays.ledger[rs.RACE_TIME])

    @property
    def tick_time_ms(self) -> int:
        """As ``race_time_ms``, but it goes on after the finish."""
        return int(self._arrays.ledger[rs.TICK_TIME])

    @property
    def finished(self) -> bool:
        """Whether the finish of the last lap was passed."""
        return bool(self._arrays.ledger[rs.FINISHED])

    @property
    def gates_passed(self) -> int:
        """Gates passed in all laps, the finish included."""
        return int(self._arrays.ledger[rs.PASSED])

    @property
    def gates_total(self) -> int:
        """Gates of all laps, the finish included."""
        return len(self._arrays.cp_times)

    @property
    def laps_completed(self) -> int:
        """Laps completed."""
        return int(self._arrays.ledger[rs.LAP])

    @property
    def inputs(self) -> Inputs:
        """The inputs that are held."""
        return held_inputs(self._arrays.ledger)

    @property
    def input_log(self) -> Timeline:
        """The inputs of this race so far, and its respawns; those of the countdown stand at time 0."""
        return Timeline(tuple(self._input_log), tuple(self._respawn_log))

    def run_step_due(self, period_ms: int) -> bool:
        """Tell whether the game announces a run step at the present time."""
        ledger = self._arrays.ledger
        now = int(ledger[rs.RACE_TIME])
        return now % period_ms == 0 or ledger[rs.TICK_TIME] > now or now >= rs.LAST_RACE_TIME_MS

    # What can be done to it.

    def restart(self) -> None:
        """Put the car on the start line with the countdown before it and all keys released."""
        arrays = self._arrays
        for array in (arrays.ledger, arrays.events, arrays.cached, arrays.cp_states):
            array[:] = 0
        arrays.cp_times[:] = -1
        arrays.ledger[rs.RACE_TIME] = arrays.ledger[rs.TICK_TIME] = -rs.COUNTDOWN_MS
        arrays.ledger[rs.LAST_GATE] = -1
        self._put_car(self.track.spawn)
        self._input_log.clear()
        self._respawn_log.clear()

    def respawn(self) -> None:
        """Put the car where the gate passed last says, at rest; restart when none was passed."""
        ledger = self._arrays.ledger
        gate = int(ledger[rs.LAST_GATE])
        if gate < 0:
            self.restart()
            return
        ledger[rs.RESPAWNS] += 1
        if len(self._respawn_log) < MAX_LOGGED_INPUTS:
            self._respawn_log.append(KeyPress(self.race_time_ms, "enter"))
        self._put_car(self.track.gates[gate].respawn)

    def _put_car(self, pose: Pose) -> None:
        self._arrays.car[:] = at_rest(pose.position, pose.rotation)
        write_dyna(self._arrays.car, self._arrays.previous)

    def set_inputs(self, inputs: Inputs) -> None:
        """Hold ``inputs`` from the next tick on."""
        if inputs == held_inputs(self._arrays.ledger):
            return
        hold_inputs(self._arrays, inputs)
        self._log_inputs(inputs)

    def _log_inputs(self, inputs: Inputs) -> None:
        now = max(0, self.race_time_ms)
        if self._input_log and self._input_log[-1][0] == now:
            self._input_log[-1] = (now, inputs)
        elif len(self._input_log) < MAX_LOGGED_INPUTS:
            self._input_log.append((now, inputs))

    def advance(self, period_ms: int = rs.TICK_MS, stop_ms: int = NEVER_MS) -> int:
        """Play ticks, at least one, until a run step is due or gates are passed.

        Args:
            period_ms: time between two run steps, more than 0.
            stop_ms: a race time at which to stop in any case.

        Returns:
            How many gates were passed in the last of these ticks.
        """
        if self._script_times:
            return self._advance_by_script(period_ms, stop_ms)
        return int(advance(self._arrays, self._contacts, self._tuning, period_ms, stop_ms))

    def _advance_by_script(self, period_ms: int, stop_ms: int) -> int:
        while True:
            now = self.race_time_ms
            self._act_by_script(now)
            next_index = bisect_right(self._script_times, now)
            script_ms = self._script_times[next_index] if next_index < len(self._script_times) else NEVER_MS
            pause_ms = stop_ms if now < stop_ms < script_ms or script_ms == NEVER_MS else script_ms
            passed = int(advance(self._arrays, self._contacts, self._tuning, period_ms, pause_ms))
            if passed or self.run_step_due(period_ms) or self.race_time_ms == stop_ms:
                return passed

    def tick(self) -> int:
        """Play one tick and return how many gates were passed in it."""
        return self.advance()

    def _act_by_script(self, now: int) -> None:
        if now in self._script_inputs:
            self.set_inputs(self._script_inputs[now])
        if now in self._script_respawns:
            self.respawn()

    def play_script(self, script: Timeline) -> None:
        """Set the inputs of a script at its times, in this race and all that follow; an empty one plays nothing.

        Its respawns are played too; its restarts and commands are not.
        """
        self._script_inputs = dict(script.changes)
        self._script_respawns = {press.time_ms for press in script.presses if press.key == "enter"}
        self._script_times = sorted(self._script_respawns | self._script_inputs.keys())

    def end(self) -> None:
        """End the race where it is: its clock stops, no gate counts any more."""
        self._arrays.ledger[rs.FINISHED] = 1

    def prevent_finish(self) -> bool:
        """Take the finish back in the tick in which it was passed, so that the race goes on; tell whether it was."""
        ledger = self._arrays.ledger
        if not self.finished or ledger[rs.TICK_TIME] > ledger[rs.RACE_TIME]:
            return False
        state = self.save_state()
        state.cp_times[-1] = -1
        self._codec.decode(state, self._arrays)
        return True

    def save_state(self) -> SimState:
        """Return the state of the race."""
        return self._codec.encode(self._arrays)

    def load_state(self, state: SimState | bytes) -> None:
        """Go on from ``state``: one that was saved, edited or not, or one of the real game.

        Raises:
            StateError: the state cannot be played on; the race is as before.
        """
        self._codec.decode(state if isinstance(state, SimState) else SimState(state), self._arrays)
        now = self.race_time_ms
        for entries in (self._input_log, self._respawn_log):
            while entries and entries[-1][0] >= now:
                entries.pop()
        held = self._input_log[-1][1] if self._input_log else RELEASED
        if self.inputs != held:
            self._log_inputs(self.inputs)
