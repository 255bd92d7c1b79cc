"""What an update tells: figures that stay on the device until somebody reads them.

An update must not wait for the device, so it returns tensors. Whoever wants numbers, for metrics every few seconds say,
reads many reports at once, with one transfer::

    reports.append(update.step(batch, env_steps=env_steps))
    ...
    summary = summarise(reports)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tmrl_ray.experience.sampling import PriorityUpdate

SHARES = {"q1": 0.25, "median": 0.5, "q3": 0.75, "d9": 0.9, "d98": 0.98, "max": 1.0}
"""Quantiles that are told of gradient norms."""

TESTED = ("loss", "td_error")
"""Figures of batches that are not learned from, ``test_...`` in a summary."""


class Soundness(NamedTuple):
    """Whether a step may change anything, known to the device: each () bool."""

    sound: Tensor
    """The loss and the gradient are finite."""
    overflow: Tensor
    """The loss is finite and the gradient is not."""
    set_aside: Tensor
    """The batch must be looked into; an overflow alone is normal where the loss is scaled up for float16."""

    @classmethod
    def of(cls, loss: Tensor, norm: Tensor, *, scaled: Tensor | None) -> Soundness:
        """Judge a step.

        Args:
            loss: ().
            norm: () of its gradient.
            scaled: () bool, whether the loss was scaled up, which is why a gradient may overflow; None: it was not.
        """
        finite_loss, finite_norm = loss.detach().isfinite(), norm.isfinite()
        sound, overflow = finite_loss & finite_norm, finite_loss & ~finite_norm
        return cls(sound, overflow, ~sound if scaled is None else ~finite_loss | overflow & ~scaled)

    def figures(self) -> dict[str, Tensor]:
        """Return what metrics tell of it."""
        return {"sound": self.sound, "set_aside": self.set_aside}


@dataclass(frozen=True, eq=False, kw_only=True)
class StepReport:
    """What one step was like."""

    step: int
    """Number of the step, from 1; undone ones count."""
    env_steps: int
    """When it was."""
    learning_rate: float
    """The common one, all factors included."""
    target_rate: float
    """How far the target network went to the online one; 0: not."""
    extra_samples: int
    """How many more samples may be learned from than the limiter allows, because of a soft reset just now; else 0."""
    names: tuple[str, ...]
    """Of the figures."""
    figures: Tensor
    """(figures,) on the device."""
    td_errors: Tensor
    """(B,) mean target less mean value, on the device; NaN where the batch was set aside."""
    indices: Tensor
    """(B,) rows of the ring, copied."""
    generations: Tensor
    """(B,) generations of those rows, copied."""

    def priorities(self, clock: Tensor, *, below_clock: int | None) -> PriorityUpdate:
        """Return what is told of the collectors' rows. Waits for the device.

        Args:
            clock: (rows,) of these rows, which come first in the batch, on the CPU.
            below_clock: later draws tell nothing; None: all do.
        """
        own = len(clock)
        return PriorityUpdate.of(
            self.indices[:own].cpu().numpy(),
            self.generations[:own].cpu().numpy(),
            self.td_errors[:own].float().cpu().numpy(),
            clock=clock.numpy(),
            below_clock=below_clock,
        )


@dataclass(frozen=True, eq=False)
class SetAside:
    """A batch whose loss or gradient was not finite. Its step was undone."""

    step: int
    indices: NDArray[np.int64]
    """(B,) rows of the ring."""
    generations: NDArray[np.int64]
    """(B,) of those rows."""


@dataclass(frozen=True, eq=False)
class Summary:
    """What several steps were like."""

    figures: dict[str, float]
    """Means over the steps that were not undone, NaN where all were; and quantiles of gradient norms."""
    set_aside: tuple[SetAside, ...]
    """Batches that must be looked into."""
    steps: int
    """How many there were."""
    unsound_at_end: int
    """How many of these, in a row up to the last one, were undone."""


def summarise(reports: Sequence[StepReport], tests: Sequence[Tensor] = ()) -> Summary:
    """Return what one or more steps were like. Waits for the device, once.

    Args:
        reports: of the steps.
        tests: (figures,) of batches that were not learned from meanwhile.

    Raises:
        ValueError: there are none.
    """
    if not reports:
        raise ValueError("there is no report to summarise")
    by_name: dict[str, list[float]] = {}
    told = iter(torch.cat([*(report.figures for report in reports), *tests]).tolist())
    steps = [{name: next(told) for name in report.names} for report in reports]
    for step in steps:
        for name, value in step.items():
            values = by_name.setdefault(name, [])
            if step["sound"]:
                values.append(value)
    figures = {name: float(np.mean(values)) if values else float("nan") for name, values in by_name.items()}
    figures["sound"] = sum(step["sound"] for step in steps) / len(steps)
    figures["set_aside"] = sum(step["set_aside"] for step in steps)
    figures["learning_rate"] = reports[-1].learning_rate
    tested = np.array([[next(told) for _ in TESTED] for _ in tests])
    if len(tested):
        figures |= {f"test_{name}": float(mean) for name, mean in zip(TESTED, tested.mean(axis=0), strict=True)}
    for name in ("gradient_norm", "gradient_norm_clipped"):
        if values := by_name[name]:
            figures |= {f"{name}_{label}": float(np.quantile(values, share)) for label, share in SHARES.items()}
    aside = [
        SetAside(report.step, report.indices.cpu().numpy(), report.generations.cpu().numpy())
        for report, step in zip(reports, steps, strict=True)
        if step["set_aside"]
    ]
    unsound = takewhile(lambda step: not step["sound"], reversed(steps))
    return Summary(figures, tuple(aside), len(steps), sum(1 for _ in unsound))
