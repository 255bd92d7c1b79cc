"""Where races start: at the start line, or at states saved in the agent's own races.

A collector saves states while it drives, keeps them in a :class:`StateStore`, and asks one of the start policies
where the next race begins. All of them fall back on the start line while the store is empty; greedy races that are
measured always start there, without asking.

Sources: uniform starts and starts near the best race follow Go-Explore (Ecoffet et al. 2021), the reverse curriculum
Florensa et al. 2017 and Salimans & Chen 2018.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from io import BytesIO
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import StateError
from tmrl_ray.racing.episode import SavedState
from tmrl_ray.racing.reference_line import ReferenceLine
from tmrl_ray.racing.rollout import RaceEnd

Bytes = NDArray[np.uint8]

STATE_DICT_VERSION = 2
DOOMED_MS = 3000
"""States from the last seconds of a race that failed are not kept: most of them can no longer be saved."""


def _rank(end: RaceEnd) -> tuple[bool, int]:
    """Sorts races from worst to best: a finish beats none, then the time or the distance decides."""
    finished = end.how == "finish"
    return finished, -end.race_time_ms if finished else end.furthest_zone


class StateStore:
    """A bounded number of saved states, spread along the line, and those of the best race.

    The line is cut into stretches of equal length; each keeps a bounded, random share of the states saved in it.

    Args:
        line: the reference line of the map.
        seed: of the choice of what is kept.
        stretch_m: length of a stretch.
        per_stretch: how many states each stretch keeps, besides the best race's.
    """

    def __init__(self, line: ReferenceLine, *, seed: int, stretch_m: float = 20.0, per_stretch: int = 8) -> None:
        self.line = line
        self._rng = np.random.default_rng(seed)
        self._zones_per_stretch = max(1, round(stretch_m / line.settings.spacing_m))
        self._per_stretch = per_stretch
        stretches = 1 + (line.last_zone - line.first_zone) // self._zones_per_stretch
        self._stretches: list[list[SavedState]] = [[] for _ in range(stretches)]
        self._best: list[SavedState] = []
        self._best_rank: tuple[bool, int] | None = None
        self.goal_zone = line.first_zone
        """The furthest zone of any race so far; the line's last one after the first finish."""

    def __len__(self) -> int:
        return sum(map(len, self._stretches)) + len(self._best)

    @property
    def size_bytes(self) -> int:
        """Memory of the states in it."""
        return sum(len(saved.state) for states in (*self._stretches, self._best) for saved in states)

    @property
    def best(self) -> Sequence[SavedState]:
        """The states of the best race from the start line, in driving order, one a stretch."""
        return self._best

    def add(self, states: Sequence[SavedState], end: RaceEnd) -> None:
        """Take in the states of one race, in driving order, once it has ended."""
        self.goal_zone = max(self.goal_zone, end.furthest_zone)
        latest_ms = end.race_time_ms - (0 if end.how == "finish" else DOOMED_MS)
        kept = [saved for saved in states if saved.race_time_ms <= latest_ms and self._is_on_line(saved)]
        for saved in kept:
            self._keep(saved)
        is_best = self._best_rank is None or _rank(end) > self._best_rank
        if end.from_start_line and is_best and kept:
            self._best_rank = _rank(end)
            self._best = list({self._stretch(saved): saved for saved in reversed(kept)}.values())[::-1]

    def between(self, first_zone: int, last_zone: int) -> list[list[SavedState]]:
        """Return the states of each stretch from ``first_zone`` to ``last_zone``, stretches without any left out."""
        found = ([saved for saved in states if first_zone <= saved.zone <= last_zone] for states in self._stretches)
        return [states for states in found if states]

    def _is_on_line(self, saved: SavedState) -> bool:
        return self.line.first_zone <= saved.zone < self.line.last_zone

    def _stretch(self, saved: SavedState) -> int:
        return (saved.zone - self.line.first_zone) // self._zones_per_stretch

    def _keep(self, saved: SavedState) -> None:
        stretch = self._stretch(saved)
        states = self._stretches[stretch]
        if len(states) < self._per_stretch:
            states.append(saved)
            return
        # Newer states are of a better driver: each one is kept, and a random one makes room for it.
        states[int(self._rng.integers(self._per_stretch))] = saved

    def state_dict(self) -> tuple[Bytes, dict[str, Any]]:
        """Return all that is needed to go on: the simulation states, one behind the other, and JSON-able values."""
        kept = [saved for states in (*self._stretches, self._best) for saved in states]
        return np.frombuffer(b"".join(saved.state for saved in kept), np.uint8), {
            "version": STATE_DICT_VERSION,
            "rng": self._rng.bit_generator.state,
            "zones": [self.line.first_zone, self.line.last_zone],
            "stretches": [[_row(saved) for saved in states] for states in self._stretches],
            "best": [_row(saved) for saved in self._best],
            "best_rank": None if self._best_rank is None else list(self._best_rank),
            "goal_zone": self.goal_zone,
        }

    def load_state_dict(self, states: Bytes, state: Mapping[str, Any]) -> None:
        """Go on where the store that gave ``states`` and ``state`` was.

        Raises:
            StateError: it is of another version, line or length of stretches.
        """
        expected = (STATE_DICT_VERSION, [self.line.first_zone, self.line.last_zone], len(self._stretches))
        given = (state["version"], state["zones"], len(state["stretches"]))
        if given != expected:
            raise StateError(
                f"the saved start states are of (version, zones, stretches) {given}, this store is of {expected}",
                hint="Start with an empty store: the states of another line are of no use.",
            )
        self._rng.bit_generator.state = state["rng"]
        rest = BytesIO(states.tobytes())
        self._stretches = [[_saved_state(row, rest) for row in rows] for rows in state["stretches"]]
        self._best = [_saved_state(row, rest) for row in state["best"]]
        rank = state["best_rank"]
        self._best_rank = None if rank is None else (bool(rank[0]), int(rank[1]))
        self.goal_zone = int(state["goal_zone"])


def _row(saved: SavedState) -> dict[str, Any]:
    return {**asdict(saved), "state": len(saved.state)}


def _saved_state(row: Mapping[str, Any], states: BytesIO) -> SavedState:
    return SavedState(**{**row, "state": states.read(row["state"]), "previous_actions": tuple(row["previous_actions"])})


class StartPolicy(Protocol):
    """Says where the next race starts, and hears how it went: draw, race, report, one race at a time."""

    def draw(self, store: StateStore, rng: np.random.Generator) -> SavedState | None:
        """Return where the next race starts; None: at the start line."""

    def report(self, start: SavedState | None, end: RaceEnd) -> None:
        """Hear how a race went that started from ``start``, a state that ``draw`` gave."""


class _Forgetful:
    """A policy to which it is all the same how the race went."""

    def report(self, start: SavedState | None, end: RaceEnd) -> None:
        """Do nothing."""


class RaceStart(_Forgetful):
    """Every race starts at the start line."""

    def draw(self, store: StateStore, rng: np.random.Generator) -> SavedState | None:
        """Return None."""
        return None


class UniformStart(_Forgetful):
    """Races start anywhere along the line: every stretch that was reached is as likely as every other."""

    def draw(self, store: StateStore, rng: np.random.Generator) -> SavedState | None:
        """Return a random state of a random stretch."""
        return _pick(store.between(0, store.goal_zone), rng)


class NearBestStart(_Forgetful):
    """Races start anywhere on the way of the best race so far."""

    def draw(self, store: StateStore, rng: np.random.Generator) -> SavedState | None:
        """Return a random state of the best race."""
        return store.best[int(rng.integers(len(store.best)))] if store.best else None


class ReverseCurriculum:
    """Races start just before the goal, and ever farther from it while they succeed.

    The goal is the finish, or the furthest zone that was ever reached while there has been no finish. A race
    succeeds when it reaches what was the goal when it started.

    Args:
        step_m: how far before the goal the first races start, and how much farther each lesson goes.
        success_share: share of successes with which a lesson is learned.
        window: over how many races this share is taken.
    """

    def __init__(self, *, step_m: float = 50.0, success_share: float = 0.8, window: int = 20) -> None:
        self._step_m = step_m
        self._success_share = success_share
        self._successes: deque[bool] = deque(maxlen=window)
        self._window = window
        self._goal_zone = 0
        self.before_goal_m = step_m
        """How far before the goal races start at most."""

    def draw(self, store: StateStore, rng: np.random.Generator) -> SavedState | None:
        """Return a state between the goal and ``before_goal_m`` before it, or the nearest ones before that."""
        self._goal_zone = store.goal_zone
        earliest = store.goal_zone - round(self.before_goal_m / store.line.settings.spacing_m)
        if earliest <= store.line.first_zone:
            return None  # the last lesson: the whole race
        found = store.between(earliest, store.goal_zone)
        return _pick(found if found else store.between(0, earliest)[-1:], rng)

    def report(self, start: SavedState | None, end: RaceEnd) -> None:
        """Count the race, and go on to the next lesson when this one is learned."""
        self._successes.append(end.furthest_zone >= self._goal_zone)
        is_learned = sum(self._successes) >= self._success_share * self._window
        if len(self._successes) == self._window and is_learned:
            self._successes.clear()
            self.before_goal_m += self._step_m

    def state_dict(self) -> dict[str, Any]:
        """Return all that is needed to go on after a race, JSON-able."""
        return {"before_goal_m": self.before_goal_m, "successes": list(self._successes)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self.before_goal_m = state["before_goal_m"]
        self._successes.extend(state["successes"])


class MixedStart:
    """Each race starts as one of several policies says, drawn by weight.

    Args:
        policies: the policies and their weights.
    """

    def __init__(self, policies: Sequence[tuple[StartPolicy, float]]) -> None:
        self._policies = [policy for policy, _ in policies]
        weights = np.array([weight for _, weight in policies])
        self._shares = weights / weights.sum()
        self._drawn = self._policies[0]

    def draw(self, store: StateStore, rng: np.random.Generator) -> SavedState | None:
        """Return what the drawn policy says."""
        self._drawn = self._policies[int(rng.choice(len(self._policies), p=self._shares))]
        return self._drawn.draw(store, rng)

    def report(self, start: SavedState | None, end: RaceEnd) -> None:
        """Tell the policy that drew the start."""
        self._drawn.report(start, end)


def _pick(stretches: list[list[SavedState]], rng: np.random.Generator) -> SavedState | None:
    if not stretches:
        return None
    states = stretches[int(rng.integers(len(stretches)))]
    return states[int(rng.integers(len(states)))]
