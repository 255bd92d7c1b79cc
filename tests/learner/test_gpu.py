"""The update on a CUDA device: the same numbers, and never a wait for the device."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch

from learner.device_copies import DeviceCopies
from learner.report import summarise
from tests.experience.races import FORMAT, OBSERVATION
from tests.experience.test_batches import BATCH, SIZE, VALUATION, fill
from tests.iqn.networks import SMALL, small_io, small_network
from tests.iqn.test_policy import FRAME, SEEN
from tests.learner.drawn import SETTINGS, drawn, update_of
from tests.learner.test_update import VARIANTS
from tmrl_ray.config.learner import TargetSettings
from tmrl_ray.config.pretrained import ImitationSettings
from tmrl_ray.config.replay import AugmentationSettings
from tmrl_ray.experience.batch_builder import BatchBuilder, BatchRecipe
from tmrl_ray.experience.ring import Ring
from tmrl_ray.experience.sampling import Sampler
from tmrl_ray.iqn.policy import IQNPolicy

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device"),
]
CUDA = torch.device("cuda")
NETWORKS: list[dict[str, Any]] = [{}, {"noisy": True, "dropout": 0.2, "layer_norm": True}, {"encoder": "impala"}]


@pytest.fixture
def no_waiting() -> Iterator[None]:
    """Make every wait of the host for the device an error."""
    torch.cuda.set_sync_debug_mode("error")
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("network", NETWORKS)
def test_a_step_never_waits_for_the_device(name: str, network: dict[str, Any], request: pytest.FixtureRequest) -> None:
    update = update_of(
        SETTINGS.replace(target=TargetSettings(interval_samples=3), **VARIANTS[name]), device="cuda", **network
    )
    batches = [drawn(seed=seed).to(CUDA) for seed in range(4)]
    update.step(batches[0], env_steps=0)  # kernels are loaded, and libraries chosen, with waits
    request.getfixturevalue("no_waiting")
    reports = [update.step(batch, env_steps=seed) for seed, batch in enumerate(batches)]
    torch.cuda.set_sync_debug_mode("default")
    assert len(summarise(reports).figures) > 10


@pytest.mark.parametrize("kind", ["cross_entropy", "margin"])
def test_imitation_never_waits_for_the_device(kind: Literal["cross_entropy", "margin"]) -> None:
    update = update_of(SETTINGS.replace(imitation=ImitationSettings(kind=kind)), device="cuda")
    batches = [drawn(seed=seed, expert_actions=torch.tensor([-1] * 5 + [0, 2])).to(CUDA) for seed in range(3)]
    update.step(batches[0], env_steps=0)
    torch.cuda.set_sync_debug_mode("error")
    try:
        reports = [update.step(batch, env_steps=seed) for seed, batch in enumerate(batches)]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert "imitation_loss" in summarise(reports).figures


def test_the_first_loss_is_that_of_the_cpu() -> None:
    """Quantiles are drawn by another generator, so they are shared out by hand: the loss of fixed ones."""
    here, there = update_of(), update_of(device="cuda")
    quantiles = here._quantiles(7)
    batch = drawn()
    with torch.no_grad():
        mine = here._eager(here.online, here.target, batch, quantiles, here._averages)
        moved = type(quantiles)(*(each.to(CUDA) for each in quantiles))
        theirs = there._eager(there.online, there.target, batch.to(CUDA), moved, there._averages)
    assert theirs.loss.item() == pytest.approx(mine.loss.item(), rel=1e-2)
    assert torch.allclose(theirs.td_errors.cpu(), mine.td_errors, atol=1e-2)


def test_a_state_goes_on_exactly_on_the_device() -> None:
    update, resumed = update_of(device="cuda"), update_of(device="cuda", seed=9)
    for seed in range(3):
        update.step(drawn(seed=seed).to(CUDA), env_steps=seed)
    resumed.load_state_dict(*update.state_dict())
    reports = [each.step(drawn(seed=7).to(CUDA), env_steps=7) for each in (update, resumed)]
    assert torch.allclose(reports[0].figures, reports[1].figures, rtol=1e-5)


def test_a_policy_acts_on_the_device() -> None:
    network = small_network(seed=7)
    values = []
    for device in ("cpu", "cuda"):
        policy = IQNPolicy(SMALL, small_io(), seed=1, draw_quantiles=False, device=device)
        policy.load(network.state_dict(), version=1)
        values.append(torch.from_numpy(policy.act(FRAME, SEEN).q_values))
    assert torch.allclose(values[0], values[1], atol=1e-2)


@pytest.mark.slow
def test_a_compiled_step_learns_as_an_eager_one_does() -> None:
    compiled, eager = (update_of(SETTINGS.replace(compile=each), device="cuda") for each in (True, False))
    for seed in range(3):
        reports = [each.step(drawn(seed=seed).to(CUDA), env_steps=seed) for each in (compiled, eager)]
    assert compiled.compiled
    assert torch.allclose(reports[0].td_errors, reports[1].td_errors, atol=0.05)


@pytest.mark.parametrize("shift_pixels", [0, 2])
def test_pictures_that_stay_arrive_without_a_wait_for_the_device(
    shift_pixels: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    ring = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    sampler = Sampler(ring)
    fill(sampler)
    augmentation = AugmentationSettings(shift_pixels=shift_pixels, mirror_share=0.5)
    recipe = BatchRecipe(BATCH, OBSERVATION, frame_stack=2, augmentation=augmentation)
    gathers, keeps = BatchBuilder(recipe, ring), BatchBuilder(recipe, ring, pinned=True, pictures_on=CUDA)
    copies, seen, expected = DeviceCopies(CUDA, keeps.buffers), list[torch.Tensor](), list[torch.Tensor]()
    for number in range(3):
        if number == 1:  # kernels are loaded, and memory is taken, with waits
            request.getfixturevalue("no_waiting")
        draw = sampler.draw(9, BATCH)
        assert draw is not None
        expected += [torch.stack([each.frames, each.next_frames]) for each in gathers.batches(draw, VALUATION)]
        for batch in keeps.batches(draw, VALUATION):
            copied = copies.take(batch)
            torch.cuda._sleep(5_000_000)
            seen.append(torch.stack([copied.frames, copied.next_frames]))
    torch.cuda.set_sync_debug_mode("default")
    assert all(torch.equal(there.cpu(), here) for there, here in zip(seen, expected, strict=True))
    ring.close()
