from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from pretrain.batches import Ahead, Batch, Look
from pretrain.encoder import StackEncoder, build_parts
from pretrain.visual.tasks import SimCLR, TemporalContrast, VariationalAutoencoder, nt_xent
from pretrain.visual.visual_stage import VisualStage, moments_ahead
from tests.pretrain.drawn_races import HEIGHT, WIDTH
from tests.pretrain.stages import IO, NETWORK, loop_of, stage_of, visual
from tmrl_ray.config.pretrain import VisualConfig
from tmrl_ray.errors import ConfigError
from tmrl_ray.runs.artifact import PartKey

SIZE = (WIDTH, HEIGHT)


def encoder_of(config: VisualConfig) -> StackEncoder:
    return StackEncoder(build_parts(config, NETWORK, IO).encoder, config, SIZE)


def batch_of(frames: torch.Tensor, ahead: dict[str, Look] | None = None) -> Batch:
    return Batch(frames, ahead or {}, None, None, None)


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 1, HEIGHT, WIDTH), dtype=torch.uint8, generator=generator)


def test_nt_xent_by_hand() -> None:
    codes = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 2.0]])  # two samples, their views the same
    right, wrong = math.exp(1 / 0.5), math.exp(0.0)
    assert float(nt_xent(codes, 0.5)) == pytest.approx(-math.log(right / (right + 2 * wrong)))


def test_nt_xent_of_codes_that_tell_nothing() -> None:
    assert float(nt_xent(torch.ones(14, 3), 0.5)) == pytest.approx(math.log(13))


def test_the_loss_of_a_variational_autoencoder_by_hand() -> None:
    config = visual(task="vae", vae_latent=2, kl_weight=0.25)
    encoder = encoder_of(config)
    task = VariationalAutoencoder(encoder, config, SIZE).eval()
    last = task.code[-1]
    torch.nn.init.zeros_(last.weight)
    last.bias.data = torch.tensor([1.0, 2.0, 0.0, math.log(4.0)])  # means 1 and 2, variances 1 and 4
    loss, tallies = task(encoder, batch_of(pictures(3)))
    kl = 0.5 * ((1 + 1 - 1 - 0) + (4 + 4 - 1 - math.log(4.0)))
    assert float(tallies["kl"]) / 3 == pytest.approx(kl)
    assert float(loss.detach()) == pytest.approx(float(tallies["mse"]) / 3 + 0.25 * kl)


def test_the_noise_of_the_code_is_there_in_training_only() -> None:
    config = visual(task="vae")
    encoder = encoder_of(config)
    task, batch = VariationalAutoencoder(encoder, config, SIZE), batch_of(pictures(5))
    assert task(encoder, batch).loss != task(encoder, batch).loss
    task.eval()
    assert task(encoder, batch).loss == task(encoder, batch).loss


def test_the_references_decoder_has_a_floor() -> None:
    """What is below the middle cannot be told by a sigmoid: its loss does not fall below the mean square of it."""
    losses = {}
    for legacy in (False, True):
        config = visual(image_normalization="iqn", legacy_sigmoid_output=legacy, epochs=6, lr=3e-3)
        losses[legacy] = [report.figures["train_loss"] for report in loop_of(config).run()][-1]
    dark = ((40 - 128) / 128) ** 2 * 0.9  # nine tenths of a drawn picture are dark
    assert losses[True] > 0.85 * dark
    assert losses[False] < 0.5 * dark


@pytest.mark.parametrize("legacy", [False, True])
def test_views_of_simclr(legacy: bool) -> None:
    config = visual(task="simclr", image_normalization="iqn", legacy_batch_augmentation=legacy)
    task = SimCLR(encoder_of(config), config)
    view = task._view(encoder_of(config), pictures(1).expand(9, -1, -1, -1))
    assert (view.min() < -0.5) == (not legacy)  # the reference cuts off at 0, where the pictures' range begins at -1
    assert (view == view[:1]).all() == legacy


def test_slow_encoders_follow_and_get_no_gradient() -> None:
    config = visual(task="atc", momentum=0.75)
    encoder = encoder_of(config)
    task = TemporalContrast(encoder, config)
    look = Look(pictures(4, 1)[:, None], torch.zeros(4, 1, dtype=torch.int64), torch.zeros(4, 1, dtype=torch.int64))
    torch.autograd.backward(task(encoder, batch_of(pictures(4), {"atc": look})).loss)
    slow, fast = next(task.slow.encoder.parameters()), next(encoder.parameters())
    assert slow.grad is None
    assert fast.grad is not None
    before = slow.clone()
    with torch.no_grad():
        fast.add_(1.0)
    task.after_step(encoder)
    torch.testing.assert_close(slow, before + 0.25)


@pytest.mark.parametrize(("task", "figure", "least"), [("idm", "idm_accuracy", 0.9), ("spr", "spr_cosine", 0.8)])
def test_what_comes_after_a_picture_is_learned(task: str, figure: str, least: float) -> None:
    loop = loop_of(visual(task=task, epochs=4, lr=3e-3, idm_ahead_ms=50, shift_pixels=1))
    figures = [report.figures for report in loop.run()]
    assert figures[-1][f"val_{figure}"] > least


def test_a_mixture_weighs_its_losses() -> None:
    stage = stage_of(visual(mixture={"ae": 2.0, "simclr": 0.5}))
    assert isinstance(stage, VisualStage)
    loss, tallies = stage(batch_of(pictures(7)))
    parts = {name: float(tallies[f"{name}_loss"]) / 7 for name in ("ae", "simclr")}
    assert float(loss.detach()) == pytest.approx(2.0 * parts["ae"] + 0.5 * parts["simclr"], rel=1e-5)


@pytest.mark.parametrize("mode", ["channel", "concat"])
def test_the_artifact_has_the_networks_encoder_alone(mode: str) -> None:
    stage = stage_of(visual(task="vae", n_stack=3, stack_mode=mode))
    (key, tensors), *rest = stage.artifact_parts().items()
    assert (key, rest) == (PartKey("encoder"), [])
    assert tensors["encoder.0.weight"].shape == (16, 3 if mode == "channel" else 1, 4, 4)


def test_times_ahead_become_pictures() -> None:
    config = visual(mixture={"atc": 1, "idm": 1, "spr": 1, "ae": 1}, atc_ahead_ms=(50, 120), idm_ahead_ms=45)
    assert moments_ahead(config, 20) == {
        "atc": Ahead((3, 4, 5, 6), drawn=True),
        "idm": Ahead((1, 2), drawn=True),
        "spr": Ahead((2, 4, 6, 8, 10, 12), drawn=False),
    }


def test_looking_less_far_than_the_next_picture_is_refused() -> None:
    with pytest.raises(ConfigError, match="idm_ahead_ms = 90 ms: the pictures of the dataset are 100 ms apart"):
        moments_ahead(visual(task="idm", idm_ahead_ms=90), 100)


def test_rebuilt_pictures_are_those_of_a_task_that_rebuilds() -> None:
    frames = pictures(3)
    rebuilt = stage_of(visual(mixture={"simclr": 1, "ae": 1})).rebuild(frames)
    assert rebuilt.shape == frames.shape
    assert stage_of(visual(task="simclr")).rebuild(frames) is None
    assert np.isfinite(rebuilt.numpy()).all()
