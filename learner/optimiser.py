"""RAdam and AdamW on flat vectors, with a step that the device itself can take back.

Whether a batch gave numbers or NaN is known to the device only, and asking it would make the host wait for every
step. So the answer stays a tensor: ``sound``, 1 or 0, is multiplied into what changes the weights, the moments and the
count of steps, and where it is 0, gradients are replaced by zeros. An unsound step so leaves everything as it was, bit
for bit, and costs the same as any other. For this, and to give each part of the network its own rate and its own
count of steps, the two optimisers are written out here; a test holds them to torch's.

Liu et al. 2020, "On the Variance of the Adaptive Learning Rate and Beyond" (https://arxiv.org/abs/1908.03265);
Loshchilov and Hutter 2019, "Decoupled Weight Decay Regularization" (https://arxiv.org/abs/1711.05101).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from learner.flat import FlatParameters
from tmrl_ray.config.learner import OptimiserSettings

NORM_SLACK = 1e-6
"""Added to the norm that a gradient is divided by, as torch does."""
RECTIFY_ABOVE = 5.0
"""RAdam adapts once its approximated simple moving average is longer than this, as torch has it."""


@dataclass(frozen=True)
class GradientNorms:
    """Norms of a gradient before it was clipped, on its device."""

    total: Tensor
    """()."""
    parts: dict[str, Tensor]
    """() by part, those that learn."""


class Optimiser:
    """Updates the parameters of a network from their gradients.

    Args:
        parameters: what is updated.
        settings: the optimiser's.
    """

    def __init__(self, parameters: FlatParameters, settings: OptimiserSettings) -> None:
        self._parameters = parameters
        self._settings = settings
        values = parameters.values
        self.gradients = parameters.bind_gradients()
        """(P,) where backward passes add their gradients; :meth:`clear` sets them to 0."""
        self.mean = torch.zeros_like(values)
        """(P,) moving average of the gradient."""
        self.square = torch.zeros_like(values)
        """(P,) moving average of the gradient's square."""
        self.steps = torch.zeros(len(parameters.parts), dtype=torch.float64, device=values.device)
        """(parts,) how many steps each part has learned from."""
        self._attempts = [0.0] * len(parameters.parts)
        self._scratch = torch.empty_like(values)
        self._denominator = torch.empty_like(values)

    def clear(self) -> None:
        """Forget the gradients."""
        self.gradients.zero_()

    def forget(self, parts: Collection[str]) -> None:
        """Forget the moments of parts whose parameters others have set."""
        for index, (part, span) in enumerate(self._parameters.slices.items()):
            if part in parts:
                self.mean[span] = 0.0
                self.square[span] = 0.0
                self.steps[index] = 0.0
                self._attempts[index] = 0.0

    def norms(self, *, loss_scale: Tensor | None, learning: Mapping[str, bool]) -> GradientNorms:
        """Return the norms of the gradient, divided by the loss scale that it was taken with."""
        slices = self._parameters.slices
        parts = {part: torch.linalg.vector_norm(self.gradients[slices[part]]) for part in slices if learning[part]}
        if loss_scale is not None:
            parts = {part: norm / loss_scale for part, norm in parts.items()}
        if not parts:
            return GradientNorms(torch.zeros((), device=self.gradients.device), {})
        return GradientNorms(torch.linalg.vector_norm(torch.stack(list(parts.values()))), parts)

    def step(
        self,
        rates: Mapping[str, float],
        norms: GradientNorms,
        *,
        sound: Tensor,
        loss_scale: Tensor | None = None,
    ) -> None:
        """Clip the gradient and update the parameters by it, without waiting for the device.

        Args:
            rates: learning rate of each part that learns; the others are left alone.
            norms: of the gradient.
            sound: () bool; where it is false nothing changes.
            loss_scale: () what the loss was multiplied by before the backward pass; None: 1.
        """
        self._clip(norms.total, sound, loss_scale)
        kept = sound.to(torch.float64)
        runs = self._runs(rates)
        for index, part in enumerate(self._parameters.parts):
            if part in rates:
                self.steps[index].add_(kept)
                self._attempts[index] += 1
        counts = self.steps.clamp(min=1.0)  # 0 after a first step that was not sound
        slopes, offsets = self._denominator_terms(counts)
        sizes = kept / (1 - self._settings.betas[0] ** counts)
        for index, span, rate in runs:
            self._update(span, rate, kept, (sizes[index] * rate).float(), slopes[index], offsets[index])

    def _runs(self, rates: Mapping[str, float]) -> list[tuple[int, slice, float]]:
        """Return (index, span, rate): neighbouring parts with one rate and one count of steps are updated as one."""
        runs: list[tuple[int, slice, float]] = []
        end = -1
        for index, (part, span) in enumerate(self._parameters.slices.items()):
            if part not in rates:
                continue
            if runs and span.start == end and runs[-1][2] == rates[part]:
                first, joined, rate = runs[-1]
                if self._attempts[first] == self._attempts[index]:
                    runs[-1] = (first, slice(joined.start, span.stop), rate)
                    end = span.stop
                    continue
            runs.append((index, span, rates[part]))
            end = span.stop
        return runs

    def _clip(self, norm: Tensor, sound: Tensor, loss_scale: Tensor | None) -> None:
        """Bring the gradient to the scale of the loss, clip it, and make it 0 where it is not sound."""
        settings = self._settings
        factor = torch.ones_like(norm) if loss_scale is None else 1.0 / loss_scale
        if settings.clip_norm is not None:
            factor = factor * (settings.clip_norm / (norm + NORM_SLACK)).clamp(max=1.0)
        self.gradients.mul_(factor).masked_fill_(~sound, 0.0)
        limit, norm_limit = settings.clip_value, settings.clip_norm
        if limit is not None and (norm_limit is None or limit < norm_limit):  # else no component is as large
            self.gradients.clamp_(-limit, limit)

    def _update(  # noqa: PLR0913 - the figures of one step
        self, span: slice, rate: float, kept: Tensor, size: Tensor, slope: Tensor, offset: Tensor
    ) -> None:
        """Update the parameters of a span; ``kept`` is 1, or 0 to leave everything as it is."""
        settings = self._settings
        beta_mean, beta_square = settings.betas
        gradient, mean, square = self.gradients[span], self.mean[span], self.square[span]
        scratch, denominator, values = self._scratch[span], self._denominator[span], self._parameters.values[span]
        mean.lerp_(gradient, ((1 - beta_mean) * kept).float())
        torch.mul(gradient, gradient, out=scratch)
        square.lerp_(scratch, ((1 - beta_square) * kept).float())
        torch.sqrt(square, out=denominator)
        denominator.mul_(slope).add_(offset)
        torch.mul(mean, size, out=scratch)
        scratch.div_(denominator)
        values.mul_((1 - rate * settings.weight_decay * kept).float()).sub_(scratch)

    def _denominator_terms(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Return (slope, offset) by part: a mean gradient is divided by slope * sqrt(mean square) + offset."""
        beta, epsilon = self._settings.betas[1], self._settings.epsilon
        correction = (1 - beta**counts).sqrt()
        if self._settings.kind == "adamw":
            return (1 / correction).float(), torch.full_like(counts, epsilon, dtype=torch.float32)
        longest = 2 / (1 - beta) - 1
        length = longest - 2 * counts * beta**counts / (1 - beta**counts)
        rectifier = (length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length)
        adapts = length > RECTIFY_ABOVE
        slope = torch.where(adapts, 1 / (rectifier.clamp(min=0.0).sqrt() * correction), 0.0)
        return slope.float(), torch.where(adapts, epsilon * slope, 1.0).float()

    def figures(self, norms: GradientNorms) -> dict[str, Tensor]:
        """Return what metrics tell of a gradient, each ()."""
        limit = self._settings.clip_norm
        return {
            "gradient_norm": norms.total,
            "gradient_norm_clipped": norms.total if limit is None else norms.total.clamp(max=limit),
            **{f"gradient_norm.{part}": norm for part, norm in norms.parts.items()},
        }

    def diagnostics(self, *, signed_linf: bool) -> dict[str, float]:
        """Return root mean squares of weights, moments and adaptive rates, and norms of the last gradient, clipped.

        Args:
            signed_linf: leave negative components out of the largest one.
        """
        adaptive = 1.0 / (self.square.sqrt() + self._settings.epsilon)
        vectors = {"weight": self._parameters.values, "mean": self.mean, "square": self.square, "rate": adaptive}
        figures = {
            f"{quantity}_rms.{name}": view.square().mean().sqrt()
            for quantity, vector in vectors.items()
            for name, view in self._parameters.by_name(vector)
        }
        for name, view in self._parameters.by_name(self.gradients):
            figures[f"gradient_l2.{name}"] = torch.linalg.vector_norm(view)
            figures[f"gradient_linf.{name}"] = view.max() if signed_linf else view.abs().max()
        values = torch.stack(list(figures.values())).tolist()
        return dict(zip(figures, values, strict=True))

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of the moments by name of the parameter, and the counts of steps."""
        state = {f"mean.{name}": tensor for name, tensor in self._parameters.tensors_of(self.mean).items()}
        state |= {f"square.{name}": tensor for name, tensor in self._parameters.tensors_of(self.square).items()}
        return state | {"steps": self.steps.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state_dict` returned."""
        for prefix, vector in (("mean.", self.mean), ("square.", self.square)):
            named = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
            self._parameters.fill(vector, named)
        self.steps.copy_(state["steps"])
        self._attempts = state["steps"].tolist()


class LossScale:
    """The factor by which a loss is multiplied so that gradients do not vanish in float16.

    Does what ``torch.amp.GradScaler`` does, without asking the device: halved where the gradient overflowed, doubled
    after ``GROW_AFTER`` steps in a row where it did not. Unlike there it never falls below ``LEAST``: what overflows
    without being scaled up would at any scale, down to 0, at which there is no gradient at all.
    """

    START = 65536.0
    LEAST = 1.0
    GROW_AFTER = 2000

    def __init__(self, device: torch.device) -> None:
        self.scale = torch.full((), self.START, device=device)
        """()."""
        self.steps = torch.zeros((), device=device)
        """() steps in a row without overflow."""

    def update(self, *, sound: Tensor, overflow: Tensor) -> None:
        """Take notice of a step: () bool each. One that is neither tells nothing about the scale."""
        steps = torch.where(overflow, 0.0, self.steps + sound.float())
        grows = steps >= self.GROW_AFTER
        factor = torch.where(overflow, 0.5, torch.where(grows, 2.0, 1.0))
        self.scale.mul_(factor).clamp_(min=self.LEAST)
        self.steps.copy_(torch.where(grows, 0.0, steps))

    def state_dict(self) -> dict[str, Tensor]:
        """Return copies of both figures."""
        return {"scale": self.scale.cpu().clone(), "steps": self.steps.cpu().clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Take over what :meth:`state_dict` returned."""
        self.scale.copy_(state["scale"])
        self.steps.copy_(state["steps"])
