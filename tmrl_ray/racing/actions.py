"""The twelve actions of the agent: which keys each one holds, and what each one is in a mirror.

An action is held for one decision, 50 ms of race time. The order is that of the public TMNF agents, so that their
weights, recordings and plots mean the same here.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.inputs import Inputs

ACTIONS: tuple[Inputs, ...] = (
    Inputs(accelerate=True),
    Inputs(accelerate=True, left=True),
    Inputs(accelerate=True, right=True),
    Inputs(),
    Inputs(left=True),
    Inputs(right=True),
    Inputs(brake=True),
    Inputs(brake=True, left=True),
    Inputs(brake=True, right=True),
    Inputs(accelerate=True, brake=True),
    Inputs(accelerate=True, brake=True, left=True),
    Inputs(accelerate=True, brake=True, right=True),
)
"""What each action presses."""

ACTION_COUNT = len(ACTIONS)
FORWARD = 0
FORWARD_LEFT = 1
FORWARD_RIGHT = 2
COAST = 3
BRAKE = 6

KEY_NAMES = ("accelerate", "brake", "left", "right")
"""The keys of an action, in the order in which the observation lists them."""


def _keys(inputs: Inputs) -> tuple[bool, ...]:
    return inputs.accelerate, inputs.brake, inputs.left, inputs.right


def _name(inputs: Inputs) -> str:
    return "+".join(name for name, pressed in zip(KEY_NAMES, _keys(inputs), strict=True) if pressed) or "nothing"


ACTION_NAMES: tuple[str, ...] = tuple(_name(inputs) for inputs in ACTIONS)
"""``accelerate+left`` and the like, for plots and messages."""

ACTION_KEYS: NDArray[np.float32] = np.array([_keys(inputs) for inputs in ACTIONS], dtype=np.float32)  # (A, 4)
"""(A, 4) one where the action presses the key of ``KEY_NAMES``."""
ACTION_KEYS.setflags(write=False)

_INDEX = {_keys(inputs): index for index, inputs in enumerate(ACTIONS)}


def action_of(inputs: Inputs) -> int:
    """Return the action that presses exactly the keys of ``inputs``.

    Raises:
        InvalidInputError: left and right are pressed together, or the steering is analog: no action does that.
    """
    if inputs.steer is not None:
        raise InvalidInputError(
            f"no action steers by analog input, these inputs do: steer {inputs.steer}",
            hint="Turn the steering into the keys left and right first.",
        )
    action = _INDEX.get(_keys(inputs))
    if action is None:
        raise InvalidInputError(
            "no action presses left and right together, these inputs do",
            hint="Decide which of the two keys counts before asking for the action.",
        )
    return action


MIRRORED: NDArray[np.int64] = np.array(
    [action_of(inputs._replace(left=inputs.right, right=inputs.left)) for inputs in ACTIONS]
)
"""(A,) the action with left and right exchanged, for each action."""
MIRRORED.setflags(write=False)


def mirror_action(action: int) -> int:
    """Return the action that does on a mirrored track what ``action`` does on the track."""
    return int(MIRRORED[action])
