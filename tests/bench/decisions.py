"""Decisions a second, in process and through the socket: ``python -m tests.bench.decisions [TRACK] [DECISIONS]``.

A decision is five ticks, a grey 64x64 picture, the state and the 184 floats made from it, on a recorded drive over a
track of more than 12,000 triangles. Aims: 2,000 in process on one core, 1,200 through the socket with the server on a
second one. Each figure is the best of several passes over the recording.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from tests.racing.test_race_in_simulator import FollowTheLine
from tmrl_ray.game.connection import Address
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import Game, GameSettings, Moment
from tmrl_ray.game.session import SocketGame
from tmrl_ray.racing.actions import ACTIONS
from tmrl_ray.racing.observation import Observer
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.progress import Progress
from tmrl_ray.racing.reference_line import ReferenceLine, line_of_track
from tmrl_ray.racing.rollout import rollout
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track

TRACK = "long"
DECISIONS = 1500
PASSES = 5
LAYOUT = ObservationLayout()


def record(track: str, line: ReferenceLine, count: int) -> list[Inputs]:
    """Drive along the line and return the inputs of at most so many decisions, without those of the finish."""
    game = EmbeddedGame(GameSettings(frame_size=None))
    game.load_map(track)
    race = rollout(game, FollowTheLine(), line)
    inputs = [ACTIONS[step.decision.action] for step, _ in zip(race, range(count), strict=False)]
    return inputs[:-2]


class Floats:
    """Makes the floats of each moment, as a race of an agent does."""

    def __init__(self, line: ReferenceLine) -> None:
        self._progress, self._observer = Progress(line), Observer(line, LAYOUT)
        self._out = np.zeros(LAYOUT.size, np.float32)

    def begin(self, moment: Moment) -> None:
        self._observer.begin()
        self._progress.begin(tuple(moment.state.position.tolist()))

    def __call__(self, moment: Moment) -> None:
        self._progress.update(tuple(moment.state.position.tolist()))
        self._observer.observe(moment.state, self._progress, self._out)


def best_rate(game: Game, inputs: Sequence[Inputs], floats: Floats | None) -> float:
    """Return the decisions a second of the fastest pass."""
    rates = []
    for _ in range(PASSES):
        moment = game.start_race()
        if floats is not None:
            floats.begin(moment)
        began = time.perf_counter()
        for keys in inputs:
            moment = game.step(keys)
            if floats is not None:
                floats(moment)
        rates.append(len(inputs) / (time.perf_counter() - began))
    return max(rates)


def report(name: str, open_game: Callable[[GameSettings], Game], track: str, inputs: Sequence[Inputs], floats: Floats):
    """Print a line for each kind of decision."""
    for what, size, with_floats in (
        ("state", None, False),
        ("state, 64x64 picture", (64, 64), False),
        ("state, 64x64 picture, 184 floats", (64, 64), True),
    ):
        game = open_game(GameSettings(frame_size=size))
        game.load_map(track)
        rate = best_rate(game, inputs, floats if with_floats else None)
        game.close()
        print(f"{name:<12} {what:<34} {rate:8,.0f} decisions/s {1e6 / rate:8.0f} us")


def main(track: str = TRACK, decisions: str = str(DECISIONS)) -> None:
    """Print the table."""
    line = line_of_track(load_track(track))
    inputs = record(track, line, int(decisions))
    floats = Floats(line)
    print(
        f"{track}: {len(load_track(track).triangles):,} triangles, {len(inputs):,} decisions, best of {PASSES} passes"
    )
    report("in process", lambda settings: EmbeddedGame(settings), track, inputs, floats)
    command = [sys.executable, "-m", "tmrl_ray.cli", "game", "serve", "--port", "0", "--track", track]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            port = int(server.stdout.readline().split()[1])
            address = Address("127.0.0.1", port)
            report("socket", lambda settings: SocketGame.connect(address, settings), track, inputs, floats)
        finally:
            server.terminate()


if __name__ == "__main__":
    main(*sys.argv[1:])
