from __future__ import annotations

import math

import pytest
import torch

from pretrain.bc.scores import count, figures

NAMES = ("accel", "left", "right")


def told(logits: torch.Tensor, labels: torch.Tensor, previous: torch.Tensor, **more: object) -> dict[str, float | None]:
    return figures(
        count(logits, labels, previous),
        **{"offsets_ms": (-10, 0), "names": NAMES, "majority": (0, 0), "main_actions": (0, 1), **more},  # type: ignore[arg-type]
    )


def sure(classes: list[list[int]], odds: float = 20.0) -> torch.Tensor:
    """Return logits (B, K, 3) that tell these classes."""
    return odds * torch.nn.functional.one_hot(torch.tensor(classes), 3).float()


LABELS = torch.tensor([[0, 0], [0, 1], [1, 1], [1, 1], [0, 0]])
PREVIOUS = torch.tensor([0, 0, 1, 2, 0])
LOGITS = sure([[0, 0], [0, 0], [1, 1], [2, 1], [1, 0]])


def test_figures_by_hand() -> None:
    got = told(LOGITS, LABELS, PREVIOUS)
    assert got["acc_offset_ms_-10"] == pytest.approx(3 / 5)
    assert got["acc_offset_ms_0"] == pytest.approx(4 / 5)
    assert got["acc"] == pytest.approx(3.5 / 5)
    assert got["acc_action_accel"] == 1.0
    assert got["acc_action_left"] == pytest.approx(2 / 3)
    assert got["acc_action_right"] is None  # it does not occur, which is not the same as never told
    assert got["balanced_acc"] == pytest.approx((1 + 2 / 3) / 2)
    assert got["main_actions_acc"] == pytest.approx((1 + 2 / 3) / 2)
    assert got["macro_f1"] == pytest.approx((2 * 2 / (2 + 3) + 2 * 2 / (3 + 2)) / 2)
    assert got["majority_acc"] == pytest.approx(2 / 5)
    assert got["copy_last_acc"] == pytest.approx(3 / 5)
    assert got["copy_last_acc_offset_ms_-10"] == pytest.approx(4 / 5)
    assert got["changed_share"] == pytest.approx(2 / 5)
    assert got["changed_acc"] == pytest.approx(1 / 2)


def test_tallies_add_up() -> None:
    halves = [count(LOGITS[part], LABELS[part], PREVIOUS[part]) for part in (slice(0, 2), slice(2, 5))]
    whole = count(LOGITS, LABELS, PREVIOUS)
    for name, value in whole.items():
        torch.testing.assert_close(halves[0][name] + halves[1][name], value)


def test_what_has_no_label_is_not_counted() -> None:
    labels, previous = LABELS.clone(), PREVIOUS.clone()
    labels[4], previous[0] = -100, -100
    got = told(LOGITS, labels, previous)
    assert got["acc_offset_ms_0"] == pytest.approx(3 / 4)
    assert got["copy_last_acc"] == pytest.approx(1 / 4)
    assert got["changed_share"] == pytest.approx(2 / 4)


def test_calibration() -> None:
    """Told with a confidence of 0.9, and right in half of the cases: 0.4 too sure."""
    odds = math.log(0.9 / 0.05)
    logits = sure([[0, 0]] * 10, odds)
    labels = torch.tensor([[0, 0], [1, 1]] * 5)
    assert told(logits, labels, torch.zeros(10, dtype=torch.int64))["calibration_error"] == pytest.approx(0.4, abs=1e-4)
    assert told(logits, labels, torch.zeros(10, dtype=torch.int64))["nll"] == pytest.approx(
        -(math.log(0.9) + math.log(0.05)) / 2, abs=1e-4
    )


def test_without_the_moment_itself_the_first_offset_is_told_of() -> None:
    got = told(LOGITS, LABELS, PREVIOUS, offsets_ms=(50, 100))
    assert got["copy_last_acc"] == got["copy_last_acc_offset_ms_50"]
