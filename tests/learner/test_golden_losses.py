"""The whole loss of both presets on a batch of two, against arithmetic with plain numbers.

Two quantiles, three actions, kappa 0.005. The first sample goes on, its differences lie beyond kappa; the second one
ends its race, so that its target has no breadth and the clamp of the self-loss holds.
"""

from __future__ import annotations

from math import sqrt
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from learner.objective import Averages, Losses, Objective, Quantiles
from tests.learner.drawn import drawn
from tmrl_ray.config.loading import load_config
from tmrl_ray.iqn.network import IQN

PRESETS = Path(__file__).parents[2] / "configs" / "presets"
HALF_KAPPA = 0.0025
QUANTILES = Quantiles(
    online=torch.tensor([[0.25, 0.75], [0.1, 0.9]]),
    target=torch.tensor([[0.4, 0.6], [0.2, 0.8]]),
    choice=torch.tensor([[0.3, 0.7], [0.3, 0.7]]),
)
VALUES = [[[9.0, 0.10, 9.0], [9.0, 0.13, 9.0]], [[9.0, 9.0, -0.023], [9.0, 9.0, 0.0]]]
"""(2, 2, 3) of the online network: 0.10 and 0.13 for the first sample's action 1, -0.023 and 0 for the second's 2."""
NEXT_VALUES = [[[0.20, 0.30, 0.10], [0.26, 0.22, 0.40]], [[7.0, 7.0, 7.0], [7.0, 7.0, 7.0]]]
"""(2, 2, 3) of the target network, where the transitions lead to."""


class Told:
    """A network that says what it is told, and prefers action 0."""

    def __init__(self, values: list[list[list[float]]]) -> None:
        self.values = torch.tensor(values, requires_grad=True)

    def __call__(self, _frames: Tensor, _floats: Tensor, _quantiles: Tensor) -> Tensor:
        return self.values

    def advantages(self, _frames: Tensor, _floats: Tensor, _quantiles: Tensor) -> Tensor:
        return torch.tensor([[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])


def objective_of(preset: str) -> tuple[Objective, list[list[float]]]:
    """Return the objective of a preset, and its gradient for the values of the actions that were taken."""
    settings = load_config(PRESETS / f"{preset}.yaml").learner
    online, target = Told(VALUES), Told(NEXT_VALUES)
    batch = drawn(
        2, actions=torch.tensor([1, 2]), rewards=torch.tensor([0.01, -0.02]), discounts=torch.tensor([0.5, 0.0])
    )
    start = Averages.start(settings, torch.device("cpu"))
    objective = Losses(settings)(cast(IQN, online), cast(IQN, target), batch, QUANTILES, start)
    objective.loss.backward()
    assert online.values.grad is not None and target.values.grad is None
    gradient = online.values.grad
    assert gradient[0, :, [0, 2]].abs().sum() == gradient[1, :, :2].abs().sum() == 0
    return objective, [gradient[0, :, 1].tolist(), gradient[1, :, 2].tolist()]


def check(preset: str, first: tuple[float, float, list[float]], td_error: float, golden: float) -> None:
    """Hold a preset's objective against numbers.

    Args:
        preset: its name.
        first: the first sample's loss, its target's loss against itself, and the slopes of its loss, all unscaled.
        td_error: of the first sample.
        golden: the loss of the batch.
    """
    loss, self_loss, slopes = first
    # Second sample: its targets are -0.02 twice. Value -0.023 at 0.1: twice 0.003 above, 0.003^2 / (2 * 0.005) = 0.0009
    # with weight 0.1. Value 0 at 0.9: twice 0.02 below, 0.02 - 0.0025 = 0.0175 with weight 0.1.
    second = 0.1 * 0.0009 + 0.1 * 0.0175
    # Both averages start from 0.01 and keep 0.99 of it; the second sample's self-loss of 0 counts as a quarter.
    typical = 0.99 * 0.01 + 0.01 * (sqrt(self_loss) + 0.0) / 2
    clamped = 0.99 * 0.01 + 0.01 * (sqrt(self_loss) + typical / 4) / 2
    scales = clamped / sqrt(self_loss), clamped / (typical / 4)
    objective, gradient = objective_of(preset)
    assert loss * scales[0] + second * scales[1] == pytest.approx(golden, rel=1e-6)
    assert objective.loss.item() == pytest.approx(golden, rel=1e-5)
    assert objective.averages.self_loss.item() == pytest.approx(typical, rel=1e-5)
    assert objective.averages.clamped_self_loss.item() == pytest.approx(clamped, rel=1e-5)
    assert objective.td_errors.tolist() == pytest.approx([td_error, -0.02 + 0.0115], abs=1e-6)
    assert gradient[0] == pytest.approx([scales[0] * slope for slope in slopes], rel=1e-4)
    # -0.1 * 0.003 / 0.005 within kappa, 0.1 beyond it
    assert gradient[1] == pytest.approx([-0.06 * scales[1], 0.1 * scales[1]], rel=1e-4)


def test_the_loss_of_rulka() -> None:
    """Double: the online network prefers action 0, so the target's 0.20 and 0.26; targets 0.01 + half: 0.11, 0.14."""
    at_quarter = 0.25 * ((0.01 - HALF_KAPPA) + (0.04 - HALF_KAPPA)) / 2  # value 0.10 is below both
    at_three_quarters = (0.25 * (0.02 - HALF_KAPPA) + 0.75 * (0.01 - HALF_KAPPA)) / 2  # 0.13 is between them
    loss = at_quarter + at_three_quarters
    assert loss == pytest.approx(0.010625)
    # Each target at its quantile against both: 0.03 apart, weight 0.4 for 0.11 at 0.4 and 1 - 0.6 for 0.14 at 0.6.
    self_loss = 0.4 * (0.03 - HALF_KAPPA) / 2 + 0.4 * (0.03 - HALF_KAPPA) / 2
    assert self_loss == pytest.approx(0.011)
    slopes = [-(0.25 + 0.25) / 2, (0.25 - 0.75) / 2]
    check("legacy_rulka", (loss, self_loss, slopes), (0.11 + 0.14) / 2 - (0.10 + 0.13) / 2, 0.008426568522)


def test_the_loss_of_linesight() -> None:
    """The largest at each quantile, 0.30 of action 1 and 0.40 of action 2; targets 0.01 + half: 0.16, 0.21."""
    at_quarter = 0.25 * ((0.06 - HALF_KAPPA) + (0.11 - HALF_KAPPA)) / 2
    at_three_quarters = 0.75 * ((0.03 - HALF_KAPPA) + (0.08 - HALF_KAPPA)) / 2
    loss = at_quarter + at_three_quarters
    assert loss == pytest.approx(0.06)
    self_loss = 0.4 * (0.05 - HALF_KAPPA) / 2 + 0.4 * (0.05 - HALF_KAPPA) / 2
    assert self_loss == pytest.approx(0.019)
    slopes = [-(0.25 + 0.25) / 2, -(0.75 + 0.75) / 2]
    check("linesight", (loss, self_loss, slopes), (0.16 + 0.21) / 2 - (0.10 + 0.13) / 2, 0.01198429059)
