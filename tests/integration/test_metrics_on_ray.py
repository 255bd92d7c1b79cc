"""A run on Ray tells its metrics in its folder and at the endpoint that Prometheus reads."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from tests.faults.watched_run import CONFIG
from tests.integration.test_metrics_of_a_run import ON_RAY, metrics_of
from tmrl_ray.cluster import ClusterRun, connected
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.json_sink import read_rows
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.training import Training

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PATIENCE_S = 120.0
PROCESSES = {"driver", "learner", "replay", "weights", "evaluator", "collector-0"}
SERIES = re.compile(r"^(ray_tmrl_\w+)\{(.*)\} (\S+)$", flags=re.MULTILINE)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, list[tuple[str, float]]]]]:
    """Yield the folder of a run, and what the endpoint told of it: labels and values by name."""
    folder, directory = tmp_path_factory.mktemp("runs"), tempfile.mkdtemp(prefix="r")
    training = Training.of(CONFIG)
    options = {"include_dashboard": False, "_temp_dir": directory, "log_to_driver": False, "logging_level": "error"}
    quick = {"metrics_report_interval_ms": 1000}
    with connected(training, num_cpus=2, object_store_memory=150_000_000, _system_config=quick, **options):
        (node,) = ray.nodes()
        endpoint = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
        with RunDirectory.open(folder, "told", CONFIG, Start.NEW) as run:
            store = CheckpointStore(run.checkpoints, Identity(run.uuid, training.hashes))
            with ClusterRun(training, run, store) as cluster:
                end_s = time.monotonic() + PATIENCE_S
                for _ in cluster.run():
                    series = scrape(endpoint)
                    updates = series.get("ray_tmrl_learner_updates_total", [("", 0.0)])
                    memory = str(series.get("ray_tmrl_memory_process_bytes"))
                    if updates[0][1] >= 10 and all(process in memory for process in PROCESSES):
                        break
                    assert time.monotonic() < end_s, f"the endpoint tells {sorted(series)} only"
        yield run.path, series
    shutil.rmtree(directory, ignore_errors=True)


def scrape(endpoint: str) -> dict[str, list[tuple[str, float]]]:
    with urllib.request.urlopen(endpoint, timeout=10) as reply:
        text = reply.read().decode()
    series: dict[str, list[tuple[str, float]]] = {}
    for name, labels, value in SERIES.findall(text):
        series.setdefault(name, []).append((labels, float(value)))
    return series


def test_metrics_of_all_processes_are_at_the_endpoint_of_prometheus(told) -> None:
    _, series = told
    assert all('run="told"' in labels for rows in series.values() for labels, _ in rows)
    assert series["ray_tmrl_transitions_ingested_total"][0][1] >= 512
    states = dict(series["ray_tmrl_collector_state"])
    assert sum(value for labels, value in states.items() if 'collector="0"' in labels) == 1.0
    assert any(value > 0 for labels, value in series["ray_tmrl_step_ms_count"])
    assert {"ray_tmrl_replay_occupancy", "ray_tmrl_learner_loss", "ray_tmrl_spilled_bytes"} <= series.keys()


def test_the_folder_has_what_only_a_cluster_tells(told) -> None:
    path, _ = told
    rows = read_rows(path / "metrics.jsonl")
    assert {metric.short for metric in metrics_of(rows)} >= ON_RAY
    last = {name: value for row in rows for name, value in row.values.items()}  # rows tell what is new only
    assert last["memory/spilled_bytes"] == 0
    assert last["collector/count/racing"] + last["collector/count/waiting"] <= 1
    assert last["learner/samples"] > 0 and last["experience/rows_sampled"] > 0
