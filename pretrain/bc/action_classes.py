"""Classes of actions that are cloned: the agent's twelve, or coarser and finer divisions of the same keys.

* 12: the agent's actions.
* 9: steering (straight, left, right) by what the pedals do: drive, coast, brake. Braking counts, whatever else is
  pressed, so brake with accelerator is brake.
* 27: steering, accelerator and brake in three steps each (none, half, full). Keys are none or full.

Shape letters: A classes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game.inputs import Inputs
from tmrl_ray.racing.actions import ACTION_NAMES, ACTIONS, MIRRORED

Ints = NDArray[np.int64]

_STEERS = ("straight", "left", "right")
_PEDALS = ("drive", "coast", "brake")
_STEPS = ("none", "half", "full")
_FULL = 2


@dataclass(frozen=True, eq=False)
class ActionClasses:
    """A division of the agent's actions."""

    names: tuple[str, ...]
    """(A,) of each class."""
    of_action: Ints
    """(12,) the class of each of the agent's actions."""
    action_of: Ints
    """(A,) the agent's action that stands for each class."""
    mirrored: Ints
    """(A,) each class with left and right exchanged."""

    def __len__(self) -> int:
        return len(self.names)

    @classmethod
    def of(cls, count: Literal[12, 9, 27]) -> ActionClasses:
        """Return the division into so many classes."""
        if count == 12:
            every = np.arange(count)
            return cls(ACTION_NAMES, every, every, np.array(MIRRORED))
        if count == 9:
            names = tuple(f"{steer}+{pedal}" for steer in _STEERS for pedal in _PEDALS)
            return cls._divide(names, [3 * _steer(inputs) + _pedal(inputs) for inputs in ACTIONS], block=3)
        names = tuple(f"{steer}+{gas} gas+{brake} brake" for steer in _STEERS for gas in _STEPS for brake in _STEPS)
        pressed = [9 * _steer(inputs) + 3 * _FULL * inputs.accelerate + _FULL * inputs.brake for inputs in ACTIONS]
        return cls._divide(names, pressed, block=9)

    @classmethod
    def _divide(cls, names: tuple[str, ...], of_action: list[int], *, block: int) -> ActionClasses:
        """Make the division; classes with the same steering stand in blocks, straight, left, right."""
        of = np.array(of_action, np.int64)
        every = np.arange(len(names))
        steer = np.array([0, 2, 1])[every // block]
        return cls(
            names,
            of,
            np.array([_nearest(each, of, block) for each in range(len(names))]),
            steer * block + every % block,
        )


def _steer(inputs: Inputs) -> int:
    return 1 if inputs.left else 2 if inputs.right else 0


def _pedal(inputs: Inputs) -> int:
    return 2 if inputs.brake else 0 if inputs.accelerate else 1


def _nearest(wanted: int, of_action: Ints, block: int) -> int:
    """Return the first action of a class, or of the class with the same steering whose steps differ least."""
    steered = np.flatnonzero(of_action // block == wanted // block)
    theirs = of_action[steered] % block
    mine = wanted % block
    away = np.abs(theirs // 3 - mine // 3) + np.abs(theirs % 3 - mine % 3)
    return int(steered[away.argmin()])
