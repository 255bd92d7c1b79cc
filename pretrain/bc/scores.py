"""What is counted of predicted actions, and the figures that follow: sums over samples, so that they can be added.

Shape letters: B batch, K offsets, A classes, S bins of confidence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from tmrl_ray.datasets.cache import NO_LABEL

CONFIDENCE_BINS = 15
"""Of the calibration error, as in Guo et al. 2017 (https://arxiv.org/abs/1706.04599)."""

Array = NDArray[np.float64]
Figures = dict[str, float | None]


def count(logits: Tensor, labels: Tensor, previous: Tensor) -> dict[str, Tensor]:
    """Return what is counted of a batch.

    Args:
        logits: (B, K, A).
        labels: (B, K) classes, -100 for none.
        previous: (B,) class of the action one decision before, -100 for none.
    """
    offsets, classes = logits.shape[1:]
    known = labels != NO_LABEL
    safe = labels.clamp(min=0)
    log_odds = functional.log_softmax(logits.detach().float(), dim=2)
    confidence, told = log_odds.exp().nan_to_num().max(dim=2)  # (B, K); a loss that is no number is told elsewhere
    hit = (told == labels) & known
    offset = torch.arange(offsets, device=logits.device).expand_as(labels)
    pair = (offset * classes + safe) * classes + told
    changed = known & (labels != previous[:, None]) & (previous != NO_LABEL)[:, None]
    copied = known & (labels == previous[:, None])
    binned = (confidence * CONFIDENCE_BINS).long().clamp(max=CONFIDENCE_BINS - 1)
    place = offset * CONFIDENCE_BINS + binned

    def spread(weights: Tensor) -> Tensor:
        chosen = place[known]
        sums = torch.bincount(chosen, weights[known].double(), minlength=offsets * CONFIDENCE_BINS)
        return sums.view(offsets, CONFIDENCE_BINS)

    surprise = -log_odds.gather(2, safe[..., None]).squeeze(2)
    return {
        "confusion": torch.bincount(pair[known], minlength=offsets * classes**2).view(offsets, classes, classes),
        "surprise": (surprise * known).sum(dim=0),
        "changed": torch.stack([(hit & changed).sum(dim=0), changed.sum(dim=0)]),
        "copied": copied.sum(dim=0),
        "confidence": torch.stack([spread(torch.ones_like(confidence)), spread(confidence), spread(hit)]),
    }


def figures(
    tallies: Mapping[str, Tensor],
    *,
    offsets_ms: Sequence[int],
    names: Sequence[str],
    majority: Sequence[int],
    main_actions: Sequence[int],
) -> Figures:
    """Return the figures of a pass over the data.

    Those of one offset are of offset 0 if there is one, else of the first. The baselines are what is reached by always
    telling the class that is most frequent in training, and the action of one decision before.

    Args:
        tallies: sums of :func:`count`.
        offsets_ms: (K,).
        names: (A,) of the classes.
        majority: (K,) the most frequent class in training.
        main_actions: classes of which the mean accuracy is told.
    """
    counted = {name: np.asarray(value.cpu(), np.float64) for name, value in tallies.items()}
    confusion, total = counted["confusion"], counted["confusion"].sum(axis=(1, 2))  # (K, A, A), (K,)
    right = np.trace(confusion, axis1=1, axis2=2)
    hits, changes = counted["changed"]
    at = list(offsets_ms).index(0) if 0 in offsets_ms else 0
    recall = [_share(confusion[at, each, each], confusion[at, each].sum()) for each in range(len(names))]
    told: Figures = {
        "acc": _mean([_share(r, t) for r, t in zip(right, total, strict=True)]),
        "nll": _share(counted["surprise"][at], total[at]),
        "balanced_acc": _mean(recall),
        "macro_f1": _macro_f1(confusion[at]),
        "main_actions_acc": _mean([recall[each] for each in main_actions]),
        "changed_acc": _share(hits[at], changes[at]),
        "changed_share": _share(changes[at], total[at]),
        "calibration_error": _calibration_error(counted["confidence"][:, at]),
        "majority_acc": _share(confusion[at, majority[at]].sum(), total[at]),
        "copy_last_acc": _share(counted["copied"][at], total[at]),
    }
    for index, offset_ms in enumerate(offsets_ms):
        told[f"acc_offset_ms_{offset_ms}"] = _share(right[index], total[index])
        told[f"copy_last_acc_offset_ms_{offset_ms}"] = _share(counted["copied"][index], total[index])
    return told | {f"acc_action_{name}": recall[index] for index, name in enumerate(names)}


def _share(part: float, whole: float) -> float | None:
    return float(part / whole) if whole else None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _macro_f1(confusion: Array) -> float | None:
    """Return the mean over the classes that occur of the harmonic mean of precision and recall."""
    right, true, told = np.diag(confusion), confusion.sum(axis=1), confusion.sum(axis=0)
    occurs = true > 0
    return float((2 * right / np.maximum(true + told, 1))[occurs].mean()) if occurs.any() else None


def _calibration_error(confidence: Array) -> float | None:
    """Return the expected calibration error of (3, S): samples, sums of confidence, hits in each bin."""
    samples, sums, hits = confidence
    return float(np.abs(sums - hits).sum() / samples.sum()) if samples.sum() else None
