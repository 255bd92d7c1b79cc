"""What is drawn: the right rows, in the right proportion, and never those that must not be."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.experience.journal import JournalledCollector, guarded
from tests.experience.races import FORMAT
from tests.experience.test_sum_tree import chi_square
from tmrl_ray.config.replay import PrioritySettings
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.experience.incarnations import Arrival
from tmrl_ray.experience.memory import RingSize
from tmrl_ray.experience.ring import TEST, TRAIN, Ring
from tmrl_ray.experience.sampling import Draw, PriorityUpdate, RaceSplit, Sampler

SIZE = RingSize(capacity_rows=709, chunk_rows=13, guard_rows=31)
SETTINGS = PrioritySettings(alpha=0.7)


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    yield made
    made.close()


def fill(sampler: Sampler, rows: int, *, number: int = 0, seed: int = 0) -> JournalledCollector:
    """Append races until so many rows were sent."""
    collector = JournalledCollector(sampler.ring, number, seed=seed)
    while len(collector.sent) < rows:
        for chunk in collector.race(29 + len(collector.sent) % 11):
            assert sampler.append(chunk).arrival is Arrival.ACCEPTED
    return collector


def drawable(ring: Ring, split: int = TRAIN) -> np.ndarray:
    index = ring.drawable[split]
    return np.sort(index.locate(np.arange(index.total))[0])


def update_of(draw: Draw, td_errors: np.ndarray) -> PriorityUpdate:
    return PriorityUpdate(draw.rows.ravel(), draw.generations.ravel(), td_errors.ravel().astype(np.float32))


@pytest.mark.parametrize("priorities", [None, SETTINGS])
def test_only_core_rows_are_drawn_and_only_those_are_counted(ring: Ring, priorities: PrioritySettings | None) -> None:
    sampler = Sampler(ring, priorities=priorities, seed=1)
    collector = fill(sampler, 3 * SIZE.capacity_rows)
    draw = sampler.draw(40, 101)
    assert draw is not None
    rows = draw.rows.astype(np.int64)
    assert set(np.unique(rows)) == set(drawable(ring))
    assert (ring.column("action")[rows] != NO_ACTION).all()
    assert all(metres in collector.sent for metres in ring.column("metres")[rows].ravel().tolist())
    assert ring.intact(rows.ravel(), draw.generations.ravel()).all()
    assert not guarded(ring, rows.ravel()).any()
    assert sampler.drawable_rows == len(drawable(ring)) <= SIZE.capacity_rows
    assert ring.counters.env_steps == ring.counters.inserted_rows == len(collector.sent)
    assert draw.weights is None or (draw.weights == 1).all()


def test_uniform_draws_are_uniform(ring: Ring) -> None:
    sampler = Sampler(ring, seed=2)
    fill(sampler, 500)
    rows = drawable(ring)
    draw = sampler.draw(400, 11)
    assert draw is not None
    counts = np.bincount(draw.rows.ravel(), minlength=ring.rows)[rows]
    assert chi_square(counts, np.full(len(rows), 4400 / len(rows))) < 4


def test_rows_are_drawn_in_proportion_to_their_priorities_and_weighted_against_it(ring: Ring) -> None:
    sampler = Sampler(ring, priorities=SETTINGS, seed=3)
    fill(sampler, 500)
    rows = drawable(ring)
    errors = np.random.default_rng(4).standard_normal(len(rows)).astype(np.float32) * 5
    update = PriorityUpdate(rows.astype(np.uint32), ring.generations(rows), errors)
    assert sampler.update(update) == len(rows)
    sampler.check_valid()
    masses = (np.abs(errors.astype(float)) + SETTINGS.epsilon) ** SETTINGS.alpha
    draw = sampler.draw(400, 101, beta=0.5)
    assert draw is not None
    assert draw.weights is not None
    counts = np.bincount(draw.rows.ravel(), minlength=ring.rows)[rows]
    assert chi_square(counts, draw.rows.size * masses / masses.sum()) < 4
    of_row = dict(zip(rows.tolist(), masses.tolist(), strict=True))
    drawn = np.array([[of_row[row] for row in batch] for batch in draw.rows.tolist()])
    weights = (len(rows) * drawn / masses.sum()) ** -0.5
    np.testing.assert_allclose(draw.weights, weights / weights.max(axis=1, keepdims=True), rtol=1e-5)


def test_a_draw_fits_into_forty_kib_and_tells_what_it_was_told() -> None:
    rng = np.random.default_rng(5)
    rows, ages = rng.integers(0, 200_000, (8, 512)), rng.integers(0, 2**16, (8, 512))
    draw = Draw.of(rows, 2**40 - 2 * ages, np.ones((8, 512), np.float32))
    assert draw.size_bytes <= 40 * 1024
    assert np.array_equal(draw.generations, 2**40 - 2 * ages)
    ages[3, 5] = 2**20
    far = Draw.of(rows, 2**40 - 2 * ages)
    assert np.array_equal(far.generations, 2**40 - 2 * ages)


def test_updates_of_rows_that_are_gone_are_dropped(ring: Ring) -> None:
    sampler = Sampler(ring, priorities=SETTINGS, seed=6)
    fill(sampler, 300)
    draw = sampler.draw(1, 97)
    assert draw is not None
    fill(sampler, 2 * SIZE.capacity_rows, number=1, seed=1)
    before = ring.live_priorities()
    assert sampler.update(update_of(draw, np.full(97, 1e6))) == 0
    assert sampler.stale_updates == 97
    assert np.array_equal(ring.live_priorities(), before)
    sampler.check_valid()


def test_updates_bring_no_row_back_that_has_come_near_the_writer(tmp_path: Path) -> None:
    size = RingSize(capacity_rows=709, chunk_rows=256, guard_rows=101)  # short chunks fill it before the window is full
    ring = Ring.create(tmp_path / "ring", FORMAT, size, run="test")
    sampler = Sampler(ring, priorities=SETTINGS, seed=6)
    collector, near = fill(sampler, 100), np.zeros(1, bool)
    while not near.any():
        rows = drawable(ring)
        generations = ring.generations(rows)
        for chunk in collector.race(1):
            sampler.append(chunk)
        near = guarded(ring, rows) & ring.intact(rows, generations)
    assert sampler.update(PriorityUpdate(rows.astype(np.uint32), generations, np.ones(len(rows), np.float32))) > 0
    sampler.check_valid()
    ring.close()


def test_only_draws_early_in_their_mini_race_update() -> None:
    rows, generations = np.arange(5), np.arange(10, 20, 2)
    errors = np.array([1, 2, 3, np.nan, 5], np.float32)
    clock = np.array([0, 99, 100, 3, 139], np.float32)
    update = PriorityUpdate.of(rows, generations, errors, clock=clock, below_clock=100)
    assert (update.rows.tolist(), update.generations.tolist()) == ([0, 1], [10, 12])
    assert update.td_errors.tolist() == [1, 2]
    assert len(PriorityUpdate.of(rows, generations, errors, clock=clock, below_clock=None).rows) == 4


def test_new_rows_by_maximum_by_mean_and_by_the_collectors_error(tmp_path: Path) -> None:
    leaves = {}
    for kind in ("maximum", "mean", "td_error"):
        ring = Ring.create(tmp_path / kind, FORMAT, SIZE, run="test")
        sampler = Sampler(ring, priorities=PrioritySettings(alpha=0.5, new_rows=kind, first=0.25, mean_factor=3.0))
        collector = JournalledCollector(ring)
        (first,) = collector.race(40)
        core = sampler.append(first).core
        assert core is not None
        assert (ring.live_priorities()[core.slice] == 0.25).all()
        rows = np.arange(core.start, core.start + core.rows)
        errors = np.where(rows % 2, 3.998, 0.998).astype(np.float32)
        sampler.update(PriorityUpdate(rows.astype(np.uint32), ring.generations(rows), errors))
        (second,) = collector.race(7)
        second.columns["td_error"][:4] = (-1.998, 0.0, np.nan, np.inf)
        core = sampler.append(second).core
        assert core is not None
        leaves[kind] = ring.live_priorities()[core.slice]
        sampler.check_valid()
        ring.close()
    assert leaves["maximum"] == pytest.approx([4.0] * 7)
    assert leaves["mean"] == pytest.approx([(3.0 * 1.5) ** 2] * 7)  # mean of sqrt(4) and sqrt(1) is 1.5
    assert leaves["td_error"][:4] == pytest.approx([2.0, 0.002, 4.0, 4.0])


def test_every_third_race_of_each_collector_is_kept_for_testing_as_a_whole(ring: Ring) -> None:
    sampler = Sampler(ring, split=RaceSplit(3), priorities=SETTINGS, seed=7)
    collectors = [JournalledCollector(ring, number, seed=number) for number in range(2)]
    tested: list[list[bool]] = [[], []]
    for race in range(6):
        for number, collector in enumerate(collectors):
            chunks = collector.race(23 + race, flushes=frozenset({7, 13}))
            assert len(chunks) == 3
            splits = {RaceSplit(3)(chunk) for chunk in chunks}
            assert len(splits) == 1
            tested[number].append(splits == {TEST})
            for chunk in chunks:
                sampler.append(chunk)
    assert [sum(each) for each in tested] == [2, 2]
    assert tested[0] != tested[1]
    learned, kept = set(drawable(ring, TRAIN)), set(drawable(ring, TEST))
    draws = sampler.draw(20, 101), sampler.draw_test(20, 101)
    for draw, allowed in zip(draws, (learned, kept), strict=True):
        assert draw is not None
        assert set(draw.rows.ravel().tolist()) <= allowed
    assert sampler.test_share == len(kept) / (len(kept) + len(learned))
    sampler.check_valid()


def test_nothing_to_draw_is_no_draw(ring: Ring) -> None:
    sampler = Sampler(ring, split=RaceSplit(2), priorities=SETTINGS)
    assert sampler.draw(1, 5) is None
    assert sampler.draw_test(1, 5) is None
    assert sampler.test_share == 0


def test_the_first_rows_are_drawn_when_the_tree_has_them(ring: Ring) -> None:
    sampler = Sampler(ring, priorities=SETTINGS)
    (chunk,) = JournalledCollector(ring).race(40)
    result = ring.append(chunk)  # as far as an append has come when another thread draws
    assert sampler.drawable_rows == 40
    assert sampler.draw(1, 5) is None
    sampler._taken_in(result, TRAIN, np.ones(40))
    assert sampler.draw(1, 5) is not None


def test_a_sampler_that_attaches_after_a_restart_draws_the_same(tmp_path: Path) -> None:
    ring = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    old = Sampler(ring, split=RaceSplit(4), priorities=SETTINGS, seed=8)
    fill(old, 1000)
    draw = old.draw(4, 97)
    assert draw is not None
    old.update(update_of(draw, np.random.default_rng(1).standard_normal((4, 97))))
    ring.close()
    again = Ring.attach(tmp_path / "ring", FORMAT)
    new = Sampler(again, split=RaceSplit(4), priorities=SETTINGS, seed=99)
    new.check_valid()
    new.load_state_dict(old.state_dict())
    first, second = old.draw(3, 101), new.draw(3, 101)
    assert first is not None
    assert second is not None
    assert np.array_equal(first.rows, second.rows)
    assert np.array_equal(first.generations, second.generations)
    again.close()


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=st.lists(st.tuples(st.sampled_from("adul"), st.integers(1, 300)), min_size=5, max_size=40),
    new_rows=st.sampled_from(["maximum", "mean", "td_error"]),
    guard_rows=st.sampled_from([0, 31]),
)
def test_the_tree_holds_what_may_be_drawn_whatever_happens(
    tmp_path_factory: pytest.TempPathFactory, moves: list[tuple[str, int]], new_rows: str, guard_rows: int
) -> None:
    size = RingSize(capacity_rows=709, chunk_rows=13, guard_rows=guard_rows)
    ring = Ring.create(tmp_path_factory.mktemp("ring") / "ring", FORMAT, size, run="test")
    sampler = Sampler(ring, split=RaceSplit(3), priorities=PrioritySettings(new_rows=new_rows), seed=9)
    collector, draws = JournalledCollector(ring), []
    for move, number in moves:
        if move == "a":
            for chunk in collector.race(number, flushes=frozenset({number // 2})):
                sampler.append(chunk)
                sampler.check_valid()
        elif move == "d":
            draw = sampler.draw(1, number)
            draws += [] if draw is None else [draw]
        elif move == "u" and draws:
            draw = draws.pop(number % len(draws))
            sampler.update(update_of(draw, np.linspace(-number, number, draw.rows.size)))
        elif move == "l":
            ring.set_live_rows(256 + number)
        sampler.check_valid()
        if (draw := sampler.draw(1, 31)) is not None:
            assert ring.intact(draw.rows[0].astype(np.int64), draw.generations[0]).all()
    ring.remove()


def test_one_thread_appends_while_another_one_draws(ring: Ring) -> None:
    sampler = Sampler(ring, split=RaceSplit(5), priorities=SETTINGS, seed=10)
    collector = fill(sampler, 300)
    chunks = [chunk for _ in range(150) for chunk in collector.race(37)]
    done = threading.Event()

    def append() -> None:
        for chunk in chunks:
            sampler.append(chunk)
        done.set()

    writer = threading.Thread(target=append)
    writer.start()
    draws = 0
    while not done.is_set():
        with ring.lock:  # nothing that is drawn may be in the way of the append that is under way
            draw = sampler.draw(1, 61)
            assert draw is not None
            assert ring.intact(draw.rows[0].astype(np.int64), draw.generations[0]).all()
        sampler.update(update_of(draw, np.ones(61)))
        draws += 1
    writer.join()
    assert draws > 5
    sampler.check_valid()
