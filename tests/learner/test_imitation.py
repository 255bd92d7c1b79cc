"""The loss on demonstrations: figures worked out by hand, and where its gradients go."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from learner.imitation import cross_entropy, imitation_losses, large_margin, worth_copying
from learner.objective import Averages, Losses, Objective, Quantiles
from learner.report import summarise
from tests.iqn.networks import ACTIONS, BATCH, small_network
from tests.learner.drawn import SETTINGS, drawn, update_of
from tmrl_ray.config.pretrained import ImitationSettings
from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.iqn.network import IQN, part_of, symmetric_quantiles

VALUES = torch.tensor([[0.01, 0.03, 0.02]])
CPU = torch.device("cpu")
EXPERTS = torch.tensor([2, -1, 0, -1, 1, -1, -1])
"""Of a batch: the last rows are demonstrations in a drawn one, which losses do not rely on."""


def settings(**changes: Any) -> ImitationSettings:
    return ImitationSettings(**{"temperature": 0.01, "margin": 0.02, "q_filter": False} | changes)


def test_cross_entropy_by_hand() -> None:
    partition = math.exp(1) + math.exp(3) + math.exp(2)  # values / 0.01
    for expert, value in enumerate((1, 3, 2)):
        loss = cross_entropy(VALUES, torch.tensor([expert]), temperature=0.01)
        assert loss.item() == pytest.approx(math.log(partition) - value, rel=1e-5)
    smooth = cross_entropy(VALUES, torch.tensor([1]), temperature=0.01, label_smoothing=0.3)
    assert smooth.item() == pytest.approx(math.log(partition) - (0.7 * 3 + 0.3 * 2), rel=1e-5)


def test_large_margin_by_hand() -> None:
    for expert, loss in ((0, 0.02 + 0.03 - 0.01), (1, 0.02 + 0.02 - 0.03), (2, 0.02 + 0.03 - 0.02)):
        assert large_margin(VALUES, torch.tensor([expert]), margin=0.02).item() == pytest.approx(loss, rel=1e-4)
    assert large_margin(VALUES, torch.tensor([1]), margin=0.01).item() == pytest.approx(0.0, abs=1e-8)
    assert large_margin(VALUES, torch.tensor([1]), margin=0.001).item() == 0.0


def test_what_is_worth_copying_by_hand() -> None:
    weights = [math.exp(value) for value in (1, 3, 2)]
    average = sum(weight * value for weight, value in zip(weights, (1, 3, 2), strict=True)) / sum(weights)
    assert 2 < average < 3
    worth = [worth_copying(VALUES, torch.tensor([expert]), temperature=0.01).item() for expert in range(3)]
    assert worth == [False, True, False]
    warm = [worth_copying(VALUES, torch.tensor([expert]), temperature=100.0).item() for expert in range(3)]
    assert warm == [False, True, False]  # the plain mean is 0.02, a hair less than what the soft policy earns
    alike = torch.full((1, 3), 0.5)
    assert all(worth_copying(alike, torch.tensor([expert]), temperature=0.01).item() for expert in range(3))


def test_only_demonstrations_that_are_worth_it_count() -> None:
    values = VALUES.expand(4, 3).unsqueeze(1) + torch.tensor([-0.5, 0.5]).view(1, 2, 1)  # (4, 2, 3), the same means
    experts = torch.tensor([-1, 0, 1, 2])
    losses, figures = imitation_losses(settings(kind="margin"), values, experts, None)
    torch.testing.assert_close(losses, torch.tensor([0.0, 0.04, 0.01, 0.03]), rtol=1e-3, atol=1e-6)
    assert figures["imitation_loss"].item() == pytest.approx(0.08 / 3, rel=1e-3)
    assert figures["imitation_accuracy"].item() == pytest.approx(1 / 3)
    assert figures["imitation_margin_share"].item() == 0.0
    assert figures["imitation_copied_share"].item() == 1.0
    losses, figures = imitation_losses(settings(kind="margin"), values, experts, values)
    torch.testing.assert_close(losses, torch.tensor([0.0, 0.0, 0.01, 0.0]), rtol=1e-3, atol=1e-6)
    assert figures["imitation_copied_share"].item() == pytest.approx(1 / 3)
    nothing, figures = imitation_losses(settings(), values, torch.full((4,), -1), values)
    assert not nothing.any() and not any(figure.any() for figure in figures.values())


def objective(network: IQN, weight: float | None, **changes: Any) -> Objective:
    """Return the objective of a batch, its gradients in the network."""
    learner = SETTINGS.replace(imitation=settings(**changes))
    generator = torch.Generator().manual_seed(5)
    quantiles = Quantiles(*symmetric_quantiles(3 * BATCH, 4, generator=generator, device=CPU).view(3, BATCH, 4))
    batch = drawn(expert_actions=EXPERTS)
    losses = Losses(learner)
    given = None if weight is None else torch.tensor(weight)
    result = losses(network, small_network(seed=9), batch, quantiles, Averages.start(learner, CPU), given)
    network.zero_grad()
    result.loss.backward()
    return result


def gradients(network: IQN) -> dict[str, torch.Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("kind", ["cross_entropy", "margin"])
def test_its_gradient_goes_everywhere_but_into_the_value_head(kind: str) -> None:
    network = small_network()
    without = objective(network, None)
    before = gradients(network)
    with_it = objective(network, 0.5, kind=kind)
    differences = {name: (grad - before[name]).abs().max().item() for name, grad in gradients(network).items()}
    changed = {part_of(name) for name, difference in differences.items() if difference > 1e-4}
    assert changed == {"encoder", "float_head", "quantile_layer", "advantage_head"}
    told = with_it.figures["imitation_loss"] * (EXPERTS >= 0).sum()
    torch.testing.assert_close(with_it.loss, without.loss + 0.5 * told, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(with_it.td_errors, without.td_errors, rtol=0, atol=0)


def test_no_weight_is_no_loss() -> None:
    network = small_network()
    without = objective(network, None)
    before = gradients(network)
    zero = objective(network, 0.0, q_filter=True)
    assert torch.equal(zero.loss, without.loss)
    assert all(torch.equal(grad, before[name]) for name, grad in gradients(network).items())
    assert {"imitation_loss", "imitation_accuracy"} <= zero.figures.keys()
    assert "imitation_loss" not in without.figures


def test_it_teaches_what_the_expert_did() -> None:
    network = small_network()
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(60):
        result = objective(network, 100.0)
        optimiser.step()
    assert result.figures["imitation_accuracy"].item() == 1.0
    assert set(EXPERTS[EXPERTS >= 0].tolist()) == set(range(ACTIONS))


@pytest.mark.parametrize(
    "changes", [{}, {"kind": "margin"}, {"q_filter": True, "temperature": 100.0}, {"label_smoothing": 0.1}]
)
def test_an_update_imitates_by_its_schedule_and_is_the_same_without(changes: dict[str, Any]) -> None:
    schedule = ScheduleSettings(points=((0, 0.0), (100, 0.0), (101, 2.0)))
    imitating = update_of(SETTINGS.replace(imitation=settings(weight=schedule, **changes)))
    plain = update_of()
    batch = drawn(expert_actions=EXPERTS)
    for env_steps, alike in ((0, True), (100, True), (101, False)):
        told = imitating.step(batch, env_steps=env_steps)
        plain.step(batch, env_steps=env_steps)
        weights, others = imitating.weights(), plain.weights()
        assert all(torch.equal(weights[name], others[name]) for name in weights) is alike
        assert ("imitation_loss" in told.names) is not alike
    figures = summarise([told]).figures
    assert figures["imitation_weight"] == 2.0
    assert 0 <= figures["imitation_copied_share"] <= 1
