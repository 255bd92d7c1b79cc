"""Acts with fixed weights: what a collector or an evaluator drives with.

One decision on one thread takes well under a millisecond at 64x64, so every game instance has its own policy and
nothing waits for a server. The process decides how many threads torch may use (``torch.set_num_threads``).

Shape letters: N quantiles, A actions, F floats, C stacked frames, H W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import parametrize

from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.iqn.layers import NoisyLinear
from tmrl_ray.iqn.network import NetworkIO, build_network
from tmrl_ray.racing.rollout import Decision

QUANTILES = 32
"""How many quantiles the value of an action is averaged over, as in Linesight and rulka."""


@dataclass(frozen=True)
class Exploration:
    """How a policy strays from what it holds for the best; the default is not at all."""

    epsilon: float = 0.0
    """Share of the decisions that are left to chance."""
    hold: float = 1.0
    """For how many decisions an action by chance is held, on average."""
    epsilon_boltzmann: float = 0.0
    """Share of the best action by values to which noise was added; with ``epsilon`` at most 1."""
    boltzmann_noise: float = 0.01
    """Standard deviation of that noise, in units of the return."""
    noisy_layers: bool = False
    """Whether the noise of noisy layers acts; it is drawn anew for each race."""


GREEDY = Exploration()


class FrameStack:
    """The last pictures of a race, oldest first; before there were as many, the first one stands in.

    Args:
        count: C.
        size: W and H.
    """

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        width, height = size
        self._frames = np.empty((1, count, height, width), dtype=np.uint8)
        self._empty = True

    def reset(self) -> None:
        """Forget the pictures: a race begins."""
        self._empty = True

    def push(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Add a picture (H, W) and return the stack (1, C, H, W), valid until the next call."""
        frames = self._frames
        if frame.shape != frames.shape[2:]:
            raise ValueError(f"the picture is {frame.shape}, the network sees {frames.shape[2:]} (height, width)")
        if self._empty:
            frames[:] = frame
            self._empty = False
        else:
            frames[0, :-1] = frames[0, 1:]
            frames[0, -1] = frame
        return frames


class IQNPolicy:
    """A :class:`~tmrl_ray.racing.rollout.Policy` with the weights of an implicit quantile network.

    Args:
        settings: of the network.
        io: what it sees.
        seed: of all that is left to chance: exploration and drawn quantiles.
        quantiles: how many are averaged over, even.
        draw_quantiles: draw them for each decision; else they are fixed, the middles of equal parts of [0, 1], and a
            greedy policy is a function of what it sees.
        precision: in which to compute; bfloat16 weights are faster on most CPUs, and a little less exact.
        device: where to compute.
    """

    def __init__(  # noqa: PLR0913 - settings of a policy, all but two with a default
        self,
        settings: NetworkSettings,
        io: NetworkIO,
        *,
        seed: int,
        quantiles: int = QUANTILES,
        draw_quantiles: bool = True,
        precision: Literal["fp32", "bf16"] = "fp32",
        device: torch.device | str = "cpu",
    ) -> None:
        if quantiles < 2 or quantiles % 2:
            raise ValueError(f"the number of quantiles must be even, it is {quantiles}")
        self.version = 0
        """Which published weights act."""
        self.exploration = GREEDY
        """How it explores; may be changed between decisions."""
        self._device = torch.device(device)
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        self._source = build_network(settings, io, seed=seed).eval()
        self._rng = np.random.default_rng(seed)
        self._strata = np.arange(quantiles // 2, dtype=np.float32)
        self._draw_quantiles = draw_quantiles
        self._held: int | None = None
        size = io.frame_size
        self._floats = np.empty((1, len(io.mean)), dtype=np.float32)
        self._stack = None if size is None else FrameStack(settings.frame_stack, size)
        self._network = build_network(settings.replace(spectral_norm=False), io, seed=seed).requires_grad_(False).eval()
        exact = {*self._network.advantage_head.last.parameters(), *self._network.value_head.last.parameters()}
        for parameter in self._network.parameters():
            if parameter not in exact:
                parameter.data = parameter.data.to(dtype)
        self._network.to(self._device)
        self._take_over()
        self._draw_noise()

    def load(self, weights: Mapping[str, Tensor], *, version: int) -> None:
        """Act with other weights from now on.

        Args:
            weights: by the names of ``IQN.state_dict()``.
            version: what to call them.

        Raises:
            RuntimeError: they are of another network.
        """
        self._source.load_state_dict(weights)
        self._take_over()
        self.version = version

    def weights(self) -> dict[str, Tensor]:
        """Return the weights that were loaded, on the CPU, by the names of ``IQN.state_dict()``."""
        return {name: tensor.detach().cpu() for name, tensor in self._source.state_dict().items()}

    def reset(self) -> None:
        """Forget what was seen and draw new noise for noisy layers: a race begins."""
        if self._stack is not None:
            self._stack.reset()
        self._held = None
        self._draw_noise()

    @torch.inference_mode()
    def act(self, frame: NDArray[np.uint8] | None, floats: NDArray[np.float32]) -> Decision:
        """Choose an action.

        Args:
            frame: (H, W) the picture; None where the network sees none.
            floats: (F,).

        Returns:
            The action, whether it is the best one by the mean values, and the mean values (A,). Values and ``greedy``
            know nothing of noise, so an action that chance hit upon may well be greedy.
        """
        network = self._network
        frames = None if self._stack is None else self._frames_of(frame)
        self._floats[0] = floats
        features = network.encode(frames, torch.from_numpy(self._floats).to(self._device))
        mixed = network.mix(features, self._quantiles())
        values: NDArray[np.float32] = network.values(mixed).mean(dim=1)[0].cpu().numpy()
        best = int(values.argmax())
        action = self._explore(values, best, mixed)
        return Decision(action, action == best, values)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of what is left to chance, JSON-able; weights and exploration are their owner's."""
        return {"rng": self._rng.bit_generator.state, "held": self._held}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with chance where :meth:`state_dict` was taken."""
        self._rng.bit_generator.state, self._held = state["rng"], state["held"]

    def _frames_of(self, frame: NDArray[np.uint8] | None) -> Tensor:
        if frame is None or self._stack is None:
            raise ValueError("this policy sees pictures, and was given none")
        return torch.from_numpy(self._stack.push(frame)).to(self._device)

    def _quantiles(self) -> Tensor:
        """Return quantiles (1, N), symmetric about 1/2."""
        count = len(self._strata)
        offsets = self._rng.random(count, dtype=np.float32) if self._draw_quantiles else np.float32(0.5)
        lower = (self._strata + offsets) / np.float32(2 * count)
        return torch.from_numpy(np.concatenate([lower, 1 - lower])).to(self._device).unsqueeze(0)

    def _explore(self, values: NDArray[np.float32], best: int, mixed: Tensor) -> int:
        exploration = self.exploration
        epsilon, hold = exploration.epsilon, exploration.hold
        if self._held is not None and self._rng.random() < 1.0 - 1.0 / hold:
            return self._held
        self._held = None
        draw = self._rng.random() if epsilon or exploration.epsilon_boltzmann else 1.0
        begins = epsilon / (epsilon + hold * (1.0 - epsilon))  # makes ``epsilon`` the share of all decisions
        if draw < begins:
            action = int(self._rng.integers(len(values)))
            self._held = action if hold > 1.0 else None
            return action
        if draw < begins + exploration.epsilon_boltzmann:
            noise = self._rng.standard_normal(len(values), dtype=np.float32)
            return int((values + np.float32(exploration.boltzmann_noise) * noise).argmax())
        if exploration.noisy_layers:
            head = self._network.advantage_head.train()
            noisy = head(mixed).mean(dim=1)[0].cpu().numpy()
            head.eval()
            return int(noisy.argmax())
        return best

    def _take_over(self) -> None:
        """Give the network that acts the weights that were loaded, spectral norms worked out, in its own types."""
        weights = {name: each for name, each in self._source.state_dict().items() if "parametrizations" not in name}
        for name, module in self._source.named_modules():
            if parametrize.is_parametrized(module):
                weights[f"{name}.weight"] = module.weight
        self._network.load_state_dict(weights)

    def _draw_noise(self) -> None:
        for module in self._network.modules():
            if isinstance(module, NoisyLinear):
                for noise in (module.input_noise, module.output_noise):
                    drawn = self._rng.standard_normal(noise.shape[0], dtype=np.float32)
                    noise.copy_(torch.from_numpy(np.sign(drawn) * np.sqrt(np.abs(drawn))))
