"""The loss of a batch against numbers worked out by hand, with networks that say what they are told."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import Tensor

from learner.objective import Averages, Losses, Quantiles
from tests.learner.drawn import drawn
from tmrl_ray.config.learner import LearnerSettings, MunchausenSettings
from tmrl_ray.iqn.network import IQN

TAUS = torch.tensor([[0.25, 0.75]])
QUANTILES = Quantiles(TAUS, TAUS, TAUS)
PLAIN = LearnerSettings(quantiles=2, kappa=0.5, self_loss=None)


class Told:
    """Says the same values (1, 2, 2) of every observation, and prefers an action."""

    def __init__(self, values: list[list[float]], prefers: int = 0) -> None:
        self.values = torch.tensor([values], requires_grad=True)
        self.prefers = prefers

    def __call__(self, _frames: Tensor, _floats: Tensor, _quantiles: Tensor) -> Tensor:
        return self.values

    def advantages(self, _frames: Tensor, _floats: Tensor, _quantiles: Tensor) -> Tensor:
        return torch.eye(2)[[self.prefers]]


def objective(
    settings: LearnerSettings, online: Told, target: Told, averages: Averages | None = None, **columns: Any
) -> Any:
    batch = drawn(1, actions=torch.tensor([0]), **columns)
    start = averages or Averages.start(settings, torch.device("cpu"))
    return Losses(settings)(cast(IQN, online), cast(IQN, target), batch, QUANTILES, start)


@pytest.mark.parametrize(
    ("bootstrap", "following"),
    [("double", [1.0, 4.0]), ("greedy", [3.0, 2.5]), ("max_per_quantile", [3.0, 4.0])],
)
def test_what_the_return_goes_on_with(bootstrap: str, following: list[float]) -> None:
    """The target's values are 1 and 4 for action 0, which the online network prefers, 3 and 2.5 for action 1."""
    settings = PLAIN.replace(bootstrap=bootstrap)
    online, target = Told([[0.5, 9.0], [1.5, 9.0]], prefers=0), Told([[1.0, 3.0], [4.0, 2.5]])
    result = objective(settings, online, target, rewards=torch.tensor([-1.0]), discounts=torch.tensor([0.5]))
    expected = sum(following) / 2 * 0.5 - 1.0 - 1.0
    assert result.td_errors.tolist() == pytest.approx([expected])
    assert result.figures["target"].item() == pytest.approx(expected + 1.0)


def test_a_loss_by_hand() -> None:
    """Targets 1/4 and 3/4, values 0 and 1, kappa 1/2.

    Value 0 at 1/4: differences 1/4, 3/4; Huber 1/16, 1/2; weights 1/4, 1/4. Value 1 at 3/4: -3/4, -1/4; 1/2, 1/16;
    1/4, 1/4. Each mean is 9/128, their sum 9/64; the weight of the sample is 2.
    """
    result = objective(
        PLAIN,
        Told([[0.0, 9.0], [1.0, 9.0]]),
        Told([[0.5, 0.0], [1.5, 0.0]]),
        rewards=torch.tensor([0.0]),
        discounts=torch.tensor([0.5]),
        weights=torch.tensor([2.0]),
    )
    assert result.loss.item() == pytest.approx(2 * 9 / 64)
    assert result.figures["loss"].item() == pytest.approx(9 / 64)


def test_how_far_quantiles_of_each_action_are_apart() -> None:
    """0 and 1 for action 0, 9 and 12 for action 1: 1 / sqrt(2) and 3 / sqrt(2)."""
    told = objective(PLAIN, Told([[0.0, 9.0], [1.0, 12.0]]), Told([[0.5, 0.0], [1.5, 0.0]])).figures
    by_action = {name: value.item() for name, value in told.items() if name.startswith("quantile_std.")}
    assert by_action == pytest.approx(
        {"quantile_std.accelerate": 0.5**0.5, "quantile_std.accelerate_left": 3 * 0.5**0.5}
    )
    assert told["quantile_std"].item() == pytest.approx(0.5**0.5)


def test_a_loss_scaled_by_the_targets_own_by_hand() -> None:
    """Targets 1/4 and 3/4 against themselves: differences 0 and 1/2, -1/2 and 0; Huber 1/4; weights 1/4, 1/4.

    Sum 2 * (1/4 * 1/4) / 2 = 1/16, its root 1/4. Averages from 0.01 with decay 0.99: both 0.0124; scale 0.0124 / 0.25.
    """
    settings = PLAIN.replace(self_loss=LearnerSettings().self_loss)
    result = objective(
        settings,
        Told([[0.0, 9.0], [1.0, 9.0]]),
        Told([[0.5, 0.0], [1.5, 0.0]]),
        rewards=torch.tensor([0.0]),
        discounts=torch.tensor([0.5]),
    )
    assert result.averages.self_loss.item() == pytest.approx(0.0124)
    assert result.averages.clamped_self_loss.item() == pytest.approx(0.0124)
    assert result.loss.item() == pytest.approx(9 / 64 * 0.0124 / 0.25)


def test_a_finished_race_has_a_target_without_breadth() -> None:
    """Its self-loss is 0 and counts as a quarter of the typical one: 0.0099 / 4."""
    settings = PLAIN.replace(self_loss=LearnerSettings().self_loss)
    result = objective(
        settings,
        Told([[0.0, 9.0], [0.0, 9.0]]),
        Told([[5.0, 0.0], [7.0, 0.0]]),
        rewards=torch.tensor([0.5]),
        discounts=torch.tensor([0.0]),
    )
    assert result.averages.self_loss.item() == pytest.approx(0.0099)
    assert result.averages.clamped_self_loss.item() == pytest.approx(0.0099 + 0.01 * 0.0099 / 4, rel=1e-4)
    assert result.figures["loss"].isfinite()
    assert result.td_errors.tolist() == [0.5]


def test_gradients_reach_the_chosen_action_of_the_online_network_only() -> None:
    online, target = Told([[0.0, 9.0], [1.0, 9.0]]), Told([[0.5, 0.0], [1.5, 0.0]])
    objective(PLAIN, online, target).loss.backward()
    assert target.values.grad is None
    assert online.values.grad is not None
    assert not online.values.grad[0, :, 1].any()
    assert online.values.grad[0, :, 0].all()


def test_munchausen_temperature_follows_the_measured_gap() -> None:
    """The target's mean values are 2.5 and 2.75: a gap of 0.25. From 0.01 with decay 0.9: 0.034; a fifth: 0.0068."""
    munchausen = MunchausenSettings(gap_decay=0.9, temperature_per_gap=0.2, gap_start=0.01)
    online, target = Told([[0.5, 9.0], [1.5, 9.0]]), Told([[1.0, 3.0], [4.0, 2.5]])
    columns = {"rewards": torch.tensor([-1.0]), "discounts": torch.tensor([0.5])}
    result = objective(PLAIN.replace(munchausen=munchausen), online, target, **columns)
    assert result.averages.gap.item() == pytest.approx(0.034)
    assert result.figures["munchausen_temperature"].item() == pytest.approx(0.0068)
    # Action 0 is worse by 0.25, so that tau log pi is -0.25; the soft policy goes on with action 1, all but surely.
    assert result.figures["munchausen_bonus"].item() == pytest.approx(-0.25)
    assert result.td_errors.tolist() == pytest.approx([-1.0 - 0.9 * 0.25 + 0.5 * 2.75 - 1.0])
    fixed = munchausen.replace(temperature=0.5)
    assert objective(PLAIN.replace(munchausen=fixed), online, target).figures["munchausen_temperature"] == 0.5


def test_the_mean_of_losses_is_their_sum_divided_by_the_batch() -> None:
    online, target = Told([[0.0, 9.0], [1.0, 9.0]]), Told([[0.5, 0.0], [1.5, 0.0]])
    sums = [
        Losses(PLAIN.replace(loss=loss))(
            cast(IQN, Repeated(online, 7)),
            cast(IQN, Repeated(target, 7)),
            drawn(7, actions=torch.zeros(7, dtype=torch.int64)),
            QUANTILES,
            Averages.start(PLAIN, torch.device("cpu")),
        ).loss.item()
        for loss in ("sum", "mean")
    ]
    assert sums[0] == pytest.approx(7 * sums[1])


class Repeated:
    """Says of every sample what one says of the first."""

    def __init__(self, told: Told, batch: int) -> None:
        self._told = told
        self._batch = batch

    def __call__(self, *observation: Tensor) -> Tensor:
        return self._told(*observation).expand(self._batch, -1, -1)

    def advantages(self, *observation: Tensor) -> Tensor:
        return self._told.advantages(*observation).expand(self._batch, -1)
