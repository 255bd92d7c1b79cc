"""Builds batches: gathers what was drawn straight from the ring's shared memory into buffers that are used again.

The loop in which it is used, in the process that learns::

    for batch in builder.batches(draw, Valuation(gamma, weight_vector(settings.reward))):
        update.step(batch)

Rows may be overwritten between draw and gathering. A sample of which that is true is replaced by another one of the
same batch, chosen at random, and counted in ``torn_rows``; a batch of which nothing is intact is left out and counted
in ``lost_batches``, as happens when a draw has waited for very long.

Shape letters: N batches in a draw, B batch, C stacked frames, H W pixels, F floats.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from tmrl_ray.config.replay import AugmentationSettings, ShapingSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.augment import draw_shifts
from tmrl_ray.experience.batches import NO_EXPERT, Arrays, Batch, BatchBuffer
from tmrl_ray.experience.device_pictures import DevicePictures, OrderedBatch, PictureOrder
from tmrl_ray.experience.gathered_pictures import GatheredPictures, Pictures
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import Draw
from tmrl_ray.experience.transitions import TransitionRules, Transitions, Valuation, read_transitions
from tmrl_ray.racing.actions import MIRRORED
from tmrl_ray.racing.mirror import FloatsMirror
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reward import potential, shaping

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class BatchRecipe:
    """What batches are made like."""

    batch_size: int
    observation: ObservationLayout = field(default_factory=ObservationLayout)
    """Of the ring's floats."""
    frame_stack: int = 1
    """Pictures that are seen at once: the row's own and those of the rows before it. Before its first row, a race
    looked like there: that picture is repeated."""
    rules: TransitionRules = TransitionRules()
    shaping: ShapingSettings | None = None
    """Added to the rewards by the potential at both ends; None: nothing."""
    augmentation: AugmentationSettings = AugmentationSettings()


@dataclass(frozen=True)
class _Part:
    """The samples of a draw that come from one ring."""

    ring: RingReader
    draw: Draw
    transitions: Transitions
    generations: Ints  # (N, B)
    span: NDArray[np.int64]  # (N * B, 2) first and last row of a chunk that a sample needs
    begin: int  # its place in each batch
    stop: int
    of_expert: bool


class _Memory(NamedTuple):
    """What one batch is put into."""

    batch: Batch
    arrays: Arrays
    pictures: Pictures | None


class BatchBuilder:
    """Turns draws into batches.

    Args:
        recipe: what they are like.
        experience: the ring of the collectors.
        demonstrations: the ring of the experts; None: there is none.
        seed: of clocks and augmentation.
        buffers: how many batches are valid at once: a batch may be used until so many less one came after it.
        pinned: put batches where a CUDA device can copy from by itself.
        pictures_on: the device on which pictures stay, see ``device_pictures``; None: each batch brings its own.

    Raises:
        InvalidInputError: the chunks of a ring do not reach as far as the recipe asks.
    """

    def __init__(
        self,
        recipe: BatchRecipe,
        experience: RingReader,
        demonstrations: RingReader | None = None,
        *,
        seed: int = 0,
        buffers: int = 3,
        pinned: bool = False,
        pictures_on: torch.device | None = None,
    ) -> None:
        self.recipe = recipe
        self.torn_rows = 0
        """Samples that were replaced."""
        self.lost_batches = 0
        """Batches that were left out."""
        self._experience = experience
        self._demonstrations = demonstrations
        for ring in (experience, demonstrations):
            if ring is not None:
                _check_reach(recipe, ring)
        self._rng = np.random.default_rng(seed)
        has_pictures = "frame" in experience.format.layout
        self.device_pictures: DevicePictures | None = None
        """That stay on a device; None: none do."""
        if has_pictures and pictures_on is not None:
            self.device_pictures = DevicePictures(pictures_on, *self._rings())
        self._shifts_pictures = has_pictures and recipe.augmentation.shift_pixels > 0
        self._memory = self._reserve(buffers, pinned=pinned)
        self._next_memory = 0
        self._mirror = FloatsMirror(recipe.observation)

    @property
    def ring_uuid(self) -> str:
        """Of the ring of the collectors."""
        return self._experience.uuid

    def attach(self, experience: RingReader) -> None:
        """Read the collectors' rows in another ring from now on.

        Raises:
            InvalidInputError: its chunks do not reach as far as the recipe asks.
        """
        _check_reach(self.recipe, experience)
        self._experience = experience
        if self.device_pictures is not None:
            self.device_pictures.attach(*self._rings())

    @property
    def buffers(self) -> int:
        """How many batches are valid at once."""
        return len(self._memory)

    def batches(
        self, draw: Draw, valuation: Valuation, *, demonstrations: Draw | None = None, augment: bool = True
    ) -> Iterator[Batch]:
        """Yield the batches of a draw.

        Args:
            draw: from the collectors' ring.
            valuation: of the rewards, now.
            demonstrations: from the experts' ring, as many batches; they come last in each batch.
            augment: False: as it was seen, to test on.

        Raises:
            InvalidInputError: the draws do not add up to batches of the recipe's size.
        """
        parts = self._parts(draw, demonstrations, valuation)
        for number in range(draw.shape[0]):
            memory = self._memory[self._next_memory]
            if memory.pictures is not None:
                memory.pictures.begin(shifted=augment and self._shifts_pictures)
            for part in parts:
                self._gather(part, number, memory, valuation)
            if not all([self._replace_torn(part, number, memory) for part in parts]):
                self.lost_batches += 1
                continue
            if augment:
                self._augment(memory)
            self._name_experts(parts, memory.arrays)
            self._next_memory = (self._next_memory + 1) % len(self._memory)
            yield memory.batch

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to build the same batches from the same draws."""
        return {"rng": self._rng.bit_generator.state}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where ``state_dict`` was taken."""
        self._rng.bit_generator.state = state["rng"]

    def _rings(self) -> list[RingReader]:
        return [ring for ring in (self._experience, self._demonstrations) if ring is not None]

    def _reserve(self, buffers: int, *, pinned: bool) -> list[_Memory]:
        """Return the memory of batches that are valid at once."""
        recipe, layout, on_device = self.recipe, self._experience.format.layout, self.device_pictures
        stack = (recipe.frame_stack, *layout["frame"].shape) if "frame" in layout else None
        unshifted: tuple[Bytes, Bytes] | None = None
        if stack is not None and self._shifts_pictures and on_device is None:
            shape = (recipe.batch_size, *stack)
            unshifted = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
        memory = []
        for _ in range(buffers):
            buffer = BatchBuffer(
                recipe.batch_size,
                stack if on_device is None else None,  # type: ignore[arg-type]
                recipe.observation.size,
                experts=self._demonstrations is not None,
                pinned=pinned,
            )
            batch = buffer.batch
            pictures: PictureOrder | GatheredPictures | None = None
            if on_device is not None:
                pictures = PictureOrder(on_device, recipe.batch_size, recipe.frame_stack, pinned=pinned)
                batch = OrderedBatch(**vars(batch), order=pictures)
            elif batch.frames is not None and batch.next_frames is not None:
                pictures = GatheredPictures(batch.frames, batch.next_frames, unshifted)
            memory.append(_Memory(batch, buffer.arrays, pictures))
        return memory

    def _parts(self, draw: Draw, demonstrations: Draw | None, valuation: Valuation) -> list[_Part]:
        parts, begin = [], 0
        for ring, each in ((self._experience, draw), (self._demonstrations, demonstrations)):
            if each is None:
                continue
            if ring is None or each.shape[0] != draw.shape[0]:
                raise InvalidInputError("demonstrations were drawn for other batches, or there is no ring of them")
            rows = each.rows.astype(np.int64)
            transitions = read_transitions(ring, rows.ravel(), self.recipe.rules, valuation, self._rng)
            before = np.minimum(self.recipe.frame_stack - 1, transitions.step_in_race)
            span = np.stack([np.maximum(transitions.rows - before, 0), transitions.last_rows], axis=1)
            stop = begin + each.shape[1]
            of_expert = ring is self._demonstrations
            parts.append(_Part(ring, each, transitions, each.generations, span, begin, stop, of_expert))
            begin = stop
        if begin != self.recipe.batch_size:
            raise InvalidInputError(f"draws of {begin} samples for batches of {self.recipe.batch_size}")
        return parts

    def _gather(self, part: _Part, number: int, memory: _Memory, valuation: Valuation) -> None:
        """Copy the samples of one part of one batch."""
        size = part.stop - part.begin
        samples = slice(number * size, (number + 1) * size)
        into = slice(part.begin, part.stop)
        moves, arrays = part.transitions.part(samples), memory.arrays
        if memory.pictures is not None:
            next_step = moves.step_in_race + moves.next_rows - moves.rows
            rows = self._stacked(moves.rows, moves.step_in_race), self._stacked(moves.next_rows, next_step)
            memory.pictures.gather(part.ring, rows, into)
        part.ring.take("floats", moves.rows, arrays.floats[into])
        part.ring.take("floats", moves.next_rows, arrays.next_floats[into])
        clock = self.recipe.observation.clock.start
        arrays.floats[into, clock] = moves.clocks
        arrays.next_floats[into, clock] = moves.next_clocks
        arrays.actions[into] = moves.actions
        arrays.rewards[into] = moves.rewards + self._shaping(
            arrays.floats[into], arrays.next_floats[into], moves.discounts
        )
        arrays.discounts[into] = moves.discounts
        arrays.weights[into] = 1.0 if part.draw.weights is None else part.draw.weights[number]
        arrays.indices[into] = moves.rows
        arrays.generations[into] = part.generations[number]
        arrays.clock[into] = moves.clocks
        arrays.policy_versions[into] = moves.policy_versions

    def _stacked(self, rows: Ints, step_in_race: Ints) -> Ints:
        """Return the rows (B, C) of the pictures that are seen at ``rows`` (B,)."""
        ago = np.arange(self.recipe.frame_stack - 1, -1, -1)
        stacked: Ints = rows[:, np.newaxis] - np.minimum(ago, step_in_race[:, np.newaxis])
        return np.maximum(stacked, 0)

    def _shaping(
        self, floats: NDArray[np.float32], next_floats: NDArray[np.float32], discounts: NDArray[np.float64]
    ) -> NDArray[np.float64] | float:
        if self.recipe.shaping is None:
            return 0.0
        layout, ahead_weight = self.recipe.observation, self.recipe.shaping.ahead_weight
        before = potential(floats, layout, ahead_weight=ahead_weight)
        after = potential(next_floats, layout, ahead_weight=ahead_weight)
        return shaping(before, after, discounts)

    def _replace_torn(self, part: _Part, number: int, memory: _Memory) -> bool:
        """Replace samples that were overwritten meanwhile; return whether there was anything to replace them by."""
        size = part.stop - part.begin
        intact = part.ring.intact(part.span[number * size : (number + 1) * size], part.generations[number])
        if intact.all():
            return True
        whole, torn = np.flatnonzero(intact), np.flatnonzero(~intact)
        self.torn_rows += len(torn)
        if not len(whole):
            return False
        torn, instead = part.begin + torn, part.begin + self._rng.choice(whole, len(torn))
        memory.arrays.repeat(torn, instead)
        if memory.pictures is not None:
            memory.pictures.repeat(torn, instead)
        return True

    def _augment(self, memory: _Memory) -> None:
        """Shift the pictures, and mirror samples in all that they have."""
        settings, arrays, size = self.recipe.augmentation, memory.arrays, self.recipe.batch_size
        shifts = draw_shifts(self._rng, size, settings.shift_pixels) if self._shifts_pictures else None
        mirrored = np.empty(0, np.int64)
        if settings.mirror_share:
            mirrored = np.flatnonzero(self._rng.random(size) < settings.mirror_share)
        if memory.pictures is not None:
            memory.pictures.augment(shifts, mirrored)
        if len(mirrored):
            for floats in (arrays.floats, arrays.next_floats):
                floats[mirrored] = self._mirror(floats[mirrored])
            arrays.actions[mirrored] = MIRRORED[arrays.actions[mirrored]]

    def _name_experts(self, parts: list[_Part], arrays: Arrays) -> None:
        if arrays.expert_actions is None:
            return
        for part in parts:
            into = slice(part.begin, part.stop)
            arrays.expert_actions[into] = arrays.actions[into] if part.of_expert else NO_EXPERT


def _check_reach(recipe: BatchRecipe, ring: RingReader) -> None:
    format, rules = ring.format, recipe.rules
    if recipe.frame_stack - 1 > format.history or rules.n_steps > format.look_ahead:
        raise InvalidInputError(
            f"a stack of {recipe.frame_stack} frames and {rules.n_steps} steps need more rows around a row than the "
            f"ring in {ring.directory} has: {format.history} before and {format.look_ahead} after",
            hint="Start the run with --restart: its ring and its checkpoints were made for less.",
        )
    if format.layout["floats"].shape != (recipe.observation.size,):
        raise InvalidInputError(
            f"the ring in {ring.directory} has floats {format.layout['floats'].shape}, not ({recipe.observation.size},)"
        )
