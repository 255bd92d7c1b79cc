"""Demonstrations: races of experts in a ring of their own, mixed into the batches.

Experience never pushes them out, and they push each other out neither: what does not fit any more is refused. They are
no business of the limiter. What the expert chose at each decision is the row's action; see ``Batch.expert_actions``.
"""

from __future__ import annotations

from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.chunk import Chunk
from tmrl_ray.experience.ring import AppendResult, Ring
from tmrl_ray.experience.sampling import Draw, Sampler


class Demonstrations:
    """A ring that fills up once.

    Args:
        ring: made with a capacity for all that is to come, and no guard band.
        share: of each batch, over env steps, at least 0 and below 1.
        seed: of the draws.
    """

    def __init__(self, ring: Ring, *, share: ScheduleSettings, seed: int = 0) -> None:
        self.ring = ring
        self.share = share
        self.sampler = Sampler(ring, seed=seed)

    @property
    def experts(self) -> int:
        """Of how many there are rows, if they are numbered from 0 and come one after the other."""
        return 1 + max((record.collector for record in self.ring.live_chunks()), default=-1)

    def enlist(self, number: int) -> int:
        """Return an incarnation for an expert.

        One of whom there are rows gets the same again: whoever was killed begins its race once more, and what is
        there of it counts once.
        """
        found = (record.incarnation for record in self.ring.live_chunks() if record.collector == number)
        known = next(found, None)
        return self.ring.grant(number) if known is None else known

    def add(self, chunk: Chunk) -> AppendResult:
        """Take in a chunk of an expert's race, once, however often it comes.

        Raises:
            InvalidInputError: it does not fit any more; nothing is lost of what is there.
            ChunkError: it is of another format.
        """
        if self.ring.would_evict(chunk):
            raise InvalidInputError(
                f"the demonstrations in {self.ring.directory} are full: {self.ring.live_core_rows} of "
                f"{self.ring.live_rows} decisions are there, and {chunk.core} more do not fit",
                hint="Give fewer of them, or set replay.demonstrations.rows higher and start the run anew.",
            )
        return self.sampler.append(chunk)

    def samples_of(self, batch_size: int, *, env_steps: int) -> int:
        """Return how many samples of a batch are demonstrations after ``env_steps``.

        The share, but at least one; none where it is 0, and while there are none.
        """
        share = self.share.at(env_steps)
        if not share or not self.sampler.drawable_rows:
            return 0
        return min(batch_size - 1, max(1, round(share * batch_size)))

    def draw(self, batches: int, samples: int) -> Draw | None:
        """Draw rows for so many batches, ``samples`` for each; None: there are none."""
        return self.sampler.draw(batches, samples) if samples else None
