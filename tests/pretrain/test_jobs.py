"""What is known of a job before it runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import ray

from pretrain.jobs import Job
from tests.pretrain.stages import cloning
from tmrl_ray.config.pretrain import JobSettings
from tmrl_ray.errors import ConfigError
from tmrl_ray.runs.checkpoint import Identity


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (JobSettings(workers=4), None),
        (JobSettings(workers=2, gpus_per_worker=0.5, cpus_per_worker=2.0), None),
        (JobSettings(workers=5), "5 workers reserve 5 CPUs, the cluster has 4"),
        (JobSettings(workers=3, cpus_per_worker=1.5), r"3 workers reserve 4\.5 CPUs, the cluster has 4"),
        (JobSettings(workers=2, gpus_per_worker=1.0), "2 workers reserve 2 GPUs, the cluster has 1"),
    ],
)
def test_a_job_that_the_cluster_can_never_run_is_refused(
    job: JobSettings, message: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0, "GPU": 1.0}, raising=False)
    asked = Job(cloning(job=job), Identity("run", {}), Path("nowhere"), "session-1")
    if message is None:
        asked.check_resources()
        return
    with pytest.raises(ConfigError, match=message) as error:
        asked.check_resources()
    assert "job.workers" in (error.value.hint or "")


def test_a_cluster_without_gpus_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 4.0}, raising=False)
    asked = Job(cloning(job=JobSettings(gpus_per_worker=1.0)), Identity("run", {}), Path("nowhere"), "session-1")
    with pytest.raises(ConfigError, match="1 workers reserve 1 GPUs, the cluster has 0"):
        asked.check_resources()
