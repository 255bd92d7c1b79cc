"""Shifts and mirrors of pictures, each against what numpy does one picture at a time."""

from __future__ import annotations

import numpy as np
import pytest

from tmrl_ray.experience.augment import draw_shifts, mirror_in_place, shift_frames


def pictures(*shape: int) -> np.ndarray:
    return np.random.default_rng(11).integers(0, 256, shape, dtype=np.uint8)


def plainly_shifted(stack: np.ndarray, down: int, right: int, pad: int) -> np.ndarray:
    _, height, width = stack.shape
    padded = np.pad(stack, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
    return padded[:, pad - down : pad - down + height, pad - right : pad - right + width]


@pytest.mark.parametrize("shape", [(29, 1, 7, 5), (13, 3, 11, 16), (1, 2, 5, 5)])
@pytest.mark.parametrize("pixels", [1, 2, 4])
def test_every_sample_is_shifted_by_its_own_offset_with_its_edge_repeated(shape: tuple, pixels: int) -> None:
    frames, rng = pictures(*shape), np.random.default_rng(pixels)
    out = np.zeros_like(frames)
    for _ in range(5):
        shifts = draw_shifts(rng, len(frames), pixels)
        shift_frames(frames, shifts, out)
        for sample, (down, right) in enumerate(shifts):
            assert np.array_equal(out[sample], plainly_shifted(frames[sample], down, right, pixels))


def test_shifts_are_uniform_in_both_directions() -> None:
    shifts = draw_shifts(np.random.default_rng(1), 50_000, 2)
    assert shifts.min() == -2
    assert shifts.max() == 2
    counts = np.bincount((shifts + 2) @ [5, 1], minlength=25)
    assert ((counts - 2000) ** 2 / 2000).sum() < 24 + 4 * np.sqrt(48)


@pytest.mark.parametrize("width", [5, 16])
def test_only_the_named_samples_are_mirrored(width: int) -> None:
    frames = pictures(11, 3, 7, width)
    mirrored = frames.copy()
    mirror_in_place(mirrored, np.array([0, 7]))
    for sample in range(11):
        expected = frames[sample, ..., ::-1] if sample in {0, 7} else frames[sample]
        assert np.array_equal(mirrored[sample], expected)
    mirror_in_place(mirrored, np.array([0, 7]))
    assert np.array_equal(mirrored, frames)
