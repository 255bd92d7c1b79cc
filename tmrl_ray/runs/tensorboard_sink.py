"""Metrics for TensorBoard, written with TensorBoard's own records and without torch.

The step axis is env steps. Learner steps and training hours stand beside them on each row, as ``clock/...``. Help and
the meaning of a rise are shown with each chart. A histogram is also told as two scalars, its median and its 98th
percentile, since those can be read off a line.

A session writes a file of its own. The first thing in that of a resumed run tells TensorBoard from which env step on
the file goes on: rows beyond it, from a session that was killed after its last checkpoint, are no longer shown, and
none is shown twice. Nothing is removed from any file.
"""

from __future__ import annotations

import os
import socket
import time
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.disk import append
from tmrl_ray.runs.distribution import Distribution
from tmrl_ray.runs.meter import Value
from tmrl_ray.runs.metrics import Kind, Metric, Registry
from tmrl_ray.runs.recorder import Row
from tmrl_ray.runs.tensorboard_layout import PLUGIN, TAG, layout

_VERSION = "brain.Event:2"
_PLUGINS = {Kind.SCALAR: "scalars", Kind.COUNTER: "scalars", Kind.HISTOGRAM: "histograms", Kind.TEXT: "text"}
TOLD_QUANTILES = {"median": 0.5, "q98": 0.98}
"""Scalars beside each histogram, by the end of their name."""


class TensorBoardSink:
    """Writes an event file.

    Args:
        directory: of the run's event files.
        session: number of the run's session, from 1.
        env_steps: at which the session begins.
        registry: what is declared.

    Raises:
        OSError: the file cannot be made.
    """

    name = "tensorboard"

    def __init__(self, directory: Path, *, session: int = 1, env_steps: int = 0, registry: Registry = METRICS) -> None:
        from tensorboard.compat.proto.event_pb2 import Event, SessionLog

        self._registry = registry
        self._described: set[str] = set()
        self._clocks: tuple[int, float] | None = None
        directory.mkdir(parents=True, exist_ok=True)
        now_s = time.time()
        name = f"events.out.tfevents.{int(now_s):010}.{session:05}.{socket.gethostname()}.{os.getpid()}"
        self._path = directory / name
        self._put(Event(wall_time=now_s, file_version=_VERSION))
        start = SessionLog(status=SessionLog.START)  # the first one is ignored, but counts as the first
        self._put(Event(wall_time=now_s, step=env_steps + 1, session_log=start))  # this step and later ones go
        pages = Event(wall_time=now_s, step=env_steps)
        value = pages.summary.value.add(tag=TAG, tensor=_text(layout().SerializeToString()))
        value.metadata.plugin_data.plugin_name = PLUGIN
        self._put(pages)

    def write(self, row: Row) -> None:
        """Write a row."""
        from tensorboard.compat.proto.event_pb2 import Event

        event = Event(wall_time=row.time_s, step=row.clocks.env_steps)
        values: dict[str, Value] = dict(row.values)
        clocks = (row.clocks.learner_steps, row.clocks.training_hours)
        if clocks != self._clocks:
            values |= {"clock/learner_steps": clocks[0], "clock/training_hours": clocks[1]}
            self._clocks = clocks
        for name, value in values.items():
            self._add(event.summary, name, value)
        self._put(event)

    def close(self) -> None:
        """Do nothing: each row is written at once."""

    def _put(self, event: Any) -> None:
        from tensorboard.summary.writer.record_writer import RecordWriter

        record = BytesIO()
        RecordWriter(record).write(event.SerializeToString())
        append(self._path, record.getvalue())

    def _add(self, summary: Any, name: str, value: Value) -> None:
        metric = self._registry.resolve(name).metric
        if isinstance(value, Distribution):
            self._describe(summary.value.add(tag=name, tensor=_numbers(_buckets(value))), metric, metric.kind)
            for ending, share in TOLD_QUANTILES.items():
                told = summary.value.add(tag=f"{name}/{ending}", tensor=_numbers(value.quantile(share)))
                self._describe(told, metric, Kind.SCALAR)
        elif isinstance(value, str):
            self._describe(summary.value.add(tag=name, tensor=_text(value)), metric, metric.kind)
        else:
            self._describe(summary.value.add(tag=name, tensor=_numbers(value)), metric, metric.kind)

    def _describe(self, value: Any, metric: Metric, kind: Kind) -> None:
        """Say, once a file, what a tag is. TensorBoard's fast reader keeps this for tensors only."""
        if value.tag in self._described:
            return
        self._described.add(value.tag)
        unit = f" Unit: {metric.unit}." if metric.unit else ""
        value.metadata.display_name = value.tag
        value.metadata.summary_description = f"{metric.help}{unit}\n\nRising: {metric.rising}"
        value.metadata.plugin_data.plugin_name = _PLUGINS[kind]


def _buckets(value: Distribution) -> Any:
    """Return (buckets, 3), where each begins and ends and what is in it, from the first to the last that is filled."""
    filled = np.flatnonzero(value.counts)
    return np.column_stack([value.edges(), value.counts])[filled[0] : filled[-1] + 1]


def _numbers(values: Any) -> Any:
    """Return numbers of any shape as a tensor."""
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_DOUBLE, DT_FLOAT

    array = np.asarray(values, dtype=np.float64)
    if array.ndim == 0:  # TensorBoard shows scalars in single precision
        tensor = TensorProto(dtype=DT_FLOAT, float_val=[float(array)])
    else:
        tensor = TensorProto(dtype=DT_DOUBLE, double_val=array.reshape(-1).tolist())
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add(size=size)
    return tensor


def _text(value: str | bytes) -> Any:
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING

    tensor = TensorProto(dtype=DT_STRING, string_val=[value.encode() if isinstance(value, str) else value])
    tensor.tensor_shape.SetInParent()
    return tensor
