"""A stage as a Ray Train job: workers that share each batch, and go on from the last checkpoint when one of them dies.

Each worker runs the same loop as one process without Ray does; the first one reports and saves after each epoch. What
is told on the way goes through a queue, so that whoever started the job can show it. Nothing here knows of the run's
folder: the state comes in and goes out as the parts of a checkpoint.
"""

from __future__ import annotations

import os
import platform
import tempfile
import threading
import time
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import ray
import torch
from ray import train
from ray.train.torch import TorchTrainer, get_device
from ray.train.v2.api.exceptions import TrainingFailedError
from ray.util.queue import Empty, Queue

from pretrain.assembly import Agent, build_loop, load_initial_weights, open_data
from pretrain.batches import World
from pretrain.loop import EpochReport, Show
from tmrl_ray.config.pretrain import BCConfig, StageConfig, VisualConfig
from tmrl_ray.errors import ConfigError, TmrlError
from tmrl_ray.freed_memory import keep_freed_memory
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity, Retention
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.clocks import Clocks

Parts = Mapping[str, Part]

KEPT = 2
"""Checkpoints that a job keeps: the newest one, and the one before it."""
TELL_S = 0.5
"""Between two messages of progress within an epoch."""
START_S = 300.0
"""For so long workers may take to start: on a busy machine Ray's own 60 s are too few for torch to be imported."""
_START_VARIABLE = "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"
_POLL_S = 0.2
_PREFIX = "tmrl-pretrain-"


@dataclass(frozen=True)
class Job:
    """What is to be trained, and where."""

    config: StageConfig
    identity: Identity
    """Of the run, which its checkpoints belong to."""
    storage: Path
    """Folder in which Ray keeps the checkpoints: one that all machines see."""
    name: str
    """Of the session, which no other in that folder has."""

    def check_resources(self) -> None:
        """Raise unless the cluster can ever run it.

        Raises:
            ConfigError: it has fewer CPUs or GPUs than all workers together reserve.
        """
        job, there = self.config.job, cast(Any, ray).cluster_resources()
        for resource, each in (("CPU", job.cpus_per_worker), ("GPU", job.gpus_per_worker)):
            wanted = each * job.workers
            if wanted > there.get(resource, 0.0):
                raise ConfigError(
                    f"job: {job.workers} workers reserve {wanted:g} {resource}s, the cluster has "
                    f"{there.get(resource, 0.0):g}",
                    hint="Use fewer job.workers, or reserve less with job.cpus_per_worker and job.gpus_per_worker.",
                )

    def run(self, start: Parts | None, show: Show | None = None) -> Generator[EpochReport, None, None]:
        """Train on the cluster that this process is connected to, and yield how each epoch went.

        An epoch that was trained again after a worker died is told again. When it is over, ``state`` has what came
        out.

        Args:
            start: to go on from; None: from the beginning.
            show: see :meth:`pretrain.loop.StageLoop.run`.

        Raises:
            ConfigError: the cluster is too small.
            TmrlError: the job failed more often than it may.
        """
        self.check_resources()
        messages = Queue(actor_options={"num_cpus": 0})
        outcome: list[Any] = []
        thread = threading.Thread(target=lambda: outcome.append(self._fit(messages, start)), daemon=True)
        thread.start()
        try:
            while thread.is_alive() or not messages.empty():
                try:
                    kind, content = messages.get(timeout=_POLL_S)
                except Empty:
                    continue
                if kind == "epoch":
                    yield EpochReport(**content)
                elif show is not None:
                    show(*content)
        finally:
            messages.shutdown(force=True)
        thread.join()
        if isinstance(outcome[0], BaseException):
            raise TmrlError(
                f"the job failed: {_root_cause(outcome[0])}",
                hint="Look at the workers' logs in the dashboard, mend it, and go on with --resume.",
            ) from outcome[0]

    def state(self) -> Parts | None:
        """Return the newest state that was saved; None: none was.

        Raises:
            CheckpointError: it is damaged, or of another run.
        """
        saved = sorted((self.storage / self.name).glob("checkpoint_[0-9]*"), key=lambda path: path.name)
        return self.read(saved[-1]) if saved else None

    def read(self, directory: Path) -> Parts:
        """Return the state that a worker saved in ``directory``."""
        return CheckpointStore(directory, self.identity).load().parts

    def _fit(self, messages: Queue, start: Parts | None) -> Any:
        job = self.config.job
        resources = {"CPU": job.cpus_per_worker}
        if job.gpus_per_worker:
            resources["GPU"] = job.gpus_per_worker
        task = _Task(
            kind="bc" if isinstance(self.config, BCConfig) else "visual",
            config=self.config.model_dump_json(),
            run=self.identity.run,
            hashes=dict(self.identity.hashes),
            start=None if start is None else _encode(start, self.identity),
            directory=Path.cwd(),
        )
        trainer = TorchTrainer(
            _work,
            train_loop_config={"task": task, "messages": messages},
            scaling_config=train.ScalingConfig(
                num_workers=job.workers, use_gpu=bool(job.gpus_per_worker), resources_per_worker=resources
            ),
            run_config=train.RunConfig(
                name=self.name,
                storage_path=str(self.storage.resolve()),
                failure_config=train.FailureConfig(max_failures=job.max_failures),
                checkpoint_config=train.CheckpointConfig(num_to_keep=KEPT),
            ),
        )
        os.environ.setdefault(_START_VARIABLE, f"{START_S:g}")
        try:
            return trainer.fit()
        except (TrainingFailedError, ray.exceptions.RayError) as error:
            return error


@dataclass(frozen=True)
class _Task:
    """What a worker is given: nothing that needs our classes to be read."""

    kind: Literal["visual", "bc"]
    config: str
    """JSON."""
    run: str
    hashes: dict[str, str]
    start: dict[str, bytes] | None
    """Files of a checkpoint to go on from, by name."""
    directory: Path
    """What the paths of the configuration are relative to."""


def _work(given: dict[str, Any]) -> None:
    """Train, on each worker."""
    task, messages = given["task"], given["messages"]
    if not task.directory.is_dir():
        raise ConfigError(f"{task.directory} is not there on {platform.node()}: all machines must share it")
    os.chdir(task.directory)  # Ray starts workers somewhere else
    config = (BCConfig if task.kind == "bc" else VisualConfig).model_validate_json(task.config)
    context = train.get_context()
    rank = context.get_world_rank()
    torch.set_num_threads(config.threads or max(1, int(config.job.cpus_per_worker)))
    keep_freed_memory()
    identity = Identity(task.run, task.hashes)
    agent = Agent.load(config.rl_config_path)
    world = World(rank, context.get_world_size())
    loop = build_loop(config, agent, open_data(config, agent), device=get_device(), world=world)
    if (parts := _newest(task, identity)) is not None:
        loop.load_state(parts)
    else:
        load_initial_weights(loop.stage, config)
    show = _throttled(messages) if rank == 0 else None
    for report in loop.run(show):
        told = {name: value for name, value in report.figures.items() if value is not None}
        if rank > 0:
            train.report(told)
            continue
        directory = Path(tempfile.mkdtemp(prefix=_PREFIX))
        _store(directory, identity).save(loop.state_dict(), Clocks(env_steps=report.epoch), score=report.score)
        train.report(
            told,
            checkpoint=train.Checkpoint.from_directory(directory),
            checkpoint_dir_name=f"checkpoint_{report.epoch:06}_{os.getpid()}",
            checkpoint_upload_mode=train.CheckpointUploadMode.ASYNC,
            delete_local_checkpoint_after_upload=True,
        )
        messages.put(("epoch", vars(report)))


def _newest(task: _Task, identity: Identity) -> Parts | None:
    """Return what to go on from: what this job has saved, else what it was given."""
    saved = train.get_checkpoint()
    if saved is not None:
        with saved.as_directory() as directory:
            return _store(Path(directory), identity).load().parts
    if task.start is None:
        return None
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        for file, data in task.start.items():
            path = Path(name) / file
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(data)
        return _store(Path(name), identity).load().parts


def _encode(parts: Parts, identity: Identity) -> dict[str, bytes]:
    """Return parts as the files of a checkpoint, by name."""
    with tempfile.TemporaryDirectory(prefix=_PREFIX) as name:
        root = Path(name)
        _store(root, identity).save(parts, Clocks())
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def _store(directory: Path, identity: Identity) -> CheckpointStore:
    return CheckpointStore(directory, identity, retention=Retention(last=1))


def _throttled(messages: Queue) -> Show:
    told_s = 0.0

    def show(epoch: int, done: int, total: int) -> None:
        nonlocal told_s
        now_s = time.monotonic()
        if done == total or now_s - told_s >= TELL_S:
            told_s = now_s
            messages.put_nowait(("progress", (epoch, done, total)))

    return show


def _root_cause(error: BaseException) -> str:
    """Return the last line of what a worker raised."""
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
