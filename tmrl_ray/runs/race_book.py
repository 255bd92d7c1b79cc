"""What the reports of single races become as metrics: best and running times, finish rates, splits.

Kinds of races: *explore* from the start line, *practice* from elsewhere on the track (whose times are no times of the
whole race), *greedy* ones of a collector, and those of the *evaluation*.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, Literal, Protocol

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.meter import Value
from tmrl_ray.runs.metrics import Registry

RaceKind = Literal["explore", "practice", "greedy", "evaluation"]

RATE_RACES = 20
"""The finish rate is that of so many races."""
ROBUST_FACTOR = 1.02
"""A finish time up to this many times the running mean is robust, as in Linesight and rulka."""
MEAN_DECAY = 0.9
"""Of the running mean of finish times, per race, as there; it begins with the first finish time."""


class RaceFigures(Protocol):
    """What a report says of a race; ``actors.race_report.RaceReport`` does."""

    @property
    def map(self) -> str:
        """Name of the map in the configuration."""

    @property
    def exploration(self) -> bool:
        """Whether it explored."""

    @property
    def from_start_line(self) -> bool:
        """Whether it began at the start line."""

    @property
    def how(self) -> Literal["finish", "cut_off", "lost"]:
        """How it ended."""

    @property
    def cut_off(self) -> Literal["stuck", "time"] | None:
        """Why it was given up."""

    @property
    def finish_time_ms(self) -> int | None:
        """Of a whole race that was finished."""

    @property
    def race_time_ms(self) -> int:
        """Race clock at the end."""

    @property
    def split_times_ms(self) -> tuple[int, ...]:
        """Race clock at each checkpoint."""

    @property
    def steps(self) -> int:
        """Decisions."""

    @property
    def metres(self) -> float:
        """Progress along the line."""

    @property
    def furthest_share(self) -> float:
        """The furthest point of the line that was reached."""

    @property
    def wall_s(self) -> float:
        """Seconds that it took, without those of waiting."""

    @property
    def waited_s(self) -> float:
        """Seconds for which it waited for the learner."""

    @property
    def time_ratio(self) -> float:
        """Race time per wall time."""

    @property
    def greedy_share(self) -> float:
        """Share of greedy decisions."""

    @property
    def mean_q(self) -> float:
        """Mean value; NaN: unknown."""

    @property
    def mean_action_gap(self) -> float:
        """Mean of the best action's value less the mean one; NaN: unknown."""

    @property
    def start_q(self) -> float:
        """Value at the first decision; NaN: unknown."""


class RaceBook:
    """Turns reports into values of metrics, and keeps what they need of earlier races.

    Args:
        references_s: reference times by map and by what they are called, for example ``author`` or ``pursuit``.
        registry: what is declared.
    """

    def __init__(
        self, references_s: Mapping[str, Mapping[str, float]] | None = None, *, registry: Registry = METRICS
    ) -> None:
        self._references_s = references_s or {}
        self._registry = registry
        self._best_s: dict[str, float] = {}
        self._mean_s: dict[str, float] = {}
        self._finished: dict[str, deque[int]] = {}
        self._ended: dict[str, int] = {}

    def best_times_s(self) -> dict[str, float]:
        """Return the best finish time of each map that was ever finished, by any kind of race."""
        best: dict[str, float] = {}
        for key, time_s in self._best_s.items():
            name = key.rpartition("/")[0]
            best[name] = min(time_s, best.get(name, time_s))
        return best

    def table(self) -> str:
        """Return best and typical times by map and kind of race, as a table."""
        lines = ["| map | races | best | running mean | finished of the last |", "|---|---|---|---|---|"]
        for key, races in sorted(self._finished.items()):
            name, _, kind = key.rpartition("/")
            times_s = (known.get(key) for known in (self._best_s, self._mean_s))
            best, mean = ("-" if time_s is None else f"{time_s:.2f} s" for time_s in times_s)
            lines.append(f"| {name} | {kind} | {best} | {mean} | {sum(races)} of {len(races)} |")
        return "\n".join(lines)

    def add(self, race: RaceFigures, *, evaluation: bool = False) -> dict[str, Value]:
        """Take in a race and return its values, as a row of their own.

        Args:
            race: its report.
            evaluation: whether the evaluator drove it.
        """
        kind = kind_of(race, evaluation=evaluation)
        key, finished = f"{race.map}/{kind}", race.how == "finish"
        figures: dict[str, float] = {
            "time_s": race.race_time_ms / 1000,
            "finished": float(finished),
            "finish_rate": self._rate(key, finished),
            "furthest_share": race.furthest_share,
            "metres": race.metres,
            "env_steps": race.steps,
            "time_ratio": race.time_ratio,
            "waited_share": race.waited_s / (race.wall_s + race.waited_s),
            "greedy_share": race.greedy_share,
            "value": race.mean_q,
            "start_value": race.start_q,
            "action_spread": race.mean_action_gap,
        }
        if race.finish_time_ms is not None:
            figures |= self._finish(key, race.finish_time_ms / 1000)
        known = {name: value for name, value in figures.items() if value == value}  # NaN says: unknown
        values: dict[str, Value] = {self._name(name, race.map, kind): value for name, value in known.items()}
        values |= self._references(race, kind) | self._splits(race, kind)
        if not evaluation:
            how = race.cut_off or race.how
            self._ended[how] = self._ended.get(how, 0) + 1
            values |= {self._registry.name("race/ended/{how}", how=how): self._ended[how]}
        return values

    def state_dict(self) -> dict[str, Any]:
        """Return the state, JSON-able."""
        return {
            "best_s": dict(self._best_s),
            "mean_s": dict(self._mean_s),
            "finished": {key: list(races) for key, races in self._finished.items()},
            "ended": dict(self._ended),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self._best_s, self._mean_s = dict(state["best_s"]), dict(state["mean_s"])
        self._finished = {key: deque(races, maxlen=RATE_RACES) for key, races in state["finished"].items()}
        self._ended = dict(state["ended"])

    def _rate(self, key: str, finished: bool) -> float:
        races = self._finished.setdefault(key, deque(maxlen=RATE_RACES))
        races.append(int(finished))
        return sum(races) / len(races)

    def _finish(self, key: str, time_s: float) -> dict[str, float]:
        mean_s = self._mean_s.get(key, time_s)
        self._mean_s[key] = MEAN_DECAY * mean_s + (1 - MEAN_DECAY) * time_s
        self._best_s[key] = min(time_s, self._best_s.get(key, time_s))
        figures = {"finish_time_s": time_s, "best_time_s": self._best_s[key]}
        return figures | ({"robust_finish_time_s": time_s} if time_s <= ROBUST_FACTOR * mean_s else {})

    def _references(self, race: RaceFigures, kind: RaceKind) -> dict[str, Value]:
        if race.finish_time_ms is None:
            return {}
        template = "race/medal_ratio/{map}/{kind}/{reference}"
        return {
            self._registry.name(template, map=race.map, kind=kind, reference=reference): race.finish_time_ms / 1000 / s
            for reference, s in self._references_s.get(race.map, {}).items()
        }

    def _splits(self, race: RaceFigures, kind: RaceKind) -> dict[str, Value]:
        if not race.from_start_line or kind not in {"greedy", "evaluation"}:
            return {}
        template = "race/split_s/{map}/{kind}/{checkpoint}"
        return {
            self._registry.name(template, map=race.map, kind=kind, checkpoint=number): time_ms / 1000
            for number, time_ms in enumerate(race.split_times_ms, start=1)
        }

    def _name(self, figure: str, map_name: str, kind: RaceKind) -> str:
        template = f"race/{figure}/{{map}}/{{kind}}"
        return self._registry.name(template, map=map_name, kind=kind)


def kind_of(race: RaceFigures, *, evaluation: bool = False) -> RaceKind:
    """Return what kind of race it was."""
    if evaluation:
        return "evaluation"
    if not race.from_start_line:
        return "practice"
    return "explore" if race.exploration else "greedy"
