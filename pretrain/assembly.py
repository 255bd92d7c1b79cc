"""From the settings of a stage to the loop that trains it: the same in one process and on each worker of a job.

``Agent`` is what the result is for: the network, the observation and the pictures of a training.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from torch import Tensor

from pretrain.batches import ALONE, BatchSource, World
from pretrain.bc.bc_stage import BCStage, Driving
from pretrain.encoder import load_encoder
from pretrain.loop import StageLoop
from pretrain.probes import QUANTITIES
from pretrain.stage import Stage
from pretrain.visual.visual_stage import VisualStage
from tmrl_ray.config.dataset import CacheSettings
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.pretrain import BCConfig, StageConfig
from tmrl_ray.config.run import RunConfig
from tmrl_ray.datasets.cache import RaceCache
from tmrl_ray.datasets.cache_build import Told, cache_name, prepare_cache
from tmrl_ray.errors import ArtifactError, ConfigError, InvalidInputError
from tmrl_ray.iqn.network import NetworkIO
from tmrl_ray.racing.actions import ACTION_COUNT
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.runs.artifact import Artifact, Origin, PartKey
from tmrl_ray.runs.artifact_reference import open_artifact

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Agent:
    """The training that the result of a stage is for."""

    config: RunConfig
    layout: ObservationLayout
    """Of the floats."""
    io: NetworkIO
    frame_size: tuple[int, int]
    """Width and height of the pictures in pixels."""

    @classmethod
    def load(cls, path: Path | None) -> Self:
        """Return what a configuration says; None: the defaults.

        Raises:
            ConfigError: it is wrong, or sees no grey pictures.
        """
        config = load_config(path)
        size = config.game.frame_size
        if size is None or not config.game.grey:
            raise ConfigError(
                f"{path}: pretraining needs grey pictures, game.frame_size = {size}, game.grey = {config.game.grey}",
                hint="Name a training that sees them: rl_config_path=FILE",
            )
        layout = ObservationLayout(config.observation)
        scale = normalisation_of(
            layout, decision_period_ms=config.game.decision_period_ms, spacing_m=config.line.spacing_m
        )
        return cls(config, layout, NetworkIO(size, scale.mean, scale.std, ACTION_COUNT), size)


def open_data(config: StageConfig, agent: Agent, *, told: Told | None = None) -> RaceCache:
    """Return the dataset as arrays, after decoding it if that was not done yet; both stages share what was decoded.

    Args:
        config: where it is.
        agent: what pictures and floats it wants.
        told: of progress.

    Raises:
        DatasetError: there is none, it cannot be used, or does not fit into memory.
        NotSavedError: the decoded dataset could not be written.
    """
    settings = CacheSettings(
        frame_size=agent.frame_size,
        may_lack=_spared(config),
        observation=agent.config.observation,
        decision_period_ms=agent.config.game.decision_period_ms,
        finished_only=config.finished_only,
    )
    caches = config.preprocess_cache_dir or config.run.folder / "cache"
    cache = prepare_cache(
        config.data_dir,
        caches / cache_name(config.data_dir, settings),
        settings,
        workers=config.cache_build_workers,
        in_ram=config.cache_load_in_ram,
        told=told,
    )
    if np.isnan(cache.floats[:, :1]).all():
        log.warning("no race gives floats: the probes of %s are left out", ", ".join(QUANTITIES))
    return cache


def _spared(config: StageConfig) -> tuple[Literal["floats", "actions"], ...]:
    """Return what a stage can do without: probes measure by it where a race gives it."""
    if isinstance(config, BCConfig):
        return () if config.use_floats else ("floats",)
    return ("floats",) if config.needs_actions else ("floats", "actions")


def check_data(cache: RaceCache, config: StageConfig, agent: Agent) -> None:
    """Raise unless a stage can learn from a dataset.

    Raises:
        InvalidInputError: its pictures have another size, or it has not the floats that are seen.
    """
    height, width = cache.frames.shape[1:]
    if (width, height) != agent.frame_size:
        raise InvalidInputError(
            f"the dataset has pictures of {width}x{height}, the training that the result is for "
            f"sees {agent.frame_size[0]}x{agent.frame_size[1]}",
            hint="Set game.frame_size in the configuration that rl_config_path names, or record the races anew.",
        )
    if isinstance(config, BCConfig) and config.use_floats and cache.floats.shape[1] != agent.layout.size:
        raise InvalidInputError(
            f"use_floats: the dataset has {cache.floats.shape[1]} floats, the training sees {agent.layout.size}",
            hint="Record the races with that observation, or set use_floats: false.",
        )


def interval_of(cache: RaceCache, config: StageConfig) -> int:
    """Return the milliseconds between two pictures of the races that a stage learns from and is measured on.

    Raises:
        InvalidInputError: they are of several frame rates, or there are none on a map.
    """
    maps = cache.maps if config.track_ids is None else config.track_ids
    chosen = cache.races_on({*maps, *(config.val_track_ids or ())})
    first, *others = sorted({cache.races[number].interval_ms for number in chosen})
    if others:
        raise InvalidInputError(
            f"the dataset has pictures every {', '.join(f'{each} ms' for each in (first, *others))}: a stage learns "
            "from one frame rate",
            hint="Choose maps of one frame rate by track_ids and val_track_ids, or record the races anew.",
        )
    return first


def build_stage(config: StageConfig, agent: Agent, *, interval_ms: int) -> Stage:
    """Return a new stage, with weights that its seed gives.

    Raises:
        ConfigError: settings do not fit together.
    """
    network, io = agent.config.network, agent.io
    if not isinstance(config, BCConfig):
        return VisualStage(config, network, io, interval_ms=interval_ms)
    driving = Driving(agent.layout, agent.config.game.decision_period_ms)
    return BCStage(config, network, io, driving, interval_ms=interval_ms)


def load_initial_weights(stage: Stage, config: StageConfig) -> None:
    """Give a stage the weights that its settings name to start from.

    Raises:
        ArtifactError: they cannot be read, or do not fit.
    """
    if not (isinstance(stage, BCStage) and isinstance(config, BCConfig)):
        return
    if config.encoder_init_path is not None:
        artifact = open_artifact(config.encoder_init_path)
        source, parts = str(config.encoder_init_path), _tensors(artifact)
        _tell_differences(artifact.origin, config)
        if PartKey("encoder") not in parts:
            raise ArtifactError(f"encoder_init_path: {source} has no encoder", hint="Name the run of a visual stage.")
        load_encoder(stage.cloner.encoder.encoder, parts[PartKey("encoder")], source)
    if config.bc_resume_run_dir is not None:
        artifact = open_artifact(config.bc_resume_run_dir)
        stage.cloner.load_parts(_tensors(artifact), str(config.bc_resume_run_dir))


def build_loop(
    config: StageConfig, agent: Agent, cache: RaceCache, *, device: torch.device, world: World = ALONE
) -> StageLoop:
    """Return the loop that trains a stage, at its beginning: without the weights that the settings name to start from.

    Raises:
        InvalidInputError: settings and dataset do not fit together.
    """
    check_data(cache, config, agent)
    stage = build_stage(config, agent, interval_ms=interval_of(cache, config))
    data = BatchSource(cache, config, stage.wanted, world=world, pinned=device.type == "cuda")
    if isinstance(stage, BCStage):
        stage.take_prior(data)
    return StageLoop(stage, data, config, device=device, world=world)


def artifact_of(loop: StageLoop, config: StageConfig, agent: Agent, cache: RaceCache, *, best: bool) -> Artifact:
    """Return what the learner takes over, of the best epoch or of the last; the stage then has those weights."""
    epoch = loop.best_epoch if best else loop.epoch
    if best:
        loop.stage.load_state_dict(loop.best_state)
    cloned = isinstance(config, BCConfig)
    floats = config.use_floats if isinstance(config, BCConfig) else False
    task = config.bc_mode if isinstance(config, BCConfig) else "+".join(config.weights)
    origin = Origin(
        stage="bc" if cloned else "visual",
        task=task,
        run=config.run.name,
        frame_size=agent.frame_size,
        frame_stack=1 if config.legacy_last_frame else config.n_stack,
        stack_mode=config.stack_mode,
        frame_normalization=config.image_normalization,
        observation=agent.layout.hash if floats else None,
        decision_period_ms=agent.config.game.decision_period_ms if floats else None,
        data_fingerprint=cache.key or None,
        n_train=len(loop.data.train_rows),
        n_val=len(loop.data.val_rows),
        seed=config.seed,
        epochs_trained=loop.epoch,
        epoch=epoch,
        best_epoch=loop.best_epoch,
        metrics=_finite(loop.history[epoch - 1]),
        settings=config.model_dump(mode="json"),
    )
    parts = {
        key: {name: each.detach().cpu().contiguous() for name, each in named.items()}
        for key, named in loop.stage.artifact_parts().items()
    }
    return Artifact(origin, parts)


def _finite(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: value if value is not None and np.isfinite(value) else None for name, value in figures.items()}


def _tensors(artifact: Artifact) -> dict[PartKey, dict[str, Tensor]]:
    return {
        key: {name: torch.from_numpy(np.asarray(array)) for name, array in named.items()}
        for key, named in artifact.parts.items()
    }


def _tell_differences(origin: Origin, config: BCConfig) -> None:
    """Say where an encoder was trained otherwise than it is used now: allowed, and worth knowing."""
    if origin.frame_normalization not in {None, config.image_normalization}:
        log.warning(
            "the encoder was trained with image_normalization: %s, and is used with %s",
            origin.frame_normalization,
            config.image_normalization,
        )
