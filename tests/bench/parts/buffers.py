"""The replay buffers of ``tests.bench.data_path`` that are ours, or made of our parts."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import ray

from actors.buffer_rings import BufferSetup
from actors.draw_messages import Drawn, DrawRequest, NeedMore
from actors.messages import AppendReply
from actors.remote.calls import answer
from actors.remote.replay import PEER, ReplayClient, ReplayShell
from tests.bench.peers.workload import (
    ALPHA,
    BATCH,
    BATCHES_PER_TURN,
    BETA,
    CHUNK,
    FLOATS,
    FRAME,
    GAMMA,
    N_STEPS,
    Buffer,
    made_up_steps,
)
from tmrl_ray.config.race import RewardSettings
from tmrl_ray.config.replay import MiniRaceSettings, PrioritySettings, ReplaySettings, ShapingSettings, WindowSettings
from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.experience.batch_builder import BatchBuilder, BatchRecipe
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.chunk import Chunk, ChunkFormat, ChunkId
from tmrl_ray.experience.codec import encode
from tmrl_ray.experience.columns import UNKNOWN_STEPS, Layout
from tmrl_ray.experience.memory import SHARED_MEMORY
from tmrl_ray.experience.minirace import MiniRace
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import PriorityUpdate
from tmrl_ray.experience.transitions import TransitionRules, Valuation
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reward import weight_vector

IN_FLIGHT = 2
"""Chunks that were not answered, as a collector has them."""
OBSERVATION = ObservationLayout()
FORMAT = ChunkFormat(Layout.of(FRAME, OBSERVATION), 0, N_STEPS)
RULES = TransitionRules(
    N_STEPS,
    True,
    MiniRace.of(MiniRaceSettings(), mini_race_ms=OBSERVATION.settings.mini_race_ms, decision_period_ms=50),
)
RECIPE = BatchRecipe(BATCH, OBSERVATION, rules=RULES, shaping=ShapingSettings())
VALUATION = Valuation(GAMMA, weight_vector(RewardSettings()))


def made_up_chunks(count: int, rows: int = CHUNK) -> list[Chunk]:
    """Return chunks with the rows that the others get as well."""
    chunks = []
    for seed in range(count):
        steps = made_up_steps(seed, rows + N_STEPS)
        columns = FORMAT.layout.empty(len(steps.frames))
        for array in columns.values():
            array[:] = 0
        columns["frame"][:], columns["floats"][:], columns["action"][:] = steps.frames, steps.floats, steps.actions
        columns["terms"][:] = steps.rewards[:, np.newaxis]
        columns["greedy"][:] = True
        columns["step_in_race"][:] = np.arange(len(steps.frames))
        columns["steps_to_end"][:] = UNKNOWN_STEPS
        chunks.append(Chunk(FORMAT, ChunkId(0, 0, seed), columns, 0, rows, N_STEPS))
    return chunks


def setup_of(run: str, directory: Path, rows: int) -> BufferSetup:
    """Return the setup of a buffer in shared memory."""
    settings = ReplaySettings(
        windows=(WindowSettings(rows=rows, learn_start_rows=CHUNK),),
        samples_per_insert=None,
        priorities=PrioritySettings(alpha=ALPHA, beta=ScheduleSettings.constant(BETA)),
        test_every=None,
        n_steps=N_STEPS,
    )
    base = SHARED_MEMORY if SHARED_MEMORY.is_dir() else directory
    return BufferSetup(
        run=run, settings=settings, format=FORMAT, ring_base=base, directory=directory / run, max_draw=64 * BATCH
    )


class Sending(Buffer):
    """What our two buffers have in common: chunks go to a replay actor."""

    def __init__(self, handle: Any, rows: int) -> None:
        self.client = ReplayClient(handle)
        self._incarnation = self.client.hand_out_incarnation(0, FORMAT.layout.hash).result(60.0).incarnation
        self._chunks = made_up_chunks(8)
        self._sequence = 0
        self._replies: deque[Future[AppendReply]] = deque()
        for _ in range(rows // CHUNK):
            self.insert()
        self.settle()

    def insert(self) -> None:
        self.send(self.encoded())

    def encoded(self) -> np.ndarray:
        """Return the next chunk, as it is sent."""
        chunk = self._chunks[self._sequence % len(self._chunks)]
        identity = ChunkId(0, self._incarnation, self._sequence)
        self._sequence += 1
        return encode(Chunk(FORMAT, identity, chunk.columns, chunk.leading, chunk.core, chunk.trailing), compress=False)

    def send(self, data: np.ndarray) -> None:
        """Send a chunk, as soon as no more than one is on its way."""
        while len(self._replies) >= IN_FLIGHT:
            self._replies.popleft().result(60.0)
        self._replies.append(self.client.append(data))

    def settle(self) -> None:
        while self._replies:
            self._replies.popleft().result(60.0)


class Ours(Sending):
    """Row numbers come from the actor, rows from the ring: as the learner does it."""

    def __init__(self, handle: Any, rows: int, batches_per_call: int) -> None:
        super().__init__(handle, rows)
        self._batches_per_call = batches_per_call
        self._rng = np.random.default_rng(1)
        self._builder = BatchBuilder(RECIPE, RingReader.attach(self.client.ring().directory, FORMAT))
        self._told: list[PriorityUpdate] = []
        self._asked = self._ask()

    def draw_turn(self) -> None:
        for _ in range(BATCHES_PER_TURN // self._batches_per_call):
            drawn = self._asked.result(60.0)
            self._asked = self._ask()
            assert isinstance(drawn, Drawn)
            for batch in self._builder.batches(drawn.draw, VALUATION):
                self._told.append(judged(batch, self._rng))

    def _ask(self) -> Future[Drawn | NeedMore]:
        told, self._told = tuple(self._told), []
        return self.client.draw(DrawRequest(self._batches_per_call, BATCH, priorities=told))


class BatchShell(ReplayShell):
    """A replay actor that returns batches."""

    def __init__(self, setup: BufferSetup, batches: int) -> None:
        super().__init__(setup, None)
        # a batch is valid until it has been put into the object store with the others of its call
        self._builder = BatchBuilder(RECIPE, self._buffer.ring, buffers=batches + 1)

    @ray.method(concurrency_group="sample")
    def batches(self, request: DrawRequest) -> list[dict[str, np.ndarray]]:
        """Return batches as arrays."""
        drawn = self._buffer.draw(request)
        assert isinstance(drawn, Drawn)
        batches = self._builder.batches(drawn.draw, VALUATION)
        return [{name: each.numpy() for name, each in vars(batch).items() if each is not None} for batch in batches]


class ObjectStore(Sending):
    """Batches come from the actor; the next ones are built while these are learned from."""

    def __init__(self, handle: Any, rows: int, batches_per_call: int) -> None:
        super().__init__(handle, rows)
        self._handle = handle
        self._batches_per_call = batches_per_call
        self._rng = np.random.default_rng(1)
        self._told: list[PriorityUpdate] = []
        self._asked = self._ask()

    def draw_turn(self) -> None:
        for _ in range(BATCHES_PER_TURN // self._batches_per_call):
            batches = self._asked.result(60.0)
            self._asked = self._ask()
            for arrays in batches:
                assert len(arrays["frames"]) == BATCH
                errors = self._rng.random(BATCH, dtype=np.float32)
                rows = arrays["indices"].astype(np.uint32)
                self._told.append(PriorityUpdate(rows, arrays["generations"].copy(), errors))

    def _ask(self) -> Future[list[dict[str, np.ndarray]]]:
        told, self._told = tuple(self._told), []
        request = DrawRequest(self._batches_per_call, BATCH, priorities=told)
        return answer(lambda: self._handle.batches.remote(request), PEER)


class Gather(Buffer):
    """The limit: rows that somebody else chose, copied into buffers that are used again."""

    def __init__(self, rows: int) -> None:
        self._rng = np.random.default_rng(1)
        self._steps = [made_up_steps(seed, CHUNK) for seed in range(8)]
        self._rows, self._next = rows // CHUNK * CHUNK, 0
        self._columns = [np.zeros((self._rows, *FRAME), np.uint8), np.zeros((self._rows, FLOATS), np.float32)]
        self._out = [
            [np.zeros((BATCH, *each.shape[1:]), each.dtype) for each in self._columns for _ in range(2)]
            for _ in range(3)
        ]
        for _ in range(rows // CHUNK):
            self.insert()

    def draw_turn(self) -> None:
        chosen = self._rng.integers(0, self._rows - N_STEPS, (BATCHES_PER_TURN, BATCH))
        for number, rows in enumerate(chosen):
            out = iter(self._out[number % 3])
            for column in self._columns:
                for at in (rows, rows + N_STEPS):
                    np.take(column, at, axis=0, out=next(out), mode="clip")

    def insert(self) -> None:
        steps, at = self._steps[self._next // CHUNK % 8], self._next % self._rows
        for column, values in zip(self._columns, (steps.frames, steps.floats), strict=True):
            column[at : at + CHUNK] = values
        self._next += CHUNK


def judged(batch: Batch, rng: np.random.Generator) -> PriorityUpdate:
    """Return the priorities of a batch as a learner finds them."""
    rows = batch.indices.numpy().astype(np.uint32)
    return PriorityUpdate(rows, batch.generations.numpy().copy(), rng.random(len(rows), dtype=np.float32))
