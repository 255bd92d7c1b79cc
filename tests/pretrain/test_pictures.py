"""Augmentation, normalisation, encoders and decoders."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from pretrain.augment import brighten, mirror, shift
from pretrain.encoder import StackEncoder, build_parts, from_unit, load_encoder, normalise, to_bytes, to_unit
from pretrain.visual.decoder import Decoder
from tests.pretrain.drawn_races import HEIGHT, WIDTH
from tests.pretrain.stages import IO, NETWORK, cloning, visual
from tmrl_ray.errors import ArtifactError
from tmrl_ray.iqn.network import build_network

FRAMES = torch.randint(0, 256, (5, 3, HEIGHT, WIDTH), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def shifted(frames: np.ndarray, down: int, right: int) -> np.ndarray:
    """The same, one picture at a time."""
    rows = np.clip(np.arange(HEIGHT) - down, 0, HEIGHT - 1)
    columns = np.clip(np.arange(WIDTH) - right, 0, WIDTH - 1)
    return frames[:, rows][:, :, columns]


def test_each_stack_is_shifted_as_a_whole_by_a_draw_of_its_own() -> None:
    torch.manual_seed(3)
    moved = shift(FRAMES, 2).numpy()
    draws = []
    for before, after in zip(FRAMES.numpy(), moved, strict=True):
        fits = [
            (down, right)
            for down in range(-2, 3)
            for right in range(-2, 3)
            if np.array_equal(shifted(before, down, right), after)
        ]
        assert len(fits) == 1
        draws += fits
    assert len(set(draws)) > 1


def test_the_reference_shifts_all_alike() -> None:
    torch.manual_seed(3)
    same = FRAMES[:1].expand(5, -1, -1, -1)
    moved = shift(same, 4, whole_batch=True)
    assert (moved == moved[:1]).all()
    assert not (shift(same, 4) == moved[:1]).all()


def test_brightness_stays_in_range_and_differs_between_samples() -> None:
    pixels = torch.full((7, 1, 2, 2), 0.9)
    lit = brighten(pixels, 0.2)
    assert lit.max() <= 1.0
    assert len(torch.unique(lit[:, 0, 0, 0])) > 1
    assert len(torch.unique(brighten(pixels, 0.2, whole_batch=True)[:, 0, 0, 0])) == 1


def test_only_chosen_samples_are_mirrored() -> None:
    chosen = torch.tensor([True, False, True, False, False])
    seen = mirror(FRAMES, chosen)
    assert torch.equal(seen[0], FRAMES[0].flip(-1))
    assert torch.equal(seen[1], FRAMES[1])


def test_the_two_ranges() -> None:
    every = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    unit, iqn = normalise(every, "01"), normalise(every, "iqn")
    assert (unit.min(), unit.max()) == (0.0, 1.0)
    assert (iqn.min(), iqn.max()) == (-1.0, 127 / 128)
    torch.testing.assert_close(from_unit(to_unit(every), "iqn"), iqn)
    for normalization in ("01", "iqn"):
        assert torch.equal(to_bytes(normalise(every, normalization), normalization), every)


def test_the_encoder_is_the_networks_and_sees_what_it_sees() -> None:
    network = build_network(NETWORK.replace(frame_stack=3), IO, seed=42)
    encoder = StackEncoder(build_parts(visual(n_stack=3), NETWORK, IO).encoder, visual(n_stack=3), (WIDTH, HEIGHT))
    mine = {f"encoder.{name}": each for name, each in encoder.encoder.state_dict().items()}
    theirs = {name: each for name, each in network.state_dict().items() if name.startswith("encoder.")}
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)
    config = visual(n_stack=3, image_normalization="iqn")
    encoder = StackEncoder(network.encoder, config, (WIDTH, HEIGHT))
    floats = torch.zeros(5, len(IO.mean))
    seen = network.encode(FRAMES, floats)[:, : encoder.features]
    torch.testing.assert_close(encoder(FRAMES), seen)


def test_concat_looks_at_one_picture_at_a_time_and_joins_them() -> None:
    config = visual(n_stack=3, stack_mode="concat")
    encoder = StackEncoder(build_parts(config, NETWORK, IO).encoder, config, (WIDTH, HEIGHT))
    single = torch.cat([encoder.encoder(normalise(FRAMES[:, k : k + 1], "01")) for k in range(3)], dim=1)
    torch.testing.assert_close(encoder(FRAMES), encoder.fusion(single))


def test_the_reference_clones_from_the_last_picture_only() -> None:
    config = cloning(n_stack=3, legacy_last_frame=True)
    encoder = StackEncoder(build_parts(config, NETWORK, IO).encoder, config, (WIDTH, HEIGHT))
    other = FRAMES.clone()
    other[:, :2] = 0
    torch.testing.assert_close(encoder(FRAMES), encoder(other))


def encoder_of(stack: int) -> nn.Module:
    return build_network(NETWORK.replace(frame_stack=stack), IO, seed=3).encoder


def test_several_channels_become_their_mean() -> None:
    many, one = encoder_of(3), encoder_of(1)
    load_encoder(one, {f"encoder.{name}": each for name, each in many.state_dict().items()}, "there")
    torch.testing.assert_close(one[0].weight, many[0].weight.mean(dim=1, keepdim=True))
    assert torch.equal(one[2].weight, many[2].weight)


def test_an_encoder_of_one_picture_begins_with_the_newest_of_a_stack() -> None:
    one, many = encoder_of(1), encoder_of(3)
    load_encoder(many, {f"encoder.{name}": each for name, each in one.state_dict().items()}, "there")
    pixels = normalise(FRAMES, "iqn")
    torch.testing.assert_close(many(pixels), one(pixels[:, -1:]))


def test_an_encoder_that_does_not_fit_is_refused_with_every_difference() -> None:
    tensors = {f"encoder.{name}": each for name, each in encoder_of(1).state_dict().items()}
    tensors["encoder.2.weight"] = tensors["encoder.2.weight"][:, :5]
    del tensors["encoder.4.bias"]
    with pytest.raises(ArtifactError) as error:
        load_encoder(encoder_of(1), tensors, "runs/vis")
    assert "2.weight: (32, 5, 4, 4), wanted (32, 16, 4, 4)" in str(error.value)
    assert "4.bias: missing, wanted (64,)" in str(error.value)


@pytest.mark.parametrize(("normalization", "legacy", "low"), [("01", False, 0), ("iqn", False, -1), ("iqn", True, 0)])
def test_a_decoder_ends_in_the_range_of_the_pictures(normalization: str, legacy: bool, low: int) -> None:
    decoder = Decoder(7, frames=2, frame_size=(WIDTH, HEIGHT), normalization=normalization, legacy_sigmoid=legacy)
    pixels = decoder(100 * torch.randn(11, 7))
    assert pixels.shape == (11, 2, HEIGHT, WIDTH)
    assert pixels.min() >= low
    assert (pixels.min() < -0.5) == (low == -1)
