"""Our own reader of the game's files: maps (`.Challenge.Gbx`) and replays (`.Replay.Gbx`) of TMNF and TMUF.

::

    replay = read_replay("Rollin_B13.Replay.Gbx")
    replay.ghost.inputs[0]            # Inputs of the first tick
    replay.ghost.samples.positions    # (N, 3) metres
    replay.challenge.spawn.position   # of the embedded map
"""

from tmrl_ray.game.gbx.blocks import Block, SpawnPose
from tmrl_ray.game.gbx.challenge import Challenge, MedalTimes, read_challenge
from tmrl_ray.game.gbx.controls import ControlEvent
from tmrl_ray.game.gbx.ghost import Ghost
from tmrl_ray.game.gbx.lines import GatePass, checkpoints_on_line, line_from_ghost
from tmrl_ray.game.gbx.replay import Replay, read_replay
from tmrl_ray.game.gbx.report import inspect
from tmrl_ray.game.gbx.samples import Samples

__all__ = [
    "Block",
    "Challenge",
    "ControlEvent",
    "GatePass",
    "Ghost",
    "MedalTimes",
    "Replay",
    "Samples",
    "SpawnPose",
    "checkpoints_on_line",
    "inspect",
    "line_from_ghost",
    "read_challenge",
    "read_replay",
]
