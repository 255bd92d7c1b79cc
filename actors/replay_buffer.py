"""The replay buffer: takes chunks in, tells the learner which rows to read, and keeps both in step.

It owns the ring of experience and the one of demonstrations. Rows lie in shared memory and survive any kill; whoever
learns reads them there by itself. A buffer that is made anew after a kill attaches to its ring and goes on.

Nobody waits in here: collectors are told how many decisions they may still take, the learner how many rows are missing.
Each method may be called from a thread of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from math import ceil

import numpy as np

from actors.buffer_meter import BufferMeter
from actors.buffer_rings import BufferSetup, RunRings
from actors.credits import Credits
from actors.draw_messages import BufferStats, Drawn, DrawRequest, NeedMore
from actors.durable_limiter import DurableLimiter
from actors.experience_checkpoint import ExperienceFolder, RestoreReport, SavedExperience
from actors.messages import AppendReply, AppendStatus, Grant, Standing
from tmrl_ray.errors import ChunkError, InvalidInputError
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.codec import Buffer, decode
from tmrl_ray.experience.columns import NO_VERSION
from tmrl_ray.experience.demonstrations import Demonstrations
from tmrl_ray.experience.incarnations import Arrival
from tmrl_ray.experience.limiter import Pace
from tmrl_ray.experience.ring import TRAIN, Ring
from tmrl_ray.experience.sampling import PriorityUpdate, RaceSplit, Sampler
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.disk import Disk
from tmrl_ray.runs.meter import Telling

log = logging.getLogger(__name__)

_STATUS = {
    Arrival.ACCEPTED: AppendStatus.ACCEPTED,
    Arrival.DUPLICATE: AppendStatus.DUPLICATE,
    Arrival.STALE: AppendStatus.REFUSED,
}


class ReplayBuffer:
    """Keeps the experience of one run.

    Args:
        setup: what it is made with.
        saved: the experience of a checkpoint, used if there is no ring to go on with; None: there is no checkpoint.
        disk: how files are written; None: to the real one.
        clock: tells monotonic seconds.

    Raises:
        InvalidInputError: the rings do not fit into memory.
        RingError: another process writes to the ring, or there is no checkpoint and it is of another format.
        CheckpointError: the checkpoint is of another version or format. Nothing is removed before that is known.
        NotSavedError: the folder on the disk cannot be written to.
    """

    def __init__(
        self,
        setup: BufferSetup,
        saved: Part | None = None,
        *,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.setup = setup
        self.restored: RestoreReport | None = None
        """What came of a checkpoint; None: none was used."""
        self.continues = False
        """Whether it is exactly what it was when the checkpoint was taken, so that equal questions draw equal rows."""
        self.policy_version = 0
        """Of the newest weights, as far as the learner told."""
        disk = Disk() if disk is None else disk
        self._settings = setup.settings
        self._samples_per_insert = setup.settings.samples_per_insert
        self._is_paused = False
        self._appending = threading.Lock()
        self._counting = threading.Lock()  # of the limiter and the credits
        self._saving = threading.Lock()
        self._duplicates = self._refused = self._malformed = 0
        self._credits = Credits(clock)
        self._meter = BufferMeter()
        self._split = RaceSplit(self._settings.test_every)
        self._folder = ExperienceFolder(setup.directory, disk=disk)
        rings = RunRings(setup, disk)
        experience = None if saved is None else SavedExperience(saved, setup.format)
        if experience is None:
            rings.check_format()
        self.demonstrations = self._open_demonstrations(rings)
        """Races of experts; None: there are none."""
        found = rings.find()
        self.was_attached = found is not None
        """Whether it goes on with a ring that was there."""
        if found is not None:
            self._use(found)
            if found.capacity_rows != setup.settings.capacity_rows:
                rings.check_room(found)
                experience = SavedExperience(self.checkpoint(), setup.format)
                rings.make_way(found)
                found = None
                del self.ring, self._sampler, self._pacer  # they hold the memory of a ring that was removed
        if found is None:
            self._refill(rings, experience)
        self._apply_window()

    def hand_out_incarnation(self, collector: int, layout_hash: str) -> Grant:
        """Let a collector send chunks.

        Args:
            collector: its number.
            layout_hash: of the columns that it sends.

        Raises:
            ChunkError: the ring has other columns.
        """
        mine = self.setup.format.layout.hash
        if layout_hash != mine:
            raise ChunkError(
                f"collector {collector} sends rows of layout {layout_hash}, the ring has {mine}",
                hint="Start the collector with the configuration of the run, in the same version of tmrl_ray.",
            )
        incarnation = self.ring.grant(collector)
        races = (record.race_id + 1 for record in self.ring.live_chunks() if record.collector == collector)
        return Grant(incarnation, self.standing(collector), max(races, default=0))

    def append(self, data: Buffer) -> AppendReply:
        """Take in a chunk, once however often it comes. Nothing of ``data`` is kept.

        Raises:
            ChunkError: it is malformed, or of another layout.
        """
        with self._meter.ingesting():
            return self._append(data)

    def standing(self, collector: int) -> Standing:
        """Return how the buffer stands, with the credits of a collector."""
        with self._counting:
            allowed = self._pacer.limiter.credits()
            credits = 0 if self._is_paused else self._credits.share(collector, allowed)
        return Standing(self.ring.uuid, credits, self.policy_version, self.ring.counters.env_steps)

    def forget(self, collector: int) -> None:
        """Set nothing aside any more for a collector that is no more."""
        with self._counting:
            self._credits.forget(collector)

    def draw(self, request: DrawRequest) -> Drawn | NeedMore:
        """Draw rows to learn from, unless the learner is ahead of the collectors.

        Raises:
            InvalidInputError: more samples at once than the buffer was set up for.
        """
        began_s = time.perf_counter()
        answer = self._draw(request)
        if isinstance(answer, Drawn):
            self._meter.drew(answer.draw.rows.size, time.perf_counter() - began_s)
        return answer

    def set_priorities(self, updates: Iterable[PriorityUpdate]) -> None:
        """Set the priorities of rows that were learned from, which a question for rows would do later."""
        for update in updates:
            self._sampler.update(update)

    def add_demonstration(self, data: Buffer) -> AppendStatus:
        """Take in a chunk of an expert's race, once however often it comes.

        Raises:
            ChunkError: it is malformed, or of another layout.
            InvalidInputError: there is no room for it, or for any demonstration at all.
        """
        return _STATUS[self._demonstrations().add(decode(data, self.setup.format)).arrival]

    def enlist_expert(self, number: int) -> int:
        """Return an incarnation for somebody who sends demonstrations; see ``Demonstrations.enlist``.

        Raises:
            InvalidInputError: the run has no demonstrations.
        """
        return self._demonstrations().enlist(number)

    def set_samples_per_insert(self, ratio: float | None) -> None:
        """Change how often a row is drawn on average, from now on; None: no limit.

        Raises:
            InvalidInputError: the ratio is none.
        """
        with self._counting:
            before, self._samples_per_insert = self._samples_per_insert, ratio
            try:
                self._pacer.limiter.set_pace(self._pace())
            except InvalidInputError:
                self._samples_per_insert = before
                raise

    def set_paused(self, paused: bool) -> None:
        """Let nobody collect or learn for the moment, or go on."""
        self._is_paused = paused

    def checkpoint(self) -> Part:
        """Write what is new to the disk, and return all experience as a part of a checkpoint; the buffer goes on.

        Raises:
            NotSavedError: the disk is full, for example; the checkpoint before is whole.
        """
        with self._saving:
            with self._counting:
                limiter, demonstrations = self._pacer.limiter, self.demonstrations
                values = {
                    "limiter": limiter.state_dict(),
                    "pace": asdict(limiter.pace),
                    "sampler": self._sampler.state_dict(),
                    "demonstrations": None if demonstrations is None else demonstrations.sampler.state_dict(),
                }
            return self._folder.save(self.ring, values)

    def stats(self) -> BufferStats:
        """Return how the buffer is."""
        limiter, demonstrations = self._pacer.limiter, self.demonstrations
        with self._counting:
            collectors = tuple(self._credits.collectors)
        return BufferStats(
            ring_uuid=self.ring.uuid,
            env_steps=self.ring.counters.env_steps,
            live_rows=self.ring.live_core_rows,
            window_rows=self.ring.live_rows,
            capacity_rows=self.ring.capacity_rows,
            size_bytes=self.setup.memory_bill().total_bytes,
            drawable_rows=self._sampler.drawable_rows,
            test_rows=self._sampler.test_rows,
            demonstration_rows=0 if demonstrations is None else demonstrations.ring.live_core_rows,
            experts=0 if demonstrations is None else demonstrations.experts,
            inserted_rows=limiter.inserted,
            samples=limiter.sampled,
            samples_per_insert=limiter.samples_per_insert,
            target_samples_per_insert=self._samples_per_insert,
            balance=limiter.balance,
            band=limiter.pace.error_buffer,
            duplicate_chunks=self._duplicates,
            refused_chunks=self._refused,
            malformed_chunks=self._malformed,
            stale_priorities=self._sampler.stale_updates,
            collectors=collectors,
            is_paused=self._is_paused,
        )

    def tell(self) -> Telling:
        """Return its metrics since the last call."""
        return self._meter.tell(self.stats(), self._sampler)

    def close(self) -> None:
        """Let go of the rings, so that another process may take them over."""
        for ring in self._all_rings():
            ring.close()

    def remove(self) -> None:
        """Remove the rings: the run has ended, and its checkpoint is what is left."""
        for ring in self._all_rings():
            ring.remove()

    def _append(self, data: Buffer) -> AppendReply:
        try:
            chunk = decode(data, self.setup.format)
        except ChunkError:
            self._malformed += 1
            raise
        if self._is_outdated(chunk):
            self._refused += 1
            self._meter.refused(chunk.core)
            return AppendReply(AppendStatus.OUTDATED, self.standing(chunk.id.collector))
        with self._appending:
            result = self._sampler.append(chunk)
            with self._counting:
                if result.arrival is Arrival.ACCEPTED:
                    rows = chunk.core if self._split(chunk) == TRAIN else 0
                    self._pacer.insert(result.generation // 2, rows, rows_after=self._sampler.drawable_rows)
                self._duplicates += result.arrival is Arrival.DUPLICATE
                self._refused += result.arrival is Arrival.STALE
            self._apply_window()
        if result.arrival is Arrival.STALE:
            self._meter.refused(chunk.core)
        return AppendReply(_STATUS[result.arrival], self.standing(chunk.id.collector))

    def _is_outdated(self, chunk: Chunk) -> bool:
        most, version = self._settings.max_policy_lag, int(chunk.core_of("policy_version").max())
        return most is not None and version != NO_VERSION and self.policy_version - version > most

    def _draw(self, request: DrawRequest) -> Drawn | NeedMore:
        self.policy_version = max(self.policy_version, request.policy_version)
        self.set_priorities(request.priorities)
        if request.extra_samples:
            with self._counting:
                self._pacer.allow_extra(request.extra_samples)
        uuid, env_steps = self.ring.uuid, self.ring.counters.env_steps
        experts = self._expert_samples(request.batch_size, env_steps)
        own = request.batch_size - experts
        samples = request.batches * own
        if samples > self.setup.max_draw:
            raise InvalidInputError(
                f"{samples} samples in one draw, where at most {self.setup.max_draw} were announced",
                hint="Ask for fewer batches at once, or set the buffer up for more.",
            )
        beta = 1.0 if self._settings.priorities is None else self._settings.priorities.beta.at(env_steps)
        with self._counting:
            missing = self._missing_rows(samples)
            draw = self._sampler.draw(request.batches, own, beta=beta) if missing is None else None
            if draw is None:
                return NeedMore(uuid, env_steps, 1 if missing is None else missing)
            self._pacer.sample(samples)
        demonstrations = None if self.demonstrations is None else self.demonstrations.draw(request.batches, experts)
        test = self._sampler.draw_test(request.test_batches, request.batch_size) if request.test_batches else None
        return Drawn(uuid, env_steps, draw, demonstrations, test)

    def _expert_samples(self, batch_size: int, env_steps: int) -> int:
        """Return how many samples of a batch are demonstrations."""
        return 0 if self.demonstrations is None else self.demonstrations.samples_of(batch_size, env_steps=env_steps)

    def _use(self, ring: Ring) -> None:
        """Draw from a ring, and count what it holds."""
        # The numbers that were drawn before a kill are forgotten: others follow, and not the same ones again.
        seed = np.random.SeedSequence((self.setup.seed, ring.counters.inserted_rows)).generate_state(1)[0]
        self.ring = ring
        self._sampler = Sampler(ring, split=self._split, priorities=self._settings.priorities, seed=int(seed))
        self._pacer = DurableLimiter(self._pace(), ring)

    def _refill(self, rings: RunRings, experience: SavedExperience | None) -> None:
        """Make a ring, and fill it with the experience of a checkpoint if there is one."""
        if experience is None:
            self._use(rings.make())
        else:
            env_steps = experience.counters.env_steps
            numbers, self.restored = experience.select(self._settings.window_at(env_steps).rows)
            self._use(rings.make(env_steps=env_steps - self.restored.rows))
            in_place = experience.shape == self.ring.shape
            for chunk, split, priorities, place in experience.read(numbers):
                self._sampler.restore(chunk, split, priorities, place if in_place else None)
            self._apply_window()
            same_pace = experience.values["pace"] == asdict(self._pace())
            self._sampler.load_state_dict(experience.values["sampler"])
            if self.demonstrations is not None and experience.values["demonstrations"] is not None:
                self.demonstrations.sampler.load_state_dict(experience.values["demonstrations"])
            self._pacer.go_on_from(experience.values["limiter"], self.ring, same_pace=same_pace)
            self._folder.adopt(experience)
            self.continues = in_place and same_pace and self.restored.is_complete
            for path in self.restored.damaged:
                log.error("%s is damaged", path)
            log.info("restored %s", self.restored)
        rings.settle(self.ring)

    def _open_demonstrations(self, rings: RunRings) -> Demonstrations | None:
        settings, size = self._settings.demonstrations, self.setup.demonstrations_size
        if settings is None or size is None:
            return None
        return Demonstrations(rings.demonstrations(size), share=settings.share, seed=self.setup.seed)

    def _demonstrations(self) -> Demonstrations:
        if self.demonstrations is None:
            raise InvalidInputError("the run has no demonstrations", hint="Set replay.demonstrations.")
        return self.demonstrations

    def _all_rings(self) -> list[Ring]:
        return [self.ring] if self.demonstrations is None else [self.ring, self.demonstrations.ring]

    def _pace(self) -> Pace:
        return Pace(
            self._samples_per_insert,
            self._settings.window_at(self.ring.counters.env_steps).learn_start_rows,
            self._settings.limiter_tolerance,
            self.setup.max_draw,
        )

    def _apply_window(self) -> None:
        """Let the live window be what the schedule says by now."""
        window = self._settings.window_at(self.ring.counters.env_steps)
        if self.ring.live_rows != window.rows:
            self.ring.set_live_rows(window.rows)
        with self._counting:
            if self._pacer.limiter.pace.min_size != window.learn_start_rows:
                self._pacer.limiter.set_pace(self._pace())

    def _missing_rows(self, samples: int) -> int | None:
        """Return how many rows must come before so many samples may be drawn, 0 in a pause; None: none."""
        limiter = self._pacer.limiter
        if self._is_paused:
            return 0
        if limiter.can_sample(samples):
            return None
        ratio = limiter.pace.samples_per_insert
        fill = max(0, limiter.pace.min_size - limiter.rows)
        owed = samples - limiter.extra_samples - limiter.balance - limiter.pace.error_buffer
        return max(1, fill + (0 if ratio is None else max(0, ceil(owed / ratio))))
