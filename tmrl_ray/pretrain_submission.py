"""Hands a stage of pretraining to a Ray cluster through its job interface, and follows its log.

The job runs the command that a person would type on the head node, ``tmrl-ray pretrain ... --address auto``, with the
whole configuration in a file that travels with it. Paths in the configuration must mean the same there: a shared disk,
or the data on the head node.
"""

from __future__ import annotations

import asyncio
import re
import shlex
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ray.job_submission import JobStatus, JobSubmissionClient

from tmrl_ray.config.loading import to_yaml
from tmrl_ray.config.pretrain import StageConfig
from tmrl_ray.errors import ClusterError, TmrlError

CONFIG_FILE = "stage.yaml"
DASHBOARD_PORT = 8265
"""Where Ray's job interface listens unless it was told otherwise."""


def submit(stage: str, config: StageConfig, address: str, flags: Sequence[str]) -> tuple[str, str]:
    """Submit a stage; return the job's id and its command line.

    Args:
        stage: visual or bc.
        config: the whole of it.
        address: of the cluster, HOST:PORT, or of its dashboard, http://HOST:PORT, or auto.
        flags: of the command besides.

    Raises:
        ClusterError: the job interface does not answer.
    """
    client = _client(address)
    command = ["python", "-m", "tmrl_ray.cli", "pretrain", stage, "-c", CONFIG_FILE, "--address", "auto", *flags]
    entrypoint = shlex.join(command)
    resolved = config.replace(**{name: value for name, value in _absolute(config).items()})
    with tempfile.TemporaryDirectory(prefix="tmrl-submit-") as folder:
        (Path(folder) / CONFIG_FILE).write_text(to_yaml(resolved), encoding="utf-8")
        name = re.sub(r"[^A-Za-z0-9_-]", "-", config.run.name)
        job = client.submit_job(
            entrypoint=entrypoint, runtime_env={"working_dir": folder}, metadata={"stage": stage, "run": name}
        )
    return job, entrypoint


def follow(address: str, job: str) -> Iterator[str]:
    """Yield what a job prints until it ends.

    Raises:
        TmrlError: it failed.
    """
    client = _client(address)
    loop = asyncio.new_event_loop()
    lines = client.tail_job_logs(job)
    try:
        while True:
            try:
                yield loop.run_until_complete(anext(lines))
            except StopAsyncIteration:
                break
    finally:
        loop.close()
    status = client.get_job_status(job)
    if status is not JobStatus.SUCCEEDED:
        raise TmrlError(
            f"the job {job} ended as {status}: {client.get_job_info(job).message}",
            hint=f"Its log: ray job logs {job}",
        )


def _client(address: str) -> Any:
    if address == "auto":
        place = None
    elif address.startswith("http"):
        place = address
    else:
        place = f"http://{address.rpartition(':')[0]}:{DASHBOARD_PORT}"
    try:
        return JobSubmissionClient(place)
    except (ConnectionError, RuntimeError) as error:
        raise ClusterError(
            f"the job interface of the Ray cluster at {address} does not answer: {str(error).splitlines()[0]}",
            hint="It listens with the dashboard. Give its address: --address http://HOST:8265",
        ) from error


def _absolute(config: StageConfig) -> dict[str, Any]:
    """Return the paths of a configuration as they are from the root of the disk: a job starts in another folder."""
    paths = {
        name: value.absolute() for name in type(config).model_fields if isinstance(value := getattr(config, name), Path)
    }
    return {**paths, "run": config.run.replace(folder=config.run.folder.absolute())}
