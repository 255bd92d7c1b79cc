"""What a learner tells of itself, as metrics: where its time goes, what its steps were like, how far its rows lag.

Nothing in here waits for the device but :meth:`LearnerMeter.tell`, every few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np

from learner.report import Summary
from learner.update import LearnerUpdate
from tmrl_ray.experience.batch_builder import BatchBuilder
from tmrl_ray.experience.batches import Batch
from tmrl_ray.experience.columns import NO_VERSION
from tmrl_ray.runs.activities import Activities
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.meter import Meter, Telling

PARAMETERS_S = 60.0
"""Between two looks at single tensors, which take about as long as a learner step."""

LAG_EVERY = 8
"""Of so many rows of a draw one is asked for its age: 12 us for 512 rows instead of 34."""

Stage = Literal["step", "gather", "copy", "index_wait"]


class LearnerMeter:
    """The metrics of one learner.

    Args:
        update: of which counters are told.
        builder: likewise.
    """

    def __init__(self, update: LearnerUpdate, builder: BatchBuilder) -> None:
        self.activities = Activities("waiting")
        """waiting, blocked (by the limiter), gathering, training, testing, publishing."""
        self._update = update
        self._builder = builder
        self._meter = Meter("learner")
        self._parameters_s: float | None = None
        self._published_s = time.monotonic()
        self._counted = self._counts()

    def begin_anew(self) -> None:
        """Count from here on: the update has taken over the state of another one."""
        self._counted = self._counts()

    def took(self, stage: Stage, seconds: float) -> None:
        """Say how long a stage of learning took."""
        self._meter.observe(f"learner/{stage}_ms", 1000 * seconds)

    @contextmanager
    def publishing(self, version: int) -> Iterator[None]:
        """Time the publication of weights."""
        with self.activities.during("publishing"), self._meter.time("weights/publish_ms"):
            yield
        self._meter.add("weights/published")
        self._meter.set("weights/version", version)
        self._published_s = time.monotonic()

    def published_bytes(self, size: int) -> None:
        """Say how large weights are."""
        self._meter.set("weights/bytes", size)

    def lag(self, batch: Batch, newest: int) -> None:
        """Take note of how old the weights were that drove a batch's rows; it lies on the CPU."""
        versions = batch.policy_versions.numpy()[::LAG_EVERY]
        ages = np.maximum(newest - versions[versions != NO_VERSION], 0)
        self._meter.observe_all("experience/policy_age", ages)
        self._meter.observe_all("experience/policy_age_updates", ages * self._update.settings.publish_every)

    def tell(self, summary: Summary | None, *, set_aside: int) -> Telling:
        """Return all of it since the last call.

        Args:
            summary: of the steps since then; None: there were none.
            set_aside: batches that were, so far.
        """
        meter = self._meter
        meter.count_to("learner/set_aside", set_aside)
        if summary is not None:
            for name, value in summary.figures.items():
                if value == value and name != "set_aside":  # a figure is unknown where all steps were undone
                    meter.set(f"learner/{name.replace('.', '/')}", value)
        shares = self.activities.shares()
        for activity in ("training", "testing", "publishing", "gathering"):
            meter.set(f"learner/{activity}_share", shares.get(activity, 0.0))
        meter.set("learner/idle_share", shares.get("waiting", 0.0) + shares.get("blocked", 0.0))
        meter.count_to("limiter/blocked_s/learner", self.activities.seconds("blocked"))
        counted, self._counted = self._counted, self._counts()
        for name, total in self._counted.items():
            meter.add(f"learner/{name}", max(0, total - counted[name]))
        meter.count_to("experience/torn_rows", self._builder.torn_rows)
        meter.count_to("experience/lost_batches", self._builder.lost_batches)
        meter.set("weights/age_s", time.monotonic() - self._published_s)
        self._tell_parameters()
        return meter.tell()

    def _counts(self) -> dict[str, int]:
        clock, update = self._update.target_clock, self._update
        return {
            "samples": clock.samples,
            "target_updates": clock.updates,
            "resets": update.resets,
            "plateau_raises": update.plateau.raises,
        }

    def _tell_parameters(self) -> None:
        """Look at single tensors, if it is time to."""
        now_s = time.monotonic()
        if self._update.steps == 0 or self._parameters_s is not None and now_s - self._parameters_s < PARAMETERS_S:
            return
        self._parameters_s = now_s
        for figure, value in self._update.diagnostics().items():
            what, _, parameter = figure.partition(".")
            self._meter.set(METRICS.name(_PARAMETERS[what], **_labels(what), parameter=parameter), value)


_PARAMETERS = {
    **dict.fromkeys(("weight_rms", "mean_rms", "square_rms", "rate_rms"), "parameter/{what}_rms/{parameter}"),
    **dict.fromkeys(("gradient_l2", "gradient_linf"), "parameter/gradient_{norm}/{parameter}"),
}


def _labels(figure: str) -> dict[str, str]:
    first, last = figure.split("_")
    return {"norm": last} if first == "gradient" else {"what": first}
