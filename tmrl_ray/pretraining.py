"""A stage of pretraining from its settings to its artifacts: in this process, or as a job on a Ray cluster.

The loop in which it is used::

    with StageRun.open(config, Start.NEW) as stage:
        for report in stage.train(show):              # or stage.train_on_ray(show)
            print(report.epoch, report.score)
        result = stage.finish()

The run's folder gets the state after each epoch, the figures, and at the end two artifacts, ``best`` and ``last``,
with plots, probes and, for cloning, races in the simulator. What was trained in one way can be gone on with in the
other.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from pretrain.assembly import (
    Agent,
    artifact_of,
    build_loop,
    build_stage,
    interval_of,
    load_initial_weights,
    open_data,
)
from pretrain.bc.bc_stage import BCStage
from pretrain.bc.closed_loop import MapRaces, drive
from pretrain.encoder import StackEncoder, to_bytes
from pretrain.loop import EpochReport, Show, StageLoop
from pretrain.probes import Probe, probe, save_sheet
from pretrain.records import StageRecords, draw_bars, draw_confusion, draw_curves
from pretrain.stage import Stage
from pretrain.visual.visual_stage import VisualStage
from tmrl_ray.config.pretrain import BCConfig, StageConfig
from tmrl_ray.datasets.cache import RaceCache
from tmrl_ray.datasets.cache_build import Told
from tmrl_ray.errors import CheckpointError, NotSavedError
from tmrl_ray.freed_memory import keep_freed_memory
from tmrl_ray.runs.artifact import BEST, LAST, Artifact
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity, Retention
from tmrl_ray.runs.checkpoint_files import Part
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import Disk, replace_file
from tmrl_ray.runs.run_files import RunStatus
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.training import device_of

log = logging.getLogger(__name__)

RESULT_FILE = "result.json"
SHEET_PICTURES = 12
"""On the sheet of rebuilt pictures: as many as fit next to each other on a page."""
_HOUR_S = 3600.0


@dataclass(frozen=True)
class StageResult:
    """What a stage came to."""

    best: Path
    """Artifact of the epoch with the lowest loss."""
    last: Path
    best_epoch: int
    epochs: int
    """That were trained."""
    figures: dict[str, dict[str, float | None]]
    """Of the best and of the last epoch."""
    maps: dict[str, dict[str, dict[str, float | None]]]
    """Of cloning, the same on each validation map: by artifact and map."""
    probes: dict[str, float | None]
    """Of the best encoder."""
    probe_gains: dict[str, float | None]
    """By how much more it tells than an encoder of the same seed that learned nothing."""
    races: dict[str, list[MapRaces]]
    """In closed loop, by artifact."""
    plots: list[Path]


class StageRun:
    """One run of a stage; ``open`` makes one.

    Args:
        config: the stage's.
        agent: what it is for.
        cache: what it learns from.
        loop: what trains it, at its beginning.
        run: its folder.
    """

    def __init__(self, config: StageConfig, agent: Agent, cache: RaceCache, loop: StageLoop, run: RunDirectory) -> None:
        self.config = config
        self.agent = agent
        self.cache = cache
        self.loop = loop
        self.run = run
        identity = Identity(run.uuid, {"stage": _architecture(self.loop), "data": _data_of(cache, self.loop)})
        self.store = CheckpointStore(run.checkpoints, identity, retention=Retention(last=1))
        if run.resumed:
            self._go_on(identity)
        self._identity = identity
        self._records = StageRecords(run.path, session=run.record.session, epochs=self.loop.epoch)

    @classmethod
    def open(cls, config: StageConfig, start: Start, *, told: Told | None = None) -> Self:
        """Decode the dataset if that is needed, and make or take up the run's folder.

        Args:
            config: the stage's.
            start: what to do with a run of the same name.
            told: of progress in decoding.

        Raises:
            InvalidInputError: configuration, dataset and weights to start from do not fit together, or there is a run
                of that name.
            DataError: the weights to start from, or the checkpoint to go on from, cannot be read.
            NotSavedError: something could not be written.
        """
        agent = Agent.load(config.rl_config_path)
        command = f"pretrain {'bc' if isinstance(config, BCConfig) else 'visual'}"
        cache = open_data(config, agent, told=told)
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        keep_freed_memory()
        loop = build_loop(config, agent, cache, device=device_of(config.device))
        if start is not Start.RESUME:  # what does not fit is refused before there is a folder
            load_initial_weights(loop.stage, config)
        run = RunDirectory.open(config.run.folder, config.run.name, config, start, command=command)
        with ExitStack() as stack:
            stack.callback(run.close)  # where the stage cannot go on from what is there
            made = cls(config, agent, cache, loop, run)
            stack.pop_all()
        return made

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.run.close()

    def train(self, show: Show | None = None) -> Generator[EpochReport, None, None]:
        """Train in this process, and yield how each epoch went, after it was saved.

        Args:
            show: is told how many batches of how many are done.
        """
        for report in self.loop.run(show):
            self._keep(report)
            yield report

    def train_on_ray(self, show: Show | None = None) -> Generator[EpochReport, None, None]:
        """Do the same as a job on the cluster that this process is connected to.

        Raises:
            ConfigError: the cluster is too small for it.
            TmrlError: it failed more often than it may.
        """
        from pretrain.jobs import Job

        if self.loop.epoch >= self.config.epochs or self.loop.stopped:
            return
        job = Job(self.config, self._identity, self.run.path / "ray", f"session-{self.run.record.session}")
        start = dict(self.loop.state_dict()) if self.loop.epoch else None
        history = list(self.loop.history)
        with closing(job.run(start, show)) as reports:
            for report in reports:
                history[report.epoch - 1 :] = [report.figures]
                self._records.write(history)
                yield report
        self._take(job.state())
        shutil.rmtree(self.run.path / "ray", ignore_errors=True)  # it is in our own checkpoint now

    def finish(self, show: Callable[[str, int, int], None] | None = None) -> StageResult:
        """Measure, draw and write what the learner takes over.

        Args:
            show: is told what is done, and how many of how many steps are.

        Raises:
            NotSavedError: an artifact could not be written.
        """
        loop, config, history = self.loop, self.config, self.loop.history
        directory = self.run.path
        plots = directory / "plots"
        plots.mkdir(exist_ok=True)
        files = draw_curves(plots, history, best_epoch=loop.best_epoch)
        races: dict[str, list[MapRaces]] = {}
        maps: dict[str, dict[str, dict[str, float | None]]] = {}
        for name in (LAST, BEST):  # the stage keeps the weights of the best
            artifact = artifact_of(loop, config, self.agent, self.cache, best=name == BEST)
            artifact.write(directory / name, replace=True)
            if isinstance(config, BCConfig):
                maps[name] = loop.figures_by_map()
            if isinstance(config, BCConfig) and config.closed_loop is not None:
                same = name == BEST and loop.best_epoch == loop.epoch
                races[name] = races[LAST] if same else self._drive(show, name)
        if races:
            self._records.write_races(races[BEST], epoch=loop.epoch)
        probed = self._probe(loop.stage)
        new = build_stage(config, self.agent, interval_ms=interval_of(self.cache, config))
        gains = probed.result.gains_over(self._probe(new).result)
        self._records.write_probes(probed.result.figures(), gains, epoch=loop.epoch)
        files += self._draw(plots, probed)
        result = StageResult(
            best=directory / BEST,
            last=directory / LAST,
            best_epoch=loop.best_epoch,
            epochs=loop.epoch,
            figures={BEST: dict(history[loop.best_epoch - 1]), LAST: dict(history[-1])},
            maps=maps,
            probes=probed.result.figures(),
            probe_gains=gains,
            races=races,
            plots=files,
        )
        replace_file(Disk(), directory / RESULT_FILE, (json.dumps(_told(result), indent=1) + "\n").encode())
        self.run.end("finished", self._status())
        return result

    def announce(self) -> int:
        """Announce the best artifact on the cluster that this process is connected to, and return its number.

        Raises:
            PeerUnavailableError: the registry does not answer.
        """
        from actors.registry import Announcement
        from actors.remote.registry import RegistryClient

        artifact = Artifact.read(self.run.path / BEST)
        announcement = Announcement(
            run=self.run.name,
            stage=artifact.origin.stage,
            path=str((self.run.path / BEST).resolve()),
            architecture_hash=artifact.architecture_hash,
            metrics=artifact.origin.metrics,
        )
        return RegistryClient.find().announce(announcement)

    def _go_on(self, identity: Identity) -> None:
        """Go on from the newest state: of this folder, or of a job that was killed before it came here."""
        from_store = self.store.load().parts if self.store.names() else None
        states = [from_store] if from_store is not None else []
        states += list(_of_jobs(self.run.path / "ray", identity))
        if states:
            self.loop.load_state(max(states, key=lambda parts: int(parts["stage"].values["epoch"])))
        else:
            load_initial_weights(self.loop.stage, self.config)

    def _keep(self, report: EpochReport) -> None:
        """Save the state; what cannot be written now is tried again after the next epoch."""
        try:
            self.store.save(self.loop.state_dict(), self._clocks(), score=report.score)
            self.run.write_status(self._status())
            self._records.write(self.loop.history)
        except (NotSavedError, OSError) as error:
            log.error("%s", error)

    def _take(self, parts: Mapping[str, Part] | None) -> None:
        """Take over what a job has trained, and keep it here."""
        if parts is None:
            raise NotSavedError("the job has left no checkpoint", hint="See that job storage is on a shared disk.")
        self.loop.load_state(parts)
        score = parts["stage"].values["best_score"]
        self.store.save(self.loop.state_dict(), self._clocks(), score=score)
        self._records.write(self.loop.history)

    def _clocks(self) -> Clocks:
        seconds = sum(each["seconds"] or 0.0 for each in self.loop.history)
        return Clocks(env_steps=self.loop.epoch, training_hours=seconds / _HOUR_S)

    def _status(self) -> RunStatus:
        return RunStatus(clocks=self._clocks())

    def _drive(self, show: Callable[[str, int, int], None] | None, name: str) -> list[MapRaces]:
        config, stage = self.config, self.loop.stage
        assert isinstance(config, BCConfig)
        assert config.closed_loop is not None
        assert isinstance(stage, BCStage)

        def told(done: int, total: int) -> None:
            if show is not None:
                show(f"races of the {name} weights", done, total)

        stack = config.n_stack
        return drive(stage, config.closed_loop, self.agent, stack=stack, seed=config.seed, show=told)

    def _probe(self, stage: Stage) -> Probe:
        device = next(self.loop.stage.parameters()).device
        encoder = _encoder_of(stage).to(device).eval()
        config, data = self.config, self.loop.data
        return probe(
            lambda frames: encoder(frames.to(device)), data, self.agent.layout, stack=config.n_stack, seed=config.seed
        )

    def _draw(self, plots: Path, probed: Probe) -> list[Path]:
        """Draw what the best weights do on the validation maps; without any, on those that were trained on."""
        loop, stage = self.loop, self.loop.stage
        chosen = np.linspace(0, len(probed.rows) - 1, SHEET_PICTURES).astype(int)
        frames = self.cache.stacks(probed.rows[chosen], self.config.n_stack)
        lines = [frames[:, -1], probed.rebuilt[chosen]]
        if isinstance(stage, VisualStage):
            rebuilt = stage.rebuild(torch.from_numpy(frames).to(next(stage.parameters()).device))
            if rebuilt is not None:
                lines.append(to_bytes(rebuilt[:, -1], self.config.image_normalization).cpu().numpy())
        save_sheet(plots / "pictures.png", lines)
        files = [plots / "pictures.png"]
        if isinstance(stage, BCStage):
            tallies = loop.measure()
            offsets_ms = self.config.bc_time_offsets_ms if isinstance(self.config, BCConfig) else (0,)
            at = offsets_ms.index(0) if 0 in offsets_ms else 0
            confusion = tallies["confusion"][at].cpu().numpy()
            files.append(draw_confusion(plots / "confusion.png", confusion, stage.classes.names))
            told = stage.metrics(tallies)
            by_action = {
                name: {"recall": told[f"acc_action_{name}"]}
                for name in stage.classes.names
                if told[f"acc_action_{name}"] is not None
            }
            files.append(draw_bars(plots / "recall.png", by_action, label="recall"))
            by_offset = {
                f"{offset} ms": {
                    "told": told[f"acc_offset_ms_{offset}"],
                    "copied": told[f"copy_last_acc_offset_ms_{offset}"],
                }
                for offset in offsets_ms
            }
            files.append(draw_bars(plots / "offsets.png", by_offset, label="accuracy"))
        return files


def _encoder_of(stage: Stage) -> StackEncoder:
    if isinstance(stage, BCStage):
        return stage.cloner.encoder
    assert isinstance(stage, VisualStage)
    return stage.encoder


def _architecture(loop: StageLoop) -> str:
    shapes = "\n".join(f"{name}:{tuple(each.shape)}" for name, each in loop.stage.state_dict().items())
    return hashlib.sha256(shapes.encode()).hexdigest()


def _data_of(cache: RaceCache, loop: StageLoop) -> str:
    """Return a hash of the data and of which maps are trained on: figures of others would not be comparable."""
    told = [cache.key, *loop.data.train_maps, "|", *loop.data.val_maps]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _of_jobs(storage: Path, identity: Identity) -> Iterator[Mapping[str, Part]]:
    for directory in sorted(storage.glob("session-*/checkpoint_[0-9]*")):
        store = CheckpointStore(directory, identity, retention=Retention(last=1))
        try:
            yield store.load().parts
        except CheckpointError as error:  # cut off on its way there: the one before it is whole
            log.warning("%s is left out: %s", directory, error)


def _told(result: StageResult) -> dict[str, Any]:
    """Return a result as JSON."""
    values = vars(replace(result))
    return {
        **{name: values[name] for name in ("best_epoch", "epochs", "figures", "maps", "probes", "probe_gains")},
        "races": {name: [vars(each) for each in races] for name, races in result.races.items()},
        "plots": [path.name for path in result.plots],
    }
