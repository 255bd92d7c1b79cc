"""Where metrics go: lines of JSON, TensorBoard as TensorBoard reads it, and Ray."""

from __future__ import annotations

import json
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.declared.learning import MILLISECONDS
from tmrl_ray.runs.distribution import Distribution, DistributionWindow
from tmrl_ray.runs.json_sink import JsonLinesSink, former_file, read_rows
from tmrl_ray.runs.meter import Value
from tmrl_ray.runs.ray_sink import MOST_OBSERVATIONS, RaySink, representatives
from tmrl_ray.runs.recorder import Recorder, Row
from tmrl_ray.runs.tensorboard_sink import TensorBoardSink

ROOT = Path(__file__).parents[2]


def spread(values: list[float]) -> Distribution:
    window = DistributionWindow(MILLISECONDS)
    window.add_all(values)
    taken = window.take()
    assert taken is not None
    return taken


def row(env_steps: int, values: dict[str, Value]) -> Row:
    return Row(Clocks(env_steps, env_steps // 7, env_steps / 1000), 1000.0 + env_steps, values)


def losses(path: Path) -> list[tuple[int, float]]:
    return [(each.clocks.env_steps, each.values["learner/loss"]) for each in read_rows(path)]


def test_rows_of_json_come_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = JsonLinesSink(path)
    sink.write(row(70, {"learner/loss": 0.5, "run/times": "ü\n", "learner/step_ms": spread([1.0, 3.0])}))
    sink.write(row(140, {"learner/loss": 0.25}))
    first, second = read_rows(path)
    assert (first.session, first.clocks, first.time_s) == (1, Clocks(70, 10, 0.07), 1070.0)
    assert first.values["run/times"] == "ü\n"
    assert first.values["learner/step_ms"]["mean"] == 2.0 and first.values["learner/step_ms"]["count"] == 2
    assert second.values == {"learner/loss": 0.25}


def test_a_resumed_run_is_read_without_gaps_and_without_repeats(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    first = JsonLinesSink(path)
    for step in (10, 20, 30, 40):
        first.write(row(step, {"learner/loss": 1.0}))
    second = JsonLinesSink(path, session=2, env_steps=20)  # the checkpoint was made at 20
    for step in (30, 40, 50):
        second.write(row(step, {"learner/loss": 2.0}))
    assert losses(path) == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]
    JsonLinesSink(path, session=3, env_steps=50).write(row(60, {"learner/loss": 3.0}))
    assert [loss for _, loss in losses(path)] == [1.0, 1.0, 2.0, 2.0, 2.0, 3.0]
    assert path.read_text().count('"values"') == 8, "nothing is removed"


def test_a_line_that_a_killed_process_left_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    JsonLinesSink(path).write(row(10, {"learner/loss": 1.0}))
    with path.open("a") as file:
        file.write('{"session":1,"env_st')
    JsonLinesSink(path, session=2, env_steps=10).write(row(20, {"learner/loss": 2.0}))
    assert losses(path) == [(10, 1.0), (20, 2.0)]


def test_a_file_of_json_does_not_grow_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    sink = JsonLinesSink(path, most_bytes=1000)
    for step in range(100):
        sink.write(row(step, {"learner/loss": 1.0}))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 2500
    assert former_file(path).exists()
    steps = [step for step, _ in losses(path)]
    assert steps == list(range(steps[0], 100)) and len(steps) > 8


LIMITED = """
import resource, signal, sys
from pathlib import Path
from tests.runs.test_sinks import row
from tmrl_ray.runs.json_sink import JsonLinesSink
from tmrl_ray.runs.recorder import Recorder
from tmrl_ray.runs.tensorboard_sink import TensorBoardSink
folder = Path(sys.argv[1])
recorder = Recorder([JsonLinesSink(folder / "metrics.jsonl"), TensorBoardSink(folder)])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (9_000, resource.RLIM_INFINITY))
for step in range(100):
    written = recorder.write({"learner/loss": 1.0, "run/times": "x" * 61}, row(step, {}).clocks)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
recorder.write({"learner/loss": 2.0}, row(100, {}).clocks)
assert written.values["metrics/failed_writes/json"] > 10, written
assert written.values["metrics/failed_writes/tensorboard"] > 10, written
"""


def test_a_write_that_the_system_cuts_short_leaves_files_that_can_be_read(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", LIMITED, tmp_path], cwd=ROOT, check=True)
    for steps in (
        [step for step, _ in losses(tmp_path / "metrics.jsonl")],
        [s for s, _ in shown(tmp_path, "learner/loss")],
    ):
        assert 10 < len(steps) < 90
        assert steps == [*range(len(steps) - 1), 100]


def events(directory: Path) -> Any:
    """Return the run as TensorBoard reads it."""
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.plugin_event_accumulator")
    return accumulator.EventAccumulator(str(directory), size_guidance={"tensors": 0}).Reload()


def shown(directory: Path, tag: str) -> list[tuple[int, float]]:
    """Return what TensorBoard shows of a scalar."""
    from tensorboard.util.tensor_util import make_ndarray

    read = events(directory).Tensors(tag)
    return [(event.step, make_ndarray(event.tensor_proto).item()) for event in read]


def test_tensorboard_reads_what_was_written(tmp_path: Path) -> None:
    from tensorboard.util.tensor_util import make_ndarray

    sink = TensorBoardSink(tmp_path)
    values: dict[str, Value] = {"learner/loss": 0.5, "learner/samples": 512, "run/times": "| best |"}
    sink.write(row(700, {**values, "learner/step_ms": spread([1.0, 3.0, 3.0])}))
    sink.write(row(1400, {"learner/loss": 0.25}))
    sink.close()
    assert shown(tmp_path, "learner/loss") == [(700, 0.5), (1400, 0.25)]
    assert shown(tmp_path, "clock/learner_steps") == [(700, 100), (1400, 200)]
    assert shown(tmp_path, "clock/training_hours") == [(700, pytest.approx(0.7)), (1400, pytest.approx(1.4))]
    read = events(tmp_path)
    assert make_ndarray(read.Tensors("run/times")[0].tensor_proto).item() == b"| best |"
    buckets = make_ndarray(read.Tensors("learner/step_ms")[0].tensor_proto)
    assert buckets[buckets[:, 2] > 0][:, 2].tolist() == [1, 2]
    assert (buckets[0, 0], buckets[-1, 1]) == (1.0, 3.0)
    assert 2.0 <= shown(tmp_path, "learner/step_ms/median")[0][1] <= 3.0
    assert read.Tensors("learner/loss")[0].wall_time == 1700.0
    told = read.SummaryMetadata("learner/loss")
    assert told.summary_description.startswith("Loss per sample") and "Rising: Targets" in told.summary_description
    plugins = {tag: read.SummaryMetadata(tag).plugin_data.plugin_name for tag in read.Tags()["tensors"]}
    assert plugins["learner/loss"] == plugins["learner/samples"] == plugins["learner/step_ms/q98"] == "scalars"
    assert plugins["learner/step_ms"] == "histograms"
    assert plugins["run/times"] == "text"


def test_tensorboard_shows_a_resumed_run_without_gaps_and_without_repeats(tmp_path: Path) -> None:
    first = TensorBoardSink(tmp_path)
    for step in (10, 20, 30, 40):
        first.write(row(step, {"learner/loss": 1.0, "learner/value": 1.0}))
    second = TensorBoardSink(tmp_path, session=2, env_steps=20)
    for step in (30, 40, 50):
        second.write(row(step, {"learner/loss": 2.0}))
    assert shown(tmp_path, "learner/loss") == [(10, 1.0), (20, 1.0), (30, 2.0), (40, 2.0), (50, 2.0)]
    assert shown(tmp_path, "learner/value") == [(10, 1.0), (20, 1.0)]
    TensorBoardSink(tmp_path, session=3, env_steps=50).write(row(60, {"learner/loss": 3.0}))
    assert [value for _, value in shown(tmp_path, "learner/loss")] == [1.0, 1.0, 2.0, 2.0, 2.0, 3.0]
    assert len(list(tmp_path.iterdir())) == 3


def test_tensorboard_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.runs.test_sinks import row\n"
        "from tmrl_ray.runs.tensorboard_sink import TensorBoardSink\n"
        "import tmrl_ray.runs.checkpoint, tmrl_ray.runs.ray_sink, tmrl_ray.runs.run_list\n"
        "TensorBoardSink(Path(sys.argv[1])).write(row(1, {'learner/loss': 1.0}))\n"
        "assert not {'torch', 'ray', 'tensorflow'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], cwd=ROOT, check=True)


class FakeMetric:
    """One of Ray's, which keeps what it is told."""

    made: dict[str, FakeMetric]

    def __init__(self, name: str, description: str, *, tag_keys: tuple[str, ...], boundaries: Any = None) -> None:
        self.description, self.tag_keys, self.boundaries = description, tag_keys, boundaries
        self.told: list[tuple[float, dict[str, str]]] = []
        self.made[name] = self

    def tell(self, value: float, tags: dict[str, str]) -> None:
        assert tags.keys() == set(self.tag_keys)
        self.told.append((value, tags))

    inc = observe = set = tell


@pytest.fixture
def ray_metrics(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, FakeMetric]]:
    made: dict[str, FakeMetric] = {}
    module = types.ModuleType("ray.util.metrics")
    for kind in ("Counter", "Gauge", "Histogram"):
        setattr(module, kind, type(kind, (FakeMetric,), {"made": made}))
    monkeypatch.setitem(sys.modules, "ray.util.metrics", module)
    yield made


def test_ray_gets_gauges_growths_and_observations(ray_metrics: dict[str, FakeMetric]) -> None:
    sink = RaySink("loop")
    sink.write(row(70, {"learner/samples": 1512, "race/finish_rate/A01/greedy": 0.5, "run/times": "text"}))
    sink.write(row(140, {"learner/samples": 1512, "learner/step_ms": spread([1.0, 1.0, 7.0])}))
    sink.write(row(210, {"learner/samples": 1600}))
    run = {"run": "loop"}
    assert ray_metrics["tmrl_learner_samples"].told == [(1512.0, run), (88.0, run)]
    assert ray_metrics["tmrl_race_finish_rate"].told == [(0.5, {**run, "map": "A01", "kind": "greedy"})]
    assert ray_metrics["tmrl_clock_learner_steps"].told == [(10.0, run), (20.0, run), (30.0, run)]
    steps = ray_metrics["tmrl_step_ms"]
    assert steps.boundaries == list(MILLISECONDS) and len(steps.told) == 3
    assert "tmrl_run_times" not in ray_metrics
    assert type(ray_metrics["tmrl_learner_samples"]).__name__ == "Counter"
    assert type(ray_metrics["tmrl_race_finish_rate"]).__name__ == "Gauge"


@given(values=st.lists(st.floats(0.01, 1e5), min_size=1, max_size=60), times=st.integers(1, 300))
def test_observations_fall_into_the_buckets_of_the_values(values: list[float], times: int) -> None:
    value = spread(values * times)
    told = representatives(value)
    again = spread(told)
    if value.count <= MOST_OBSERVATIONS:
        assert again.counts.tolist() == value.counts.tolist()
    else:
        assert len(told) == pytest.approx(MOST_OBSERVATIONS, abs=len(MILLISECONDS))
        assert np.abs(again.counts / again.count - value.counts / value.count).max() < 0.02


def test_names_for_ray_are_ones_that_it_does_not_discard() -> None:
    ray = pytest.importorskip("ray.util.metrics")
    assert all(ray._VALID_METRIC_NAME_RE.match(metric.ray_name) for metric in METRICS.metrics)


@pytest.mark.ray
@pytest.mark.slow
def test_ray_itself_takes_every_metric() -> None:
    code = (
        "import ray; ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)\n"
        "from tests.runs.test_sinks import row_of_everything\n"
        "from tmrl_ray.runs.ray_sink import RaySink\n"
        "sink = RaySink('loop')\n"
        "sink.write(row_of_everything(7)); sink.write(row_of_everything(14))\n"
        "ray.shutdown()"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error:::tmrl_ray", "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    assert "Metric will be discarded" not in result.stderr


def row_of_everything(number: int) -> Row:
    """Return a row with each metric that there is."""
    values: dict[str, Value] = {}
    for metric in METRICS.metrics:
        for name in metric.examples():
            if metric.bounds:
                window = DistributionWindow(metric.bounds)
                window.add(number)
                taken = window.take()
                assert taken is not None
                values[name] = taken
            else:
                values[name] = "text" if metric.kind == "text" else number
    return row(number, values)


def test_every_sink_takes_every_metric(tmp_path: Path, ray_metrics: dict[str, FakeMetric]) -> None:
    recorder = Recorder([JsonLinesSink(tmp_path / "m.jsonl"), TensorBoardSink(tmp_path / "tb"), RaySink("loop")])
    everything = row_of_everything(7)
    written = recorder.write(everything.values, everything.clocks)
    assert read_rows(tmp_path / "m.jsonl")[0].values.keys() == written.values.keys()
    assert set(events(tmp_path / "tb").Tags()["tensors"]) >= written.values.keys()
    scalars = {metric.ray_name for metric in METRICS.metrics if metric.kind != "text"}
    assert ray_metrics.keys() == scalars
    assert json.loads((tmp_path / "m.jsonl").read_text().splitlines()[0]) == {"session": 1, "from_env_steps": 0}
