"""Batches that gave no finite loss or gradient: they are written down with their rows, and too many end the learning.

A step with such a batch is undone (:mod:`learner.update`), so one of them costs nothing. When no other batch comes any
more, it is not the batches: whoever keeps the learner starts it again from a checkpoint, a few times.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path

from learner.report import Summary
from tmrl_ray.errors import TmrlError
from tmrl_ray.runs.disk import append

log = logging.getLogger(__name__)

MOST_IN_A_ROW = 100
"""Without a single sound batch among them. A run of rare bad rows draws them a few times in thousands of batches."""
MOST_WRITTEN = 1000
"""Batches that one process writes down: some 10 KB each."""


class SetAsideBook:
    """Keeps count of the batches that were set aside.

    Args:
        path: a file that they are written down in, a line of JSON each; None: only the log tells of them.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.batches = 0
        """That were set aside so far."""
        self._path = path
        self._in_a_row = self._written = 0

    def take(self, summary: Summary) -> Summary:
        """Take in what some steps were like, and return it."""
        unsound = summary.unsound_at_end
        self._in_a_row = self._in_a_row + unsound if unsound == summary.steps else unsound
        self.batches += len(summary.set_aside)
        for batch in summary.set_aside:
            rows = {"rows": batch.indices.tolist(), "generations": batch.generations.tolist()}
            if self._path is None:
                log.warning("step %d was undone, its loss or gradient is not finite: %s", batch.step, rows)
            elif self._written < MOST_WRITTEN:
                self._write(self._path, batch.step, rows)
        return summary

    def check(self) -> None:
        """See that there are sound batches, too.

        Raises:
            TmrlError: there were none for a long time.
        """
        if self._in_a_row >= MOST_IN_A_ROW:
            where = "the log" if self._path is None else self._path
            raise TmrlError(
                f"none of the last {self._in_a_row} batches gave a finite loss and gradient",
                hint=f"Their rows are in {where}. Lower the learning rate, take bf16 instead of fp16, or resume from "
                "an older checkpoint.",
            )

    def _write(self, path: Path, step: int, rows: dict[str, list[int]]) -> None:
        self._written += 1
        log.warning("step %d was undone, its loss or gradient is not finite: its rows are in %s", step, path)
        try:
            append(path, json.dumps({"step": step, **rows}).encode() + b"\n")
        except OSError as error:
            log.error("the rows of step %d cannot be written to %s: %s", step, path, error)
