"""Probes: what can be read off an encoder's features with the simplest of means, before any reinforcement learning.

Speed, lateral offset, heading error and the turn of the road ahead by ridge regression; the expert's action by its
nearest neighbours; the picture itself by ridge regression from features to pixels, as a sheet of pictures. Fitted on
training maps, measured on the others. What an encoder has learned is what it tells more than an untrained one.

Shape letters: N samples, D features, Q quantities, H W pixels, F floats.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.batches import BatchSource
from tmrl_ray.datasets.cache import NO_LABEL
from tmrl_ray.racing.observation_layout import ObservationLayout

Array = NDArray[np.float64]
Encode = Callable[[Tensor], Tensor]
"""Returns the features (N, D) of pictures (N, C, H, W) uint8."""

QUANTITIES = ("speed", "lateral_offset", "heading_error", "curvature_ahead")
MOST_SAMPLES = 4000
"""For each side: enough for an R2 that is exact to a hundredth, and seconds of work."""
NEIGHBOURS = 10
AHEAD = (3, 5)
"""Way-points between which the road's direction ahead is measured: 30 to 50 m, a second at 40 m/s."""
_RIDGE = 1e-3
"""Of the mean variance of the features: keeps a regression on as many features as samples from fitting noise."""
_BATCH = 256
_EPSILON = 1e-9


@dataclass(frozen=True)
class ProbeResult:
    """What features tell."""

    r2: dict[str, float | None]
    """Share of the variance on the other maps that is explained, by quantity, at most 1; None: it does not vary, or
    there are no floats to tell the truth."""
    action_accuracy: float | None
    """Of the majority of the nearest neighbours."""
    majority_accuracy: float | None
    """Of the action that is most frequent in training."""
    pixel_r2: float
    """Of the pictures that are rebuilt by a regression on the features."""

    def figures(self) -> dict[str, float | None]:
        """Return all of them by name."""
        r2 = {f"r2_{name}": value for name, value in self.r2.items()}
        return r2 | {
            "knn_action_acc": self.action_accuracy,
            "majority_action_acc": self.majority_accuracy,
            "r2_pixels": self.pixel_r2,
        }

    def gains_over(self, other: ProbeResult) -> dict[str, float | None]:
        """Return by how much more these features tell than others, by name; not of the baseline, which needs none."""
        mine, theirs = self.figures(), other.figures()
        return {
            name: None if value is None or (base := theirs[name]) is None else value - base
            for name, value in mine.items()
            if name != "majority_action_acc"
        }


@dataclass(frozen=True, eq=False)
class Probe:
    """Samples of both sides, and what a regression made of them."""

    result: ProbeResult
    rows: NDArray[np.int64]
    """(N,) the last row of the stack of each sample that was measured on."""
    rebuilt: NDArray[np.uint8]
    """(N, H, W) by the regression on the features."""


def probe(encode: Encode, data: BatchSource, layout: ObservationLayout, *, stack: int, seed: int) -> Probe:
    """Fit and measure all probes of an encoder.

    Args:
        encode: makes features of pictures.
        data: the samples; without validation maps a part of the training samples is measured on.
        layout: of the floats that tell the truth.
        stack: pictures that the encoder sees at once.
        seed: of the choice of samples.
    """
    fit_rows, test_rows = _chosen(data, seed)
    fit, test = (features_of_rows(encode, data, rows, stack) for rows in (fit_rows, test_rows))
    scale = fit.std(axis=0) + _EPSILON
    fit, test = (fit - fit.mean(axis=0)) / scale, (test - fit.mean(axis=0)) / scale
    cache = data.cache
    r2: dict[str, float | None] = dict.fromkeys(QUANTITIES)
    if cache.floats.shape[1] == layout.size:
        truth_fit, truth_test = (quantities(cache.floats[rows], layout) for rows in (fit_rows, test_rows))
        known_fit, known_test = (np.isfinite(each).all(axis=1) for each in (truth_fit, truth_test))
        if known_fit.sum() > 1 and known_test.sum() > 1:
            told = _ridge(fit[known_fit], truth_fit[known_fit], test[known_test])
            each = _r2(told, truth_test[known_test])
            r2 = {name: value for name, value in zip(QUANTITIES, each, strict=True)}
    pictures = cache.frames[test_rows]
    pixels_fit = cache.frames[fit_rows].reshape(len(fit_rows), -1).astype(np.float64)
    rebuilt = _ridge(fit, pixels_fit, test)
    pixels_test = pictures.reshape(len(pictures), -1).astype(np.float64)
    spread = ((pixels_test - pixels_fit.mean(axis=0)) ** 2).sum()
    accuracy, majority = _neighbours(fit, cache.labels(fit_rows)[:, 0], test, cache.labels(test_rows)[:, 0])
    result = ProbeResult(r2, accuracy, majority, float(1 - ((pixels_test - rebuilt) ** 2).sum() / (spread + _EPSILON)))
    return Probe(result, test_rows, rebuilt.clip(0, 255).round().astype(np.uint8).reshape(pictures.shape))


@torch.no_grad()
def features_of_rows(encode: Encode, data: BatchSource, rows: NDArray[np.int64], stack: int) -> Array:
    """Return the features (N, D) of the samples whose stacks end at ``rows``."""
    chunks = [
        encode(torch.from_numpy(data.cache.stacks(rows[start : start + _BATCH], stack))).double().cpu().numpy()
        for start in range(0, len(rows), _BATCH)
    ]
    return np.concatenate(chunks)


def quantities(floats: NDArray[np.float32], layout: ObservationLayout) -> Array:
    """Return (N, Q) what floats (N, F) tell: speed in m/s, offset in m, and two angles in rad.

    Way-points are in the car's frame, left, up, forward. The first one is the car's own zone: its left component is
    how far the line is to the left. The heading error is the direction of the line there, against the car's; the
    curvature ahead is how much farther the line has turned some way-points on.
    """
    points = floats[:, layout.way_points].reshape(len(floats), -1, 3).astype(np.float64)
    speed = np.linalg.norm(floats[:, layout.velocity].astype(np.float64), axis=1)
    last = points.shape[1] - 1
    near, far = (min(each, last) for each in AHEAD)
    heading = _direction(points[:, min(1, last)] - points[:, 0])
    turn = _direction(points[:, far] - points[:, near]) - heading
    turned = np.arctan2(np.sin(turn), np.cos(turn))
    return np.stack([speed, points[:, 0, 0], heading, turned], axis=1)


def save_sheet(path: Path, rows: list[NDArray[np.uint8]]) -> None:
    """Write pictures as one PNG, a line for each array (N, H, W): what was seen on top, what was rebuilt below.

    Raises:
        OSError: it cannot be written.
    """
    from PIL import Image

    gap = 2
    lines = []
    for pictures in rows:
        padded = np.pad(pictures, ((0, 0), (0, gap), (0, gap)), constant_values=255)
        lines.append(np.concatenate(list(padded), axis=1))
    sheet = np.concatenate(lines, axis=0)
    Image.fromarray(sheet).resize((sheet.shape[1] * 2, sheet.shape[0] * 2), Image.Resampling.NEAREST).save(path)


def _direction(vectors: Array) -> Array:
    return np.arctan2(vectors[:, 0], vectors[:, 2])


def _chosen(data: BatchSource, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    rng = np.random.default_rng((seed, *b"probe"))
    fit, test = data.train_rows, data.val_rows
    if not len(test):  # one map: its last fifth, so that neighbours in time are not on both sides
        fit, test = fit[: len(fit) * 4 // 5], fit[len(fit) * 4 // 5 :]
    return tuple(np.sort(rng.permutation(rows)[:MOST_SAMPLES]) for rows in (fit, test))  # type: ignore[return-value]


def _ridge(features: Array, wanted: Array, asked: Array) -> Array:
    """Return what a ridge regression of (N, Q) on (N, D) tells for ``asked`` (M, D); features have mean 0."""
    middle = wanted.mean(axis=0)
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += _RIDGE * np.trace(gram) / len(gram) + _EPSILON
    weights = np.linalg.solve(gram, features.T @ (wanted - middle))
    told: Array = asked @ weights + middle
    return told


def _r2(told: Array, truth: Array) -> list[float | None]:
    error, spread = ((told - truth) ** 2).mean(axis=0), truth.var(axis=0)
    return [float(1 - e / s) if s > _EPSILON else None for e, s in zip(error, spread, strict=True)]


def _neighbours(
    features: Array, actions: NDArray[np.int64], asked: Array, truth: NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """Return the accuracy of the nearest neighbours' majority, and that of the most frequent action."""
    known, told = actions != NO_LABEL, truth != NO_LABEL
    if not known.any() or not told.any():
        return None, None
    features, actions, asked, truth = features[known], actions[known], asked[told], truth[told]
    away = (features**2).sum(axis=1) - 2 * asked @ features.T  # (M, N) squared distance, but for what all have alike
    count = min(NEIGHBOURS, len(actions))
    nearest = np.argpartition(away, count - 1, axis=1)[:, :count]
    votes = np.stack([(actions[nearest] == each).sum(axis=1) for each in range(actions.max() + 1)], axis=1)
    majority = np.bincount(actions).argmax()
    return float((votes.argmax(axis=1) == truth).mean()), float((truth == majority).mean())
