"""Keeps collecting and learning in step: how often a row is drawn on average, without anybody having to wait here.

Reverb's inequality (Cassirer et al. 2021, https://arxiv.org/abs/2102.04736). With ``min_size`` rows that must be there
before the first draw::

    min_diff <= inserts * samples_per_insert - samples <= max_diff
    min_diff = min_size * samples_per_insert - error_buffer
    max_diff = min_size * samples_per_insert + error_buffer

Collectors are told how many rows they may still send, the learner whether it may draw; who may not asks again later.

What is kept is the *balance*, ``inserts * samples_per_insert - samples - min_size * samples_per_insert``, which the
inequality holds between ``-error_buffer`` and ``error_buffer``. A change of the settings moves the band and never the
balance, except into the new band; nor do rows count that only fill up to a ``min_size`` that was raised. So neither a
change nor a resume with other settings releases a burst of draws or of inserts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.chunk import MAX_CORE_ROWS


@dataclass(frozen=True)
class Pace:
    """What the limiter holds to."""

    samples_per_insert: float | None
    """How often a row is drawn on average; None: no limit on either side."""
    min_size: int
    """Rows that must be there before anything is drawn."""
    tolerance: float = 0.1
    """Half the band, as a share of ``min_size * samples_per_insert``."""
    max_draw: int = 4096
    """The most samples that are drawn at once."""

    def __post_init__(self) -> None:
        ratio = self.samples_per_insert
        if (ratio is not None and not 0 < ratio < inf) or self.min_size < 1 or self.tolerance < 0 or self.max_draw < 1:
            raise InvalidInputError(
                f"no limiter can hold {ratio} samples per insert from {self.min_size} rows on, with a tolerance of "
                f"{self.tolerance} and draws of {self.max_draw}",
                hint="samples_per_insert must be a positive number, or null for no limit.",
            )

    @property
    def error_buffer(self) -> float:
        """Half the band, in samples.

        At least so much that the longest chunk fits above the middle of the band, and that chunk or the largest draw
        from anywhere in it: in a narrower one there are places where everybody would wait for ever.
        """
        if self.samples_per_insert is None:
            return inf
        share = self.tolerance * self.min_size * self.samples_per_insert
        chunk = MAX_CORE_ROWS * self.samples_per_insert
        return max(share, chunk, (chunk + self.max_draw) / 2)


class RateLimiter:
    """Counts rows and samples, and tells who may go on. Rows of demonstrations are none of its business.

    Args:
        pace: what it holds to.
        rows: how many there are to draw from already.
    """

    def __init__(self, pace: Pace, *, rows: int = 0) -> None:
        self.pace = pace
        self.rows = rows
        """How many there are to draw from; kept up to date by ``insert``."""
        self.inserted = 0
        """Rows over the whole run."""
        self.sampled = 0
        """Samples over the whole run."""
        self.extra_samples = 0
        """Still to be drawn beside the pace."""
        self._balance = 0.0

    @property
    def balance(self) -> float:
        """Samples that are owed for what was inserted, -error_buffer to error_buffer; 0 in the middle of the band."""
        return self._balance

    @property
    def samples_per_insert(self) -> float:
        """Samples per inserted row over the whole run; NaN before the first row."""
        return self.sampled / self.inserted if self.inserted else float("nan")

    def credits(self) -> float:
        """Return how many rows may be inserted now; infinity where nothing limits them."""
        ratio = self.pace.samples_per_insert
        if ratio is None:
            return inf
        fill = max(0, self.pace.min_size - self.rows)
        return fill + max(0.0, self.pace.error_buffer - self._balance) // ratio

    def can_sample(self, samples: int) -> bool:
        """Return whether so many samples may be drawn."""
        if self.rows < self.pace.min_size:
            return False
        return self._balance - max(0, samples - self.extra_samples) >= -self.pace.error_buffer

    def insert(self, rows: int, *, rows_after: int) -> None:
        """Count rows that were inserted.

        Args:
            rows: how many; also more than the credits, where they could not be refused.
            rows_after: how many there are to draw from now.
        """
        before, self.rows = self.rows, rows_after
        self.inserted += rows
        if self.pace.samples_per_insert is not None:
            beyond = max(0, rows - max(0, self.pace.min_size - before))
            self._balance += beyond * self.pace.samples_per_insert

    def sample(self, samples: int) -> None:
        """Count samples that were drawn."""
        self.sampled += samples
        extra = min(samples, self.extra_samples)
        self.extra_samples -= extra
        if self.pace.samples_per_insert is not None:
            self._balance -= samples - extra

    def allow_extra(self, samples: int) -> None:
        """Let so many samples be drawn beside the pace, after a reset of the network for example."""
        self.extra_samples += samples

    def set_pace(self, pace: Pace) -> None:
        """Hold to another pace from now on."""
        self.pace = pace
        self._enter_band()

    def state_dict(self) -> dict[str, float]:
        """Return the counters, and nothing of the settings: after a resume those of then hold."""
        return {
            "inserted": self.inserted,
            "sampled": self.sampled,
            "extra_samples": self.extra_samples,
            "balance": self._balance,
        }

    def load_state_dict(self, state: Mapping[str, float], *, same_pace: bool = False) -> None:
        """Go on from the counters of ``state_dict``.

        Args:
            state: the counters.
            same_pace: they are of the present settings; else the balance is brought into their band.
        """
        self.inserted, self.sampled = int(state["inserted"]), int(state["sampled"])
        self.extra_samples = int(state["extra_samples"])
        self._balance = float(state["balance"])
        if not same_pace:
            self._enter_band()

    def _enter_band(self) -> None:
        if self.pace.samples_per_insert is None:
            self._balance = 0.0
        else:
            self._balance = min(max(self._balance, -self.pace.error_buffer), self.pace.error_buffer)
