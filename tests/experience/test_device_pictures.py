"""Pictures that stay on a device, here the CPU: batches are bit for bit those whose pictures are gathered."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.experience.journal import JournalledCollector
from tests.experience.races import FORMAT, FRAME_SHAPE, OBSERVATION
from tests.experience.test_batches import BATCH, MINI_RACE, SHARE, SIZE, VALUATION, fill
from tmrl_ray.config.replay import AugmentationSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.batch_builder import BatchBuilder, BatchRecipe
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.demonstrations import Demonstrations
from tmrl_ray.experience.device_pictures import NOTHING
from tmrl_ray.experience.memory import RingSize
from tmrl_ray.experience.ring import TRAIN, Ring
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import Draw, Sampler
from tmrl_ray.experience.transitions import TransitionRules

CPU = torch.device("cpu")
CUDA = pytest.param(
    torch.device("cuda"),
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")],
)
AUGMENTED = AugmentationSettings(shift_pixels=2, mirror_share=0.5)
EACH_WAY = (
    AugmentationSettings(),
    AugmentationSettings(shift_pixels=2),
    AugmentationSettings(mirror_share=0.5),
    AUGMENTED,
)
RULES = TransitionRules(mini_race=MINI_RACE)
BATCHES = 5


@pytest.fixture
def ring(tmp_path: Path) -> Iterator[Ring]:
    made = Ring.create(tmp_path / "ring", FORMAT, SIZE, run="test")
    yield made
    made.close()


def pair(
    ring: RingReader, recipe: BatchRecipe, experts: RingReader | None = None, device: torch.device = CPU
) -> tuple[BatchBuilder, BatchBuilder]:
    """Return one builder that gathers pictures and one that keeps them on a device."""
    gathers = BatchBuilder(recipe, ring, experts, seed=7)
    keeps = BatchBuilder(recipe, ring, experts, seed=7, pinned=device.type == "cuda", pictures_on=device)
    return gathers, keeps


def arrived(batches: Iterator[Batch], device: torch.device = CPU) -> Iterator[Batch]:
    """Copy each batch to the device before the next one is built."""
    return (batch.to(device) for batch in batches)


def assert_same(gathered: Batch, kept: Batch) -> None:
    expected, found = gathered.tensors(), kept.tensors()
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert tensor.dtype == found[name].dtype
        assert torch.equal(tensor, found[name].cpu()), name


def copied(builder: BatchBuilder) -> int:
    assert builder.device_pictures is not None
    return builder.device_pictures.copied


def held(builder: BatchBuilder) -> np.ndarray:
    assert builder.device_pictures is not None
    return builder.device_pictures.held


@pytest.mark.parametrize("device", [CPU, CUDA])
@pytest.mark.parametrize("frame_stack", [1, 3])
@pytest.mark.parametrize("augmentation", EACH_WAY)
def test_batches_are_the_same_while_a_writer_goes_round_and_round(
    ring: Ring, augmentation: AugmentationSettings, frame_stack: int, device: torch.device
) -> None:
    """Every other draw waits until a fifth of its samples are torn."""
    sampler, collectors = Sampler(ring, seed=3), count(1)
    fill(sampler)
    recipe = BatchRecipe(BATCH, OBSERVATION, frame_stack=frame_stack, rules=RULES, augmentation=augmentation)
    gathers, keeps = pair(ring, recipe, device=device)
    built = 0
    for number in range(8):
        draw = sampler.draw(BATCHES, BATCH)
        assert draw is not None
        rows, generations = draw.rows.ravel().astype(np.int64), draw.generations.ravel()
        while number % 2 and ring.intact(rows, generations).mean() > 0.8:
            fill(sampler, 5, number=next(collectors))
        augment = number < 6
        gathered = gathers.batches(draw, VALUATION, augment=augment)
        for one, other in zip(gathered, arrived(keeps.batches(draw, VALUATION, augment=augment), device), strict=True):
            assert_same(one, other)
            built += 1
    assert built == 8 * BATCHES
    assert gathers.torn_rows == keeps.torn_rows > BATCH
    assert gathers.state_dict() == keeps.state_dict()
    assert ring.counters.inserted_rows > 2 * ring.rows


def test_a_stack_of_four_crosses_the_end_of_the_ring(tmp_path: Path) -> None:
    deep = ChunkFormat(FORMAT.layout, history=3, look_ahead=3)
    ring = Ring.create(tmp_path / "ring", deep, SIZE, run="test")
    sampler = Sampler(ring, seed=5)
    recipe = BatchRecipe(BATCH, OBSERVATION, frame_stack=4, rules=RULES, augmentation=AUGMENTED)
    gathers, keeps = pair(ring, recipe)
    for number in range(5):
        fill(sampler, 40, number=number)
        draw = sampler.draw(BATCHES, BATCH)
        assert draw is not None
        for gathered, kept in zip(
            gathers.batches(draw, VALUATION), arrived(keeps.batches(draw, VALUATION)), strict=True
        ):
            assert_same(gathered, kept)
    assert ring.counters.inserted_rows > 2 * ring.rows
    ring.close()


def test_demonstrations_stay_there_too_and_another_ring_begins_anew(ring: Ring, tmp_path: Path) -> None:
    size = RingSize(capacity_rows=256, chunk_rows=13, guard_rows=0)
    experts = Demonstrations(Ring.create(tmp_path / "experts", FORMAT, size, run="test"), share=SHARE, seed=5)
    expert = JournalledCollector(experts.ring, seed=9, greedy_share=1.0)
    for chunk in expert.race(47) + expert.race(83):
        experts.add(chunk)
    recipe = BatchRecipe(BATCH, OBSERVATION, frame_stack=2, augmentation=AUGMENTED)
    gathers, keeps = pair(ring, recipe, experts.ring)
    taught = experts.samples_of(BATCH, env_steps=0)
    larger = RingSize(capacity_rows=997, chunk_rows=13, guard_rows=31)
    rings = [ring, Ring.create(tmp_path / "same", FORMAT, SIZE, run="test")]
    rings.append(Ring.create(tmp_path / "larger", FORMAT, larger, run="test"))
    for number, each in enumerate(rings):
        sampler = Sampler(each, seed=number)
        fill(sampler, number=number)
        if number:
            for builder in (gathers, keeps):
                builder.attach(each)
            assert (held(keeps) == NOTHING).all()
        for _ in range(3):
            draw, demonstrations = sampler.draw(2, BATCH - taught), experts.draw(2, taught)
            assert draw is not None
            gathered = gathers.batches(draw, VALUATION, demonstrations=demonstrations)
            kept = keeps.batches(draw, VALUATION, demonstrations=demonstrations)
            for one, other in zip(gathered, arrived(kept), strict=True):
                assert_same(one, other)
        assert len(held(keeps)) == each.rows + experts.ring.rows


def test_a_picture_crosses_once(ring: Ring) -> None:
    sampler = Sampler(ring)
    fill(sampler)
    _, keeps = pair(ring, BatchRecipe(BATCH, OBSERVATION, frame_stack=2))
    index = ring.drawable[TRAIN]
    rows, generations = (each[: BATCH * (index.total // BATCH)] for each in index.locate(np.arange(index.total)))
    everything = Draw.of(rows.reshape(-1, BATCH), generations.reshape(-1, BATCH))
    list(arrived(keeps.batches(everything, VALUATION)))
    first = copied(keeps)
    assert len(rows) <= first <= ring.rows
    assert first == (held(keeps) != NOTHING).sum()
    list(arrived(keeps.batches(everything, VALUATION)))
    assert copied(keeps) == first


def test_a_batch_that_is_not_copied_leaves_nothing_believed(ring: Ring) -> None:
    sampler = Sampler(ring)
    fill(sampler)
    gathers, keeps = pair(ring, BatchRecipe(BATCH, OBSERVATION))
    draw = sampler.draw(4, BATCH)
    assert draw is not None
    list(keeps.batches(draw, VALUATION))
    assert copied(keeps) == 0
    assert (held(keeps) == NOTHING).all()
    for gathered, kept in zip(gathers.batches(draw, VALUATION), arrived(keeps.batches(draw, VALUATION)), strict=True):
        assert_same(gathered, kept)


class TornRing(RingReader):
    """A ring whose owner writes to some rows just while their pictures are copied."""

    def __init__(self, ring: Ring) -> None:
        super().__init__(ring._files, ring.format)
        self.overwritten: np.ndarray = np.empty(0, np.int64)
        self._later = count(2 * 10**6, 2)

    def take(self, name: str, rows: np.ndarray, out: np.ndarray) -> None:
        if name == "frame" and len(self.overwritten):
            self._files.generations[self.overwritten] = next(self._later) - 1
            self._files.columns["frame"][self.overwritten] ^= 0xFF
        super().take(name, rows, out)


def test_a_torn_row_is_not_believed(ring: Ring) -> None:
    sampler = Sampler(ring)
    fill(sampler)
    torn_ring = TornRing(ring)
    _, keeps = pair(torn_ring, BatchRecipe(BATCH, OBSERVATION))
    draw = sampler.draw(1, BATCH)
    assert draw is not None
    rows = draw.rows[0].astype(np.int64)
    before, gone = ring.generations(rows), rows[::5]
    torn_ring.overwritten = gone
    (batch,) = arrived(keeps.batches(draw, VALUATION))
    assert batch.frames is not None
    assert keeps.torn_rows >= len(gone)
    assert not set(batch.indices.tolist()) & set(gone.tolist())
    assert torch.equal(batch.frames[:, 0], torch.from_numpy(ring.column("frame")[batch.indices.numpy()]))
    assert (held(keeps)[gone] == NOTHING).all()
    whole = np.isin(rows, batch.indices.numpy())
    assert np.array_equal(held(keeps)[rows[whole]], before[whole])
    torn_ring.overwritten = gone[:0]  # the writer is done
    later, sent = 4 * 10**6, copied(keeps)
    ring._files.generations[:] = later  # everything was written again
    ring._files.columns["frame"][:] ^= 0x55
    (batch,) = arrived(keeps.batches(Draw.of(rows[None], np.full((1, BATCH), later)), VALUATION))
    assert copied(keeps) > sent
    assert batch.frames is not None
    assert torch.equal(batch.frames[:, 0], torch.from_numpy(ring.column("frame")[batch.indices.numpy()]))


def test_a_state_goes_on_whether_pictures_stay_or_not(ring: Ring) -> None:
    fill(Sampler(ring))
    draw = Sampler(ring, seed=4).draw(2, BATCH)
    assert draw is not None
    gathers, keeps = pair(ring, BatchRecipe(BATCH, OBSERVATION, rules=RULES, augmentation=AUGMENTED))
    for first, second in ((gathers, keeps), (keeps, gathers)):
        list(first.batches(draw, VALUATION))
        second.load_state_dict(first.state_dict())
        for one, other in zip(
            arrived(first.batches(draw, VALUATION)), arrived(second.batches(draw, VALUATION)), strict=True
        ):
            assert_same(one, other)


def test_what_does_not_fit_is_refused(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = Sampler(ring)
    fill(sampler)
    _, keeps = pair(ring, BatchRecipe(BATCH, OBSERVATION))
    assert keeps.device_pictures is not None
    assert keeps.device_pictures.size_bytes == ring.rows * FRAME_SHAPE[0] * FRAME_SHAPE[1]
    draw = sampler.draw(1, BATCH)
    assert draw is not None
    (batch,) = keeps.batches(draw, VALUATION)
    memory, empty = batch.empty_like(CPU), torch.empty

    def full(shape: tuple[int, ...], **options: object) -> torch.Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(torch, "empty", full)
    with pytest.raises(InvalidInputError, match=r"do not fit on cpu"):
        batch.copy_into(memory)
    monkeypatch.setattr(torch, "empty", empty)
    batch.copy_into(memory)
    assert copied(keeps) > 0
