"""What the agent's side of a decision costs, on a recorded lap: ``python -m tests.bench.bench_racing``.

The observation's aim is under 40 us; a decision in process with pictures, 2,000 a second.
"""

from __future__ import annotations

import time
import timeit
from collections.abc import Callable

import numpy as np

from tests.racing.test_race_in_simulator import FollowTheLine
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.racing.episode import Episode
from tmrl_ray.racing.mirror import FloatsMirror
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation import Observer
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import line_of_track
from tmrl_ray.racing.reward import measure_terms
from tmrl_ray.racing.rollout import rollout
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track

TRACK = "loop"
LAYOUT = ObservationLayout()


def best_us(run: Callable[[], object], count: int, repeats: int = 7) -> float:
    """Return the least time of one of ``count`` operations in ``run``, in microseconds."""
    return min(timeit.repeat(run, number=1, repeat=repeats)) / count * 1e6


def main() -> None:
    """Print the table."""
    line = line_of_track(load_track(TRACK))
    game = EmbeddedGame(GameSettings(frame_size=None))
    game.load_map(TRACK)
    race = rollout(game, FollowTheLine(), line)
    moments, actions = [], []
    for step in race:
        moments.append(race.moment)
        actions.append(step.decision.action)
    positions = [tuple(moment.state.position.tolist()) for moment in moments]
    progress, observer = Progress(line), Observer(line, LAYOUT)
    floats = np.zeros((len(moments), LAYOUT.size), dtype=np.float32)
    mirror, normalisation = FloatsMirror(LAYOUT), normalisation_of(LAYOUT)

    def follow() -> None:
        progress.begin(positions[0])
        for position in positions:
            progress.update(position)

    def observe() -> None:
        for moment, out in zip(moments, floats, strict=True):
            observer.observe(moment.state, progress, out)

    def terms() -> None:
        for before, after in zip(floats, floats[1:], strict=False):
            measure_terms(LAYOUT, before, after, action=0, elapsed_ms=50, advanced_m=1.0, finished=False)

    def episode() -> None:
        run = Episode(line, LAYOUT)
        run.begin(moments[0])
        for action, moment in zip(actions, moments[1:], strict=False):
            run.advance(action, moment)

    rows = [("progress", follow), ("observation", observe), ("reward terms", terms), ("all of a decision", episode)]
    print(f"{len(moments)} decisions on {TRACK!r}, {race.end.how} after {race.end.race_time_ms / 1000:.2f} s")
    for name, run in rows:
        print(f"{name:20} {best_us(run, len(moments)):8.2f} us")
    print(f"{'mirror, a batch':20} {best_us(lambda: mirror(floats), len(moments)):8.2f} us a row")
    print(f"{'normalise, a batch':20} {best_us(lambda: normalisation(floats), len(moments)):8.2f} us a row")
    for size in (None, (64, 64), (160, 120)):
        print(f"{f'rollout, {size}':20} {decisions_per_s(size):8.0f} decisions/s")


def decisions_per_s(frame_size: tuple[int, int] | None) -> float:
    """Return the decisions per second of whole races, the policy included."""
    line = line_of_track(load_track(TRACK))
    game = EmbeddedGame(GameSettings(frame_size=frame_size))
    game.load_map(TRACK)
    rates = []
    for _ in range(3):
        begun = time.perf_counter()
        steps = sum(1 for _ in rollout(game, FollowTheLine(), line))
        rates.append(steps / (time.perf_counter() - begun))
    return max(rates)


if __name__ == "__main__":
    main()
