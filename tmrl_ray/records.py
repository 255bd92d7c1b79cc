"""What a run keeps on record: rows of metrics, best times, and how far it is."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tmrl_ray.config.loading import to_yaml
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import CheckpointError, NotSavedError
from tmrl_ray.evaluation_book import EvaluationBook
from tmrl_ray.experience.memory import SHARED_MEMORY
from tmrl_ray.runs.checkpoint import CheckpointHead
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.json_sink import JsonLinesSink
from tmrl_ray.runs.meter import Meter, Telling, Value
from tmrl_ray.runs.race_book import RaceBook, RaceFigures
from tmrl_ray.runs.recorder import Recorder, Sink
from tmrl_ray.runs.run_files import Ended, RunStatus
from tmrl_ray.runs.rundir import RunDirectory
from tmrl_ray.runs.tensorboard_sink import TensorBoardSink

if TYPE_CHECKING:
    from actors.evaluation import Evaluation

log = logging.getLogger(__name__)

STATE_FORMAT = 2
STATE = "collector/state/{collector}/{state}"


class Records:
    """The records of one run, in its folder.

    Args:
        run: the folder.
        config: of the run.
        references_s: reference times by map, and by what they are called.
        state: what ``state_dict`` returned in the session before; None: the run is new.
        sinks: where rows go besides the folder.
        clock: tells monotonic seconds.

    Raises:
        CheckpointError: the state is of another format.
    """

    def __init__(
        self,
        run: RunDirectory,
        config: RunConfig,
        references_s: Mapping[str, Mapping[str, float]] | None = None,
        state: Mapping[str, Any] | None = None,
        *,
        sinks: Iterable[Sink] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.run = run
        self.races = RaceBook(references_s)
        self.evaluations = EvaluationBook()
        self.meter = Meter("training")
        self._config = config
        self._clock = clock
        self._opened_s = clock()
        self._counting_since_s: float | None = None
        self._saved_s: float | None = None
        self._env_steps = self._learner_steps = 0
        self._hours_before = 0.0
        self._states: set[str] = set()  # of collectors that were heard of in the row before
        if state is not None:
            self._go_on(state)
        session = run.record.session
        self._recorder = Recorder(
            [
                JsonLinesSink(run.metrics_file, session=session, env_steps=self._env_steps),
                TensorBoardSink(run.tensorboard, session=session, env_steps=self._env_steps),
                *sinks,
            ]
        )
        self._recorder.write({"run/configuration": f"```yaml\n{to_yaml(config)}\n```"}, self.clocks)

    @property
    def clocks(self) -> Clocks:
        """How far the run is."""
        since_s = self._counting_since_s
        hours = self._hours_before + (0.0 if since_s is None else (self._clock() - since_s) / 3600)
        return Clocks(self._env_steps, self._learner_steps, hours)

    @property
    def is_counting(self) -> bool:
        """Whether training hours pass."""
        return self._counting_since_s is not None

    def start(self) -> None:
        """Let training hours pass from now on: the first decision was taken, or a pause is over."""
        if self._counting_since_s is None:
            self._counting_since_s = self._clock()

    def hold(self) -> None:
        """Let no training hours pass until ``start``."""
        self._hours_before, self._counting_since_s = self.clocks.training_hours, None

    def advance(self, *, env_steps: int, learner_steps: int) -> None:
        """Say how far the run is by now; it never goes back."""
        self._env_steps = max(self._env_steps, env_steps)
        self._learner_steps = max(self._learner_steps, learner_steps)

    def race(self, race: RaceFigures, *, evaluation: bool = False) -> None:
        """Put a race on record."""
        self._recorder.write(self.races.add(race, evaluation=evaluation), self.clocks)

    def evaluation(self, evaluation: Evaluation) -> None:
        """Put an evaluation on record, and all of its races."""
        for report in evaluation.reports:
            self.race(report, evaluation=True)
        values = self.evaluations.add(evaluation, training_hours=self.clocks.training_hours)
        self._recorder.write({**values, "run/times": self.races.table()}, self.clocks)

    def saved(self, head: CheckpointHead, directory: Path, seconds: float) -> None:
        """Take note of a checkpoint that was saved in ``directory``, and of how long that took."""
        shared = {name for part in head.parts.values() for name in part["files"]}
        own = (file for file in directory.iterdir() if file.name.partition(".")[2] not in shared)
        self._saved_s = self._clock()
        self.meter.set("checkpoint/seconds", seconds)
        self.meter.set("checkpoint/bytes", sum(file.stat().st_size for file in own))

    def save_failed(self) -> None:
        """Take note of a checkpoint that could not be saved."""
        self.meter.add("checkpoint/failures")

    def row(self, tellings: Iterable[Telling]) -> None:
        """Put a row on record of what the components tell; tell whoever lists runs."""
        meter = self.meter
        values: dict[str, Value] = {}
        for telling in tellings:
            meter.take_in(telling)
            values |= telling.values
        for name, value in {**self._lags(values), **self._left(values), **self._scheduled()}.items():
            meter.set(name, value)
        meter.count_to("learner/updates", self._learner_steps)
        meter.count_to("experience/rows_ingested", self._env_steps)
        meter.add("checkpoint/failures", 0)
        if SHARED_MEMORY.exists():
            meter.set("memory/shared_free_bytes", psutil.disk_usage(str(SHARED_MEMORY)).free)
        meter.set("checkpoint/age_s", self._clock() - (self._opened_s if self._saved_s is None else self._saved_s))
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
            "evaluations": self.evaluations.state_dict(),
            "meter": self.meter.state_dict(),
        }

    def close(self, ended: Ended | None) -> None:
        """Write what is still to be written; ``ended``: as what the session ends, None: not as it should."""
        self._recorder.close()
        if ended is not None:
            self.run.end(ended, self.status())

    def _scheduled(self) -> dict[str, float]:
        """Return settings, as the schedules have them by now."""
        config, env_steps = self._config, self._env_steps
        exploration, learner = config.collector.exploration, config.learner
        speed = exploration.schedule_speed
        return {
            "exploration/epsilon": exploration.epsilon.at(env_steps, speed=speed),
            "exploration/epsilon_boltzmann": exploration.epsilon_boltzmann.at(env_steps, speed=speed),
            "exploration/boltzmann_noise": exploration.boltzmann_noise,
            "learner/discount": learner.discount.at(env_steps),
            "learner/weight_decay": learner.optimiser.weight_decay,
            "learner/batch_size": learner.batch_size,
            "learner/n_steps": config.replay.n_steps,
            "learner/cut_at_exploration": float(config.replay.cut_at_exploration),
        }

    def _lags(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Return by how many versions the weights of each collector are behind."""
        newest, lags = values.get("weights/version"), {}
        if isinstance(newest, int | float):
            for name, version in values.items():
                if name.startswith("collector/policy_version/") and isinstance(version, int | float):
                    lags[name.replace("policy_version", "policy_lag")] = max(0.0, newest - version)
        return lags

    def _left(self, values: Mapping[str, Value]) -> dict[str, float]:
        """Return the states in which collectors are no more that were heard of in the row before."""
        states = {name for name in values if METRICS.resolve(name).metric.short == STATE}
        left, self._states = self._states - states, states
        return dict.fromkeys(left, 0.0)

    def _go_on(self, state: Mapping[str, Any]) -> None:
        if state.get("format") != STATE_FORMAT:
            raise CheckpointError(
                f"the records of the checkpoint have format {state.get('format')}, this version reads {STATE_FORMAT}",
                hint="Resume with the version that wrote it, or replace --resume by --restart.",
            )
        clocks = Clocks(**state["clocks"])
        self._env_steps, self._learner_steps = clocks.env_steps, clocks.learner_steps
        self._hours_before = clocks.training_hours
        self.races.load_state_dict(state["races"])
        self.evaluations.load_state_dict(state["evaluations"])
        self.meter.load_state_dict(state["meter"])
