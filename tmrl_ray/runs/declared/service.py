"""Metrics of the run itself: clocks, checkpoints, memory, and the metrics' own faults."""

from __future__ import annotations

from tmrl_ray.runs.metrics import Kind, Metric

SERVICE = (
    Metric(
        name="clock/learner_steps",
        unit="learner steps",
        help="Learner steps so far; stands on every row.",
        rising="Normal. After a kill it goes back to the checkpoint's once.",
    ),
    Metric(
        name="clock/training_hours",
        unit="h",
        help="Hours in which the run was up, over all sessions; stands on every row.",
        rising="Normal. Compare runs by this or by env steps, not by the wall time that TensorBoard shows.",
    ),
    Metric(
        name="checkpoint/seconds",
        unit="s",
        ray="checkpoint_seconds",
        help="Time to save the newest checkpoint.",
        rising="The disk is slow or shared.",
    ),
    Metric(
        name="checkpoint/bytes",
        unit="bytes",
        ray="checkpoint_bytes",
        help="Size of the newest checkpoint, without the experience that it shares with others.",
        rising="A component keeps more and more.",
    ),
    Metric(
        name="checkpoint/age_s",
        unit="s",
        help="Time since the newest checkpoint, or since the session began: what a kill would cost the learner.",
        healthy="At most training.checkpoint_s and a little.",
        rising="Up to the time between two checkpoints: normal. Beyond it: they fail.",
    ),
    Metric(
        name="checkpoint/failures",
        kind=Kind.COUNTER,
        unit="checkpoints",
        help="Checkpoints that could not be saved.",
        healthy="0.",
        rising="The disk is full or gone: make room, the run goes on meanwhile.",
    ),
    Metric(
        name="memory/process_bytes/{process}",
        unit="bytes",
        help="Memory that a process has for itself: without the ring and Ray's object store, which are shared.",
        healthy="Flat after ten minutes.",
        rising="Normal until all of it has warmed up; a steady rise later is a leak.",
    ),
    Metric(
        name="memory/shared_free_bytes",
        unit="bytes",
        ray="shm_free_bytes",
        help="Free shared memory on the learner's node.",
        rising="Something let go of it.",
    ),
    Metric(
        name="memory/spilled_bytes",
        unit="bytes",
        ray="spilled_bytes",
        help="What Ray's object store had to write to a disk.",
        healthy="0.",
        rising="Messages pile up faster than they are taken: should never happen.",
    ),
    Metric(
        name="run/times",
        kind=Kind.TEXT,
        unit="",
        help="Best and latest finish times by map, as a table.",
        rising="A text does not rise.",
    ),
    Metric(
        name="run/configuration",
        kind=Kind.TEXT,
        unit="",
        help="The configuration of the session, at its beginning.",
        rising="A text does not rise.",
    ),
    Metric(
        name="metrics/dropped_values/{component}",
        kind=Kind.COUNTER,
        unit="values",
        help="Values that were not finite and therefore left out, by the component that gave them.",
        healthy="0.",
        rising="Something divides by zero or overflows; the log names the metric once.",
    ),
    Metric(
        name="metrics/failed_writes/{sink}",
        kind=Kind.COUNTER,
        unit="rows",
        help="Rows that could not be written, to a full disk for example.",
        healthy="0.",
        rising="The disk is full or gone; the run goes on, its records have a gap.",
    ),
)
