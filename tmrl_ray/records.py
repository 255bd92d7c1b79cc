"""What a run keeps on record: rows of metrics, best times, and how far it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from tmrl_ray.errors import NotSavedError
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.json_sink import JsonLinesSink
from tmrl_ray.runs.meter import Meter
from tmrl_ray.runs.race_book import RaceBook, RaceFigures
from tmrl_ray.runs.recorder import Recorder
from tmrl_ray.runs.run_files import Ended, RunStatus
from tmrl_ray.runs.rundir import RunDirectory
from tmrl_ray.runs.tensorboard_sink import TensorBoardSink

if TYPE_CHECKING:
    from actors.draw_messages import BufferStats
    from learner.report import Summary

log = logging.getLogger(__name__)

STATE_FORMAT = 1


class Records:
    """The records of one run, in its folder.

    Args:
        run: the folder.
        references_s: reference times by map, and by what they are called.
        state: what ``state_dict`` returned in the session before; None: the run is new.
        clock: tells monotonic seconds.
    """

    def __init__(
        self,
        run: RunDirectory,
        references_s: Mapping[str, Mapping[str, float]] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        self.races = RaceBook(references_s)
        self.meter = Meter("training")
        self._clock = clock
        self._began_s = clock()
        self._env_steps = self._learner_steps = 0
        self._hours_before = 0.0
        if state is not None:
            self._go_on(state)
        session = run.record.session
        self._recorder = Recorder(
            [
                JsonLinesSink(run.metrics_file, session=session, env_steps=self._env_steps),
                TensorBoardSink(run.tensorboard, session=session, env_steps=self._env_steps),
            ]
        )

    @property
    def clocks(self) -> Clocks:
        """How far the run is."""
        hours = self._hours_before + (self._clock() - self._began_s) / 3600
        return Clocks(self._env_steps, self._learner_steps, hours)

    def advance(self, *, env_steps: int, learner_steps: int) -> None:
        """Say how far the run is by now."""
        self._env_steps, self._learner_steps = env_steps, learner_steps

    def race(self, race: RaceFigures, *, evaluation: bool = False) -> None:
        """Put a race on record."""
        self._recorder.write(self.races.add(race, evaluation=evaluation), self.clocks)

    def row(self, summary: Summary | None, buffer: BufferStats) -> None:
        """Put a row on record of how learning goes, and how the experience is; tell whoever lists runs.

        Args:
            summary: of the learner's steps since the last row; None: there were none.
            buffer: as it is.
        """
        meter = self.meter
        if summary is not None:
            for name, value in summary.figures.items():
                if name == "set_aside":
                    meter.add("learner/set_aside", value)
                elif value == value:  # a figure is unknown where all steps were undone
                    meter.set(f"learner/{name.replace('.', '/')}", value)
        meter.count_to("learner/updates", self._learner_steps)
        meter.count_to("experience/rows_ingested", buffer.env_steps)
        meter.count_to("experience/rows_sampled", buffer.samples)
        meter.set("experience/rows", buffer.live_rows)
        meter.set("experience/window_rows", buffer.window_rows)
        meter.set("experience/occupancy", buffer.live_rows / buffer.window_rows)
        meter.set("experience/bytes", buffer.size_bytes)
        meter.set("limiter/balance", buffer.balance)
        meter.set("limiter/band", buffer.band)
        if buffer.inserted_rows:
            meter.set("experience/samples_per_insert/actual", buffer.samples_per_insert)
        self._recorder.write(meter.row(), self.clocks)
        with suppress(NotSavedError):  # it is written again in a few seconds
            self.run.write_status(self.status())

    def status(self, ended: Ended | None = None) -> RunStatus:
        """Return how far the run is, for whoever lists runs."""
        return RunStatus(clocks=self.clocks, best_times_s=self.races.best_times_s(), ended=ended)

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run goes on from."""
        return {
            "format": STATE_FORMAT,
            "clocks": self.clocks._asdict(),
            "races": self.races.state_dict(),
            "meter": self.meter.state_dict(),
        }

    def close(self, ended: Ended | None) -> None:
        """Write what is still to be written; ``ended``: as what the session ends, None: not as it should."""
        self._recorder.close()
        if ended is not None:
            self.run.end(ended, self.status())

    def _go_on(self, state: Mapping[str, Any]) -> None:
        clocks = Clocks(**state["clocks"])
        self._env_steps, self._learner_steps = clocks.env_steps, clocks.learner_steps
        self._hours_before = clocks.training_hours
        self.races.load_state_dict(state["races"])
        self.meter.load_state_dict(state["meter"])
