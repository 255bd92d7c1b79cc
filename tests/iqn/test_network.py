"""The network: its size to the parameter, its shapes, its identities, and that each option does something."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.iqn.networks import (
    ACTIONS,
    BATCH,
    FLOATS,
    HEIGHT,
    OPTIONS,
    QUANTILES,
    SMALL,
    WIDTH,
    observations,
    small_io,
    small_network,
)
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.iqn.encoders import LEAST_CONV_PIXELS, ConvEncoder, features_of
from tmrl_ray.iqn.network import IQN, PARTS, NetworkIO, build_network, part_of, symmetric_quantiles

CPU = torch.device("cpu")


def parameters_of(settings: NetworkSettings, frame_size: tuple[int, int] | None) -> int:
    io = NetworkIO(frame_size, np.zeros(184, np.float32), np.ones(184, np.float32), actions=12)
    return sum(parameter.numel() for parameter in build_network(settings, io, seed=0).parameters())


@pytest.mark.parametrize(
    ("frame_size", "embedding", "count"),
    [((64, 64), 128, 1_051_805), ((160, 120), 64, 6_578_333), (None, 128, 1_051_805 - 45_456 - 512 * (129 + 2 * 512))],
)
def test_parameters_are_those_of_the_reference(frame_size: tuple[int, int] | None, embedding: int, count: int) -> None:
    assert parameters_of(NetworkSettings(quantile_embedding=embedding), frame_size) == count


@pytest.mark.parametrize(
    ("width", "height", "features"), [(64, 64, 512), (160, 120, 5632), (128, 128, 4608), (34, 34, 32)]
)
def test_features_of_the_conv_encoder(width: int, height: int, features: int) -> None:
    assert features_of(ConvEncoder(1), frames=1, width=width, height=height) == features


def test_a_picture_too_small_is_refused() -> None:
    too_small = NetworkIO((64, LEAST_CONV_PIXELS - 1), np.zeros(5, np.float32), np.ones(5, np.float32), actions=3)
    with pytest.raises(InvalidInputError, match="needs at least 34 pixels"):
        build_network(SMALL, too_small, seed=0)
    assert build_network(SMALL.replace(encoder="impala"), too_small, seed=0).features == 11 + 32 * 36


@pytest.mark.parametrize("pictures", [True, False])
@pytest.mark.parametrize("options", [{}, *OPTIONS.values()])
def test_shapes(pictures: bool, options: dict[str, object]) -> None:
    network = small_network(pictures=pictures, **options)
    frames, floats = observations()
    quantiles = symmetric_quantiles(BATCH, QUANTILES, device=CPU)
    values = network(frames if pictures else None, floats, quantiles)
    assert values.shape == (BATCH, QUANTILES, ACTIONS)
    assert network.advantages(frames, floats, quantiles).shape == (BATCH, ACTIONS)
    assert {part_of(name) for name, _ in network.named_parameters()} == set(PARTS) - (
        set() if pictures else {"encoder"}
    )


def test_advantages_order_actions_as_values_do() -> None:
    network, (frames, floats) = small_network(), observations()
    quantiles = symmetric_quantiles(BATCH, QUANTILES, device=CPU)
    values = network(frames, floats, quantiles).mean(dim=1)
    advantages = network.advantages(frames, floats, quantiles)
    centred = values - values.mean(dim=1, keepdim=True)
    assert torch.allclose(advantages - advantages.mean(dim=1, keepdim=True), centred, atol=1e-6)


def test_the_mean_over_actions_is_the_value() -> None:
    network, (frames, floats) = small_network(), observations()
    mixed = network.mix(network.encode(frames, floats), symmetric_quantiles(BATCH, QUANTILES, device=CPU))
    assert torch.allclose(network.values(mixed).mean(dim=2), network.value_head(mixed)[..., 0], atol=1e-6)


def test_samples_do_not_touch_each_other() -> None:
    network, (frames, floats) = small_network(), observations()
    quantiles = symmetric_quantiles(BATCH, QUANTILES, device=CPU)
    together = network(frames, floats, quantiles)
    alone = torch.cat([network(frames[k : k + 1], floats[k : k + 1], quantiles[k : k + 1]) for k in range(BATCH)])
    assert torch.allclose(together, alone, atol=1e-5)


def test_shared_quantiles_are_the_same_of_all() -> None:
    network, (frames, floats) = small_network(), observations()
    shared = symmetric_quantiles(1, QUANTILES, device=CPU)
    assert torch.allclose(network(frames, floats, shared), network(frames, floats, shared.expand(BATCH, -1)), atol=1e-6)


def test_floats_are_normalised_and_pictures_scaled() -> None:
    """A network built for mean 0 and deviation 1 sees the same when it is given normalised floats."""
    network, (frames, floats) = small_network(), observations()
    plain = build_network(
        SMALL, NetworkIO((WIDTH, HEIGHT), np.zeros(FLOATS, np.float32), np.ones(FLOATS, np.float32), ACTIONS), seed=0
    )
    plain.load_state_dict(network.state_dict() | {"float_mean": plain.float_mean, "float_std": plain.float_std})
    normalised = (floats - torch.linspace(-1, 1, FLOATS)) / torch.linspace(1, 2, FLOATS)
    assert torch.allclose(network.encode(frames, floats), plain.encode(frames, normalised), atol=1e-6)
    features = network.encoder((frames.float() - 128) / 128)
    assert torch.equal(network.encode(frames, floats)[:, : features.shape[1]], features)


def outputs(network: IQN) -> torch.Tensor:
    frames, floats = observations()
    quantiles = torch.linspace(0.1, 0.9, QUANTILES).expand(BATCH, -1)
    network.draw(BATCH, torch.Generator().manual_seed(3))
    with torch.no_grad():
        return network(frames, floats, quantiles)


@pytest.mark.parametrize("name", OPTIONS)
def test_each_option_changes_the_output(name: str) -> None:
    """The same weights where both have them, so that it is the option that makes the difference."""
    plain, changed = small_network(), small_network(**OPTIONS[name])
    shared = {
        k: v
        for k, v in plain.state_dict().items()
        if k in (theirs := changed.state_dict()) and v.shape == theirs[k].shape
    }
    changed.load_state_dict(changed.state_dict() | shared)
    difference = (outputs(changed) - outputs(plain)).abs().max()
    assert difference > 1e-3
    assert torch.equal(outputs(plain), outputs(plain))


@pytest.mark.parametrize("name", ["noisy", "dropout"])
def test_randomness_is_drawn_from_the_generator_and_only_while_training(name: str) -> None:
    network = small_network(**OPTIONS[name])
    assert torch.equal(outputs(network), outputs(network))
    network.draw(BATCH, torch.Generator().manual_seed(4))
    frames, floats = observations()
    quantiles = torch.linspace(0.1, 0.9, QUANTILES).expand(BATCH, -1)
    with torch.no_grad():
        assert not torch.equal(network(frames, floats, quantiles), outputs(network))
        plain = small_network()
        plain.load_state_dict({k: v for k, v in network.state_dict().items() if k in plain.state_dict()})
        assert torch.equal(network.eval()(frames, floats, quantiles), plain(frames, floats, quantiles))


def test_spectral_norm_bounds_every_convolution() -> None:
    network = small_network(spectral_norm=True)
    for _ in range(50):
        outputs(network)
    for layer in network.encoder:
        if isinstance(layer, torch.nn.Conv2d):
            largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
            assert largest.item() == pytest.approx(1, abs=0.02)


def test_bfloat16_is_near_float32_and_gradients_flow() -> None:
    network, (frames, floats) = small_network(), observations()
    quantiles = symmetric_quantiles(BATCH, QUANTILES, device=CPU, generator=torch.Generator().manual_seed(0))
    exact = network(frames, floats, quantiles)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = network(frames, floats, quantiles)
    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.03 * exact.abs().max()
    rough.square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.abs().sum() > 0 for parameter in network.parameters())


def test_a_seed_gives_the_weights_and_leaves_chance_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, again, other = small_network(seed=5), small_network(seed=5), small_network(seed=6)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.float_head[0].weight, other.float_head[0].weight)


def test_initial_weights_are_orthogonal_with_the_gain_of_the_layer() -> None:
    network = build_network(NetworkSettings(), small_io(), seed=0)
    gain = 2 / (1 + 0.01**2)
    hidden = network.float_head[2].weight
    assert torch.allclose(hidden @ hidden.T, gain * torch.eye(256), atol=1e-4)
    last = network.advantage_head.last.weight
    assert torch.allclose(last @ last.T, torch.eye(ACTIONS), atol=1e-5)
    cosines = network.quantile_layer[0].weight
    assert torch.allclose(cosines.T @ cosines, 2 * gain * torch.eye(128), atol=1e-4)
    assert all(not parameter.any() for name, parameter in network.named_parameters() if name.endswith("bias"))


def test_symmetric_quantiles_are_stratified_and_mirrored() -> None:
    drawn = symmetric_quantiles(1009, 8, generator=torch.Generator().manual_seed(0), device=CPU)
    assert drawn.shape == (1009, 8)
    assert torch.allclose(drawn[:, :4] + drawn[:, 4:], torch.ones(1009, 4))
    strata = (drawn[:, :4] * 8).floor()
    assert torch.equal(strata, torch.arange(4.0).expand(1009, 4))
    assert drawn.mean(dim=0)[:4].tolist() == pytest.approx([1 / 16, 3 / 16, 5 / 16, 7 / 16], abs=0.01)
    with pytest.raises(ValueError, match="must be even"):
        symmetric_quantiles(3, 5, device=CPU)
