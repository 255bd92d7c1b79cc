"""A race of a thousand ticks in the embedded game, and the digests of all its states and pictures.

Run as a program it prints the two digests: ``python -m tests.simulator.golden_race``. When the car, the pictures or
the bytes of the state are changed on purpose, what it prints belongs into ``test_golden_race``.
"""

from __future__ import annotations

import hashlib
import sys

import numpy as np

from tests.simulator.flat_track import flat_track
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.simulator.embedded import EmbeddedGame

TICKS = 1000
SEED = 29


def digests() -> tuple[str, str]:
    """Drive the race; return the SHA-256 of its states and of its pictures."""
    game = EmbeddedGame(GameSettings(frame_size=(31, 23), decision_period_ms=10), find_track=lambda _: flat_track())
    game.load_map("flat")
    moment = game.start_race()
    states, pictures = hashlib.sha256(), hashlib.sha256()
    keys = np.random.Generator(np.random.PCG64(SEED)).integers(0, 10, (TICKS // 10, 4))
    for tick in range(TICKS):
        states.update(moment.state.to_bytes())
        assert moment.frame is not None
        pictures.update(moment.frame.tobytes())
        if moment.finished:
            moment = game.start_race()
        left, right, brake, steer = keys[tick // 10]
        axis = int(steer) * 5000 if steer > 7 else None
        moment = game.step(Inputs(bool(left < 2), bool(right < 2), brake != 1, brake < 2, axis))
    return states.hexdigest(), pictures.hexdigest()


if __name__ == "__main__":
    sys.stdout.write("\n".join(digests()) + "\n")
