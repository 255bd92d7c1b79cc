"""Copies to a device whose streams do what they were handed in any order that they may: nothing is read too early or
overwritten too soon."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import torch

from learner.device_copies import SLOTS, DeviceCopies
from tests.experience.races import FORMAT, OBSERVATION
from tests.experience.test_batches import SIZE, VALUATION, fill
from tests.learner.drawn import drawn
from tmrl_ray.config.replay import AugmentationSettings
from tmrl_ray.experience.batch_builder import BatchBuilder, BatchRecipe
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.device_pictures import DevicePictures
from tmrl_ray.experience.ring import Ring
from tmrl_ray.experience.sampling import Draw, Sampler

BATCHES = 41
BY_CHANCE = "by chance"
FIRST = {"the copies": lambda stream: stream.number == 0, "the steps": lambda stream: stream.number > 0}
"""Whose work is put off as long as that may be."""


class Work(NamedTuple):
    """What a stream does next, once an event has happened."""

    after: Event | None
    do: Callable[[], None]


class Stream:
    """Does one thing after the other, whenever the device comes to it; the first one computes."""

    def __init__(self, device: Device) -> None:
        self.number = len(device.streams)
        self.work: deque[Work] = deque()
        device.streams.append(self)

    @property
    def is_ready(self) -> bool:
        return bool(self.work) and (self.work[0].after is None or self.work[0].after.happened)

    def wait_event(self, event: Event) -> None:
        self.work.append(Work(event, lambda: None))


class Event:
    """Happens when its stream gets there."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.happened = True

    def record(self, stream: Stream) -> None:
        self.happened = False
        stream.work.append(Work(None, self._happen))

    def synchronize(self) -> None:
        while not self.happened:
            self._device.do_something()

    def _happen(self) -> None:
        self.happened = True


class Device:
    """A device in name only: who comes first is left to ``order`` and to chance."""

    def __init__(self, order: str, seed: int) -> None:
        self.streams: list[Stream] = []
        self.current = Stream(self)
        self._order = order
        self._chance = random.Random(seed)

    def do_something(self) -> None:
        ready = [stream for stream in self.streams if stream.is_ready]
        assert ready, "everybody waits for everybody"
        preferred = ready if self._order == BY_CHANCE else [each for each in ready if FIRST[self._order](each)]
        self._chance.choice(preferred or ready).work.popleft().do()

    def go_on(self, most: int) -> None:
        """Do a few things, as many as chance will."""
        for _ in range(self._chance.randint(0, most)):
            if any(stream.is_ready for stream in self.streams):
                self.do_something()

    @contextmanager
    def stream(self, stream: Stream) -> Iterator[None]:
        before, self.current = self.current, stream
        yield
        self.current = before


def install(device: Device, patch: pytest.MonkeyPatch) -> None:
    """Let torch and batches use this device."""
    patch.setattr(torch.cuda, "Stream", lambda _: Stream(device))
    patch.setattr(torch.cuda, "Event", lambda: Event(device))
    patch.setattr(torch.cuda, "current_stream", lambda _: device.current)
    patch.setattr(torch.cuda, "stream", device.stream)
    for owner, name in ((Batch, "copy_into"), (DevicePictures, "write"), (DevicePictures, "read")):
        patch.setattr(owner, name, later(device, getattr(owner, name)))


def later(device: Device, now: Callable[..., None]) -> Callable[..., None]:
    """Return what has the current stream do something."""
    return lambda *arguments: device.current.work.append(Work(None, lambda: now(*arguments)))


@pytest.mark.parametrize("order", [BY_CHANCE, *FIRST])
@pytest.mark.parametrize("buffers", [1, 2, 3, 5])
@pytest.mark.parametrize("most", [0, 2, 9])
def test_each_step_reads_its_own_batch(order: str, buffers: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(order, seed=7 * buffers + most)
    install(device, monkeypatch)
    copies = DeviceCopies(torch.device("cpu"), buffers)
    compute, memory = device.streams[0], [drawn(1) for _ in range(buffers)]
    seen: list[tuple[float, int]] = []
    for number in range(BATCHES):
        pinned = memory[number % buffers]
        pinned.rewards.fill_(number)
        pinned.actions.fill_(number)
        device.go_on(most)
        copied = copies.take(pinned)
        assert copied.rewards.data_ptr() != pinned.rewards.data_ptr()
        compute.work.append(
            Work(None, lambda copied=copied: seen.append((copied.rewards.item(), copied.actions.item())))
        )
        assert number + 1 - len(seen) <= buffers + 1, "the host runs away from the device"
        device.go_on(most)
    while any(stream.work for stream in device.streams):
        device.do_something()
    assert seen == [(number, number) for number in range(BATCHES)]


def test_a_batch_is_copied_while_the_step_before_is_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Device(BY_CHANCE, seed=0)
    install(device, monkeypatch)
    copies = DeviceCopies(torch.device("cpu"), buffers=3)
    for number in range(SLOTS):
        copies.take(drawn(1, seed=number))
    while any(stream.work for stream in device.streams):
        device.do_something()
    never = Event(device)
    never.happened = False
    device.streams[0].work.append(Work(never, lambda: None))
    batch = drawn(1, seed=7)
    copied = copies.take(batch)
    while any(stream.is_ready for stream in device.streams):
        device.do_something()
    assert torch.equal(copied.floats, batch.floats)
    assert device.streams[0].work[0].after is never


@pytest.fixture(scope="module")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ring]:
    made = Ring.create(tmp_path_factory.mktemp("ring") / "ring", FORMAT, SIZE, run="test")
    fill(Sampler(made), 5)
    yield made
    made.close()


def write_all_again(ring: Ring, rng: np.random.Generator) -> int:
    """Put other pictures into all rows of a ring; return their generation."""
    generation = int(ring._files.generations.max()) + 2
    ring._files.generations[:] = generation
    frames = ring.column("frame")
    frames[:] = rng.integers(0, 256, frames.shape, dtype=np.uint8)
    return generation


@pytest.mark.parametrize("order", [BY_CHANCE, *FIRST])
@pytest.mark.parametrize("buffers", [1, 2, 3])
@pytest.mark.parametrize("augmentation", [AugmentationSettings(), AugmentationSettings(shift_pixels=2)])
def test_pictures_that_stay_are_written_and_read_in_the_order_of_the_batches(
    order: str, buffers: int, augmentation: AugmentationSettings, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same few places are used by all batches, and get other pictures every third time."""
    cpu, device, rng = torch.device("cpu"), Device(order, seed=buffers), np.random.default_rng(buffers)
    recipe = BatchRecipe(7, OBSERVATION, frame_stack=2, augmentation=augmentation)
    gathers = BatchBuilder(recipe, ring)
    keeps = BatchBuilder(recipe, ring, buffers=buffers, pictures_on=cpu)
    rows, expected = np.flatnonzero(ring.column("steps_to_end")[:60])[:19], list[torch.Tensor]()
    install(device, monkeypatch)
    copies, seen = DeviceCopies(cpu, buffers), list[torch.Tensor]()
    for number in range(BATCHES):
        generation = write_all_again(ring, rng) if number % 3 == 0 else int(ring._files.generations[0])
        draw = Draw.of(rng.choice(rows, (1, 7)), np.full((1, 7), generation))
        (gathered,), (kept,) = (builder.batches(draw, VALUATION) for builder in (gathers, keeps))
        expected.append(torch.stack([gathered.frames, gathered.next_frames]))
        device.go_on(3)
        copied = copies.take(kept)
        assert kept.frames is None
        device.streams[0].work.append(
            Work(None, lambda copied=copied: seen.append(torch.stack([copied.frames, copied.next_frames])))
        )
        device.go_on(3)
    while any(stream.work for stream in device.streams):
        device.do_something()
    assert all(torch.equal(*pair) for pair in zip(expected, seen, strict=True))
    assert keeps.device_pictures.copied < 2 * 7 * BATCHES
