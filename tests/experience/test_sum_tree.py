"""The sum tree: drawn in proportion, exact under any history of changes."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.sum_tree import BLOCK, SumTree

SIZE = 7 * BLOCK + 5


def chi_square(counts: np.ndarray, expected: np.ndarray) -> float:
    """Return how far counts are from what is expected, in standard deviations of a chi-square variable."""
    drawn = expected > 0
    assert not counts[~drawn].any()
    statistic = ((counts[drawn] - expected[drawn]) ** 2 / expected[drawn]).sum()
    freedom = np.count_nonzero(drawn) - 1
    return float((statistic - freedom) / np.sqrt(2 * freedom))


def test_indices_are_drawn_in_proportion_to_their_numbers() -> None:
    rng = np.random.default_rng(3)
    numbers = rng.random(SIZE) ** 3
    numbers[rng.random(SIZE) < 0.3] = 0
    tree = SumTree(SIZE)
    tree.set(slice(0, SIZE), numbers)
    draws = 200_000
    counts = np.bincount(tree.find(np.sort(rng.random(draws)) * tree.total), minlength=SIZE)
    assert abs(chi_square(counts, draws * numbers / numbers.sum())) < 4


def test_a_stratified_batch_differs_from_its_expectation_by_less_than_two() -> None:
    rng = np.random.default_rng(5)
    numbers = rng.random(SIZE)
    tree = SumTree(SIZE)
    tree.set(slice(0, SIZE), numbers)
    drawn = tree.draw(rng, (11, 499))
    assert drawn.shape == (11, 499)
    assert (np.diff(drawn, axis=1) >= 0).all()
    for batch in drawn:
        counts = np.bincount(batch, minlength=SIZE)
        assert np.abs(counts - 499 * numbers / numbers.sum()).max() < 2


changes = st.lists(
    st.one_of(
        st.tuples(st.lists(st.integers(0, SIZE - 1), min_size=1, max_size=9), st.sampled_from([0.0, 1e-9, 0.3, 7.0])),
        st.tuples(st.tuples(st.integers(0, SIZE), st.integers(0, SIZE)), st.floats(0, 1e6)),
    ),
    max_size=30,
)


@settings(max_examples=60, deadline=None)
@given(changes=changes, seed=st.integers(0, 2**32 - 1))
def test_after_any_changes_it_holds_the_numbers_and_finds_none_that_is_zero(changes: list, seed: int) -> None:
    tree, plain = SumTree(SIZE), np.zeros(SIZE)
    for where, value in changes:
        if isinstance(where, tuple):
            part = slice(min(where), max(where))
            tree.set(part, value)
            plain[part] = value
        else:
            values = value * np.arange(1, len(where) + 1)
            tree.set(np.array(where), values)
            plain[where] = values
        tree.check_valid()
        assert tree.total == pytest.approx(plain.sum(), rel=1e-12)  # and with it sums that the next change makes stale
    assert np.array_equal(tree.leaves, plain)
    if not plain.any():
        return
    targets = np.append(np.random.default_rng(seed).random(97) * tree.total, [0.0, tree.total])
    found = tree.find(targets)
    assert (plain[found] > 0).all()
    running = plain.cumsum()
    slack = 1e-9 * running[-1]
    assert (running[found] >= targets - slack).all()
    assert (running[found] - plain[found] <= targets + slack).all()


def test_it_goes_on_alike_when_it_is_rebuilt_from_its_leaves() -> None:
    rng = np.random.default_rng(7)
    old, new = SumTree(SIZE), SumTree(SIZE)
    for _ in range(50):
        old.set(rng.integers(0, SIZE, 13), rng.random(13))
    new.set(slice(0, SIZE), old.leaves.copy())
    assert new.total == old.total
    first, second = (tree.draw(np.random.default_rng(1), (3, 101)) for tree in (old, new))
    assert np.array_equal(first, second)


@pytest.mark.parametrize("seed", range(5))
def test_the_first_and_last_target_of_each_block_find_its_first_and_last_number(seed: int) -> None:
    size = 400 * BLOCK
    numbers = 0.1 + np.random.default_rng(seed).random(size)
    numbers[::BLOCK] = numbers[BLOCK - 1 :: BLOCK] = 0
    tree = SumTree(size)
    tree.set(slice(0, size), numbers)
    ends = np.array(list(accumulate(sum(block) for block in numbers.reshape(-1, BLOCK).tolist())))
    assert np.array_equal(tree.find(np.nextafter(ends, 0)), np.arange(400) * BLOCK + BLOCK - 2)
    assert np.array_equal(tree.find(ends[:-1]), np.arange(1, 400) * BLOCK + 1)


def test_what_cannot_be_drawn_in_proportion_is_refused() -> None:
    tree = SumTree(SIZE)
    with pytest.raises(InvalidInputError, match="all 0"):
        tree.find(np.zeros(1))
    for value in (-1.0, np.nan, np.inf):
        with pytest.raises(InvalidInputError, match="finite and at least 0"):
            tree.set(np.array([3]), np.array([value]))
    tree.check_valid()
