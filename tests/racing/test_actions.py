"""The twelve actions against the list that the public agents use."""

import numpy as np
import pytest

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.racing.actions import (
    ACTION_COUNT,
    ACTION_KEYS,
    ACTION_NAMES,
    ACTIONS,
    MIRRORED,
    action_of,
    mirror_action,
)

# accelerate, brake, left, right
EXPECTED = ["1000", "1010", "1001", "0000", "0010", "0001", "0100", "0110", "0101", "1100", "1110", "1101"]


def test_keys_of_each_action():
    assert [f"{i.accelerate:d}{i.brake:d}{i.left:d}{i.right:d}" for i in ACTIONS] == EXPECTED
    assert ACTION_KEYS.astype(int).tolist() == [[int(key) for key in keys] for keys in EXPECTED]
    assert ACTION_NAMES[10] == "accelerate+brake+left"
    assert ACTION_NAMES[3] == "nothing"


def test_action_of_inputs_is_the_inverse():
    assert [action_of(inputs) for inputs in ACTIONS] == list(range(ACTION_COUNT))


@pytest.mark.parametrize("inputs", [Inputs(left=True, right=True), Inputs(accelerate=True, steer=100)])
def test_inputs_that_no_action_gives_are_refused(inputs):
    with pytest.raises(InvalidInputError, match="no action"):
        action_of(inputs)


def test_mirror_exchanges_left_and_right():
    pairs = {1: 2, 4: 5, 7: 8, 10: 11}
    expected = [pairs.get(a, {v: k for k, v in pairs.items()}.get(a, a)) for a in range(ACTION_COUNT)]
    assert MIRRORED.tolist() == expected
    assert [mirror_action(mirror_action(a)) for a in range(ACTION_COUNT)] == list(range(ACTION_COUNT))


def test_tables_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        ACTION_KEYS[0, 0] = np.float32(5)
