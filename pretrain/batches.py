"""Batches of a cache: which samples a worker sees in an epoch, and what a stage wants to know of each.

All workers draw the same order from the seed and take turns in each batch, so that together they see what one alone
would see. A thread prepares batches ahead of the loop.

Shape letters: B batch, C stacked frames, M moments ahead, K offsets, F floats, H W pixels.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tmrl_ray.config.pretrain import StageSettings
from tmrl_ray.datasets.cache import RaceCache, Target, split_maps
from tmrl_ray.errors import InvalidInputError

Rows = NDArray[np.int64]
_POLL_S = 0.1


@dataclass(frozen=True)
class Ahead:
    """Moments after a picture that a task wants to see."""

    rows: tuple[int, ...]
    """How many rows of the cache later, rising."""
    drawn: bool
    """One of them, drawn for each sample; else all of them."""


@dataclass(frozen=True)
class Wanted:
    """What a stage wants to know of each sample."""

    ahead: Mapping[str, Ahead] = field(default_factory=dict)
    """Moments ahead, by the task that wants them."""
    offsets_ms: tuple[int, ...] = ()
    """Times after the picture of which the action is told."""
    target: Target | None = None
    """Which action a sample must have."""
    floats: bool = False
    previous_ms: tuple[int, ...] = ()
    """Times before the picture of which the action is told, the earliest first."""


@dataclass(frozen=True, eq=False)
class Look:
    """What comes after the pictures of a batch."""

    frames: Tensor
    """(B, M, C, H, W) uint8."""
    actions: Tensor
    """(B, M) held from the moment before each on: at the picture, at the first moment, ..."""
    index: Tensor
    """(B, M) which of the moments that were asked for."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Samples of one worker."""

    frames: Tensor
    """(B, C, H, W) uint8."""
    ahead: Mapping[str, Look]
    labels: Tensor | None
    """(B, K) the action at each offset, -100 for none."""
    previous: Tensor | None
    """(B, P) the actions at the times before, the earliest first, -100 for none."""
    floats: Tensor | None
    """(B, F)."""
    share: float = 1.0
    """Samples here, by the mean number that a worker has of this batch: weighs the loss, so that the mean over the
    workers' gradients is that of all samples."""

    def to(self, device: torch.device) -> Batch:
        """Return it on a device."""

        def move(tensor: Tensor | None) -> Any:
            return None if tensor is None else tensor.to(device, non_blocking=True)

        ahead = {name: Look(move(e.frames), move(e.actions), move(e.index)) for name, e in self.ahead.items()}
        return Batch(
            move(self.frames), ahead, move(self.labels), move(self.previous), move(self.floats), share=self.share
        )


@dataclass(frozen=True)
class World:
    """The workers that train together, and which of them this is."""

    rank: int = 0
    size: int = 1


ALONE = World()


class BatchSource:
    """Draws the batches of a stage.

    Args:
        cache: the races.
        settings: batch size, stack, split and seed.
        wanted: what is told of each sample.
        pinned: keep tensors in pinned memory, to copy them to a GPU while it computes.

    Raises:
        InvalidInputError: there are no samples to train with, or fewer than the workers need.
    """

    def __init__(
        self,
        cache: RaceCache,
        settings: StageSettings,
        wanted: Wanted,
        *,
        world: World = ALONE,
        pinned: bool = False,
    ) -> None:
        self.cache = cache
        self.wanted = wanted
        self._settings = settings
        self._world = world
        self._pinned = pinned
        maps = cache.maps if settings.track_ids is None else settings.track_ids
        if settings.val_track_ids is None:
            self.train_maps, self.val_maps = split_maps(maps, settings.val_fraction, settings.seed)
        else:
            self.val_maps = tuple(sorted(set(settings.val_track_ids)))
            self.train_maps = tuple(sorted(set(maps) - set(self.val_maps)))
        self.train_rows = self._rows(cache.races_on(self.train_maps))
        """(N,) the last row of each training sample's stack."""
        self.val_rows = self._rows(cache.races_on(self.val_maps))
        """(N,) those of the samples that are only measured on."""
        least = 2 * world.size  # contrasts need two samples for each worker
        if settings.batch_size < 2 * least or 0 < len(self.train_rows) < least:
            raise InvalidInputError(
                f"batches of {settings.batch_size} of {len(self.train_rows)} samples are too few for "
                f"{world.size} workers",
                hint="Use fewer workers, job.workers, or larger batches: at least 4 samples for each worker.",
            )
        if 0 < len(self.val_rows) < world.size:
            raise InvalidInputError(
                f"{len(self.val_rows)} samples to measure on are too few for {world.size} workers",
                hint="Use fewer workers, job.workers, or measure on more maps, val_track_ids or val_fraction.",
            )
        if not len(self.train_rows):
            raise InvalidInputError(
                f"the dataset has no sample to train with: {len(cache)} pictures in {len(cache.races)} races, "
                f"none with {settings.n_stack} in a row{', labels' if wanted.target else ''}"
                f"{', floats' if wanted.floats else ''} and {self._farthest()} more after it",
                hint="Look at it with: tmrl-ray dataset validate, or ask for fewer pictures in a row.",
            )

    @property
    def train_batches(self) -> int:
        """Batches in a training epoch; a rest of less than half a batch is left out."""
        return max(1, int(len(self.train_rows) / self._settings.batch_size + 0.5))

    def train(self, epoch: int) -> Iterator[Batch]:
        """Yield this worker's share of the training batches, in an order that the seed and the epoch give."""
        rng = np.random.default_rng((self._settings.seed, epoch, *b"order"))
        return self._ahead(self._batches(rng.permutation(self.train_rows), rng, learning=True))

    def validate(self, maps: Sequence[str] | None = None) -> Iterator[Batch]:
        """Yield this worker's share of what is only measured on, the same each time; without any, of all others.

        Args:
            maps: of these alone; None: all.
        """
        rng = np.random.default_rng((self._settings.seed, *b"validate"))
        rows = self.val_rows if len(self.val_rows) else self.train_rows
        if maps is not None:
            rows = self._rows(self.cache.races_on(maps))
        return self._ahead(self._batches(rows, rng, learning=False))

    def batch_of(self, rows: Rows, rng: np.random.Generator, *, share: float = 1.0) -> Batch:
        """Return the batch of the samples whose stacks end at ``rows`` (B,)."""
        cache, wanted, stack = self.cache, self.wanted, self._settings.n_stack
        looks = {name: self._look(rows, ahead, rng) for name, ahead in wanted.ahead.items()}
        labels = None
        if wanted.target == "next_tick":
            labels = cache.targets(rows, "next_tick")[:, None]
        elif wanted.offsets_ms:
            labels = cache.labels(rows, wanted.offsets_ms)
        previous = cache.labels(rows, wanted.previous_ms) if wanted.previous_ms else None
        return Batch(
            self._tensor(cache.stacks(rows, stack)),
            looks,
            None if labels is None else self._tensor(labels),
            None if previous is None else self._tensor(previous),
            self._tensor(cache.floats[rows]) if wanted.floats else None,
            share=share,
        )

    def _rows(self, races: Sequence[int]) -> Rows:
        return self.cache.window_ends(
            races,
            stack=self._settings.n_stack,
            ahead=self._farthest(),
            target=self.wanted.target,
            with_floats=self.wanted.floats,
        )

    def _farthest(self) -> int:
        return max((ahead.rows[-1] for ahead in self.wanted.ahead.values()), default=0)

    def _batches(self, order: Rows, rng: np.random.Generator, *, learning: bool) -> Iterator[Batch]:
        size, world = self._settings.batch_size, self._world
        for start in range(0, len(order), size):
            together = order[start : start + size]
            if learning and start and 2 * len(together) < size:  # a rest, whose few samples would count as many
                continue
            mine = together[world.rank :: world.size]
            if not len(mine):
                continue
            yield self.batch_of(mine, rng, share=len(mine) * world.size / len(together))

    def _look(self, rows: Rows, ahead: Ahead, rng: np.random.Generator) -> Look:
        moments = np.asarray(ahead.rows)
        index = np.broadcast_to(np.arange(len(moments)), (len(rows), len(moments)))
        if ahead.drawn:
            index = rng.integers(len(moments), size=(len(rows), 1))
        later = rows[:, None] + moments[index]  # (B, M)
        before = np.concatenate([rows[:, None], later[:, :-1]], axis=1)
        shape = later.shape
        frames = self.cache.stacks(later.ravel(), self._settings.n_stack)
        actions = self.cache.labels(before.ravel()).reshape(shape)
        return Look(
            self._tensor(frames.reshape(*shape, *frames.shape[1:])), self._tensor(actions), self._tensor(index.copy())
        )

    def _tensor(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(np.ascontiguousarray(array))
        return tensor.pin_memory() if self._pinned else tensor

    def _ahead(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Yield the batches, prepared by a thread that is some of them ahead."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(self._settings.prefetch_factor)
        ended = threading.Event()

        def put(item: Batch | BaseException | None) -> bool:
            while not ended.is_set():
                try:
                    ready.put(item, timeout=_POLL_S)
                    return True
                except queue.Full:
                    continue
            return False

        def prepare() -> None:
            try:
                for batch in batches:
                    if not put(batch):
                        return
                put(None)
            except BaseException as error:  # noqa: BLE001 - raised again where the batch is taken
                put(error)

        thread = threading.Thread(target=prepare, name="batches", daemon=True)
        thread.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            ended.set()
            thread.join()
