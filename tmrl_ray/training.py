"""What a training run is made of, worked out from its configuration: the same for one process and for a cluster."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from actors.buffer_rings import BufferSetup, base_of_rings
from actors.courses import Course, Driving
from actors.game_keeper import GameKeeper, InProcessGame
from actors.td_errors import OneStepTdErrors
from learner.pretrained import Injection
from learner.update import LearnerUpdate
from tmrl_ray.config.loading import config_hash
from tmrl_ray.config.race import MapEntry
from tmrl_ray.config.run import RunConfig
from tmrl_ray.datasets.demonstrations import DemonstrationReader
from tmrl_ray.datasets.folder import find_races, read_race
from tmrl_ray.errors import ConfigError, DatasetError
from tmrl_ray.experience.batch_builder import BatchBuilder, BatchRecipe
from tmrl_ray.experience.chunk import Chunk, ChunkFormat
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.columns import Layout
from tmrl_ray.experience.memory import SHARED_MEMORY, choose_base
from tmrl_ray.experience.minirace import MiniRace
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.transitions import TransitionRules
from tmrl_ray.game.interface import Game
from tmrl_ray.game.supervisor import GameSupervisor
from tmrl_ray.iqn.network import IQN, NetworkIO, build_network
from tmrl_ray.iqn.policy import IQNPolicy
from tmrl_ray.racing.actions import ACTION_COUNT
from tmrl_ray.racing.drivers import pursuit_times_s
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import line_of_track, load_line
from tmrl_ray.service import load_tuning, source_of
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.look import random_look


@dataclass(frozen=True, eq=False)
class Training:
    """What all parts of one training run agree on; ``of`` works it out."""

    config: RunConfig
    observation: ObservationLayout
    """Which floats are seen."""
    io: NetworkIO
    """What goes into the network, and comes out of it."""
    format: ChunkFormat
    """Of the experience."""
    courses: tuple[Course, ...]
    """What is driven, in turn."""
    rules: TransitionRules
    """How far transitions go."""

    @classmethod
    def of(cls, config: RunConfig) -> Training:
        """Return what a configuration asks for.

        Raises:
            InvalidInputError: parts of the configuration do not fit together, or a track or line is not there.
        """
        observation = ObservationLayout(config.observation)
        scale = normalisation_of(
            observation, decision_period_ms=config.game.decision_period_ms, spacing_m=config.line.spacing_m
        )
        size = config.game.frame_size
        if size is not None and not config.game.grey:
            raise ConfigError("game.grey is false, the agent sees grey pictures only", hint="Set game.grey: true")
        layout = Layout.of(None if size is None else (size[1], size[0]), observation)
        replay = config.replay
        mini_race = replay.mini_race
        return cls(
            config,
            observation,
            NetworkIO(size, scale.mean, scale.std, ACTION_COUNT),
            ChunkFormat(layout, history=config.network.frame_stack - 1, look_ahead=replay.n_steps),
            tuple(course_of(entry, config) for entry in config.maps),
            TransitionRules(
                replay.n_steps,
                replay.cut_at_exploration,
                None
                if mini_race is None
                else MiniRace.of(
                    mini_race,
                    mini_race_ms=config.observation.mini_race_ms,
                    decision_period_ms=config.game.decision_period_ms,
                ),
                replay.cut_off_ends,
            ),
        )

    @property
    def hashes(self) -> dict[str, str]:
        """What a checkpoint must agree with: without it the state means nothing."""
        network = hashlib.sha256(f"{config_hash(self.config.network)} {self.io.frame_size} {ACTION_COUNT}".encode())
        return {"network": network.hexdigest(), "layout": self.format.layout.hash}

    @property
    def references_s(self) -> dict[str, dict[str, float]]:
        """Times by which races on each map are measured: the configuration's, and the pursuit driver's on tracks."""
        times_s = pursuit_times_s()
        references_s: dict[str, dict[str, float]] = {}
        for entry in self.config.maps:
            known = {"pursuit": times_s[entry.map]} if entry.map in times_s else {}
            if found := known | entry.references_s:
                references_s.setdefault(entry.name, {}).update(found)
        return references_s

    def buffer_setup(self, run: str, directory: Path, *, check: bool = True) -> BufferSetup:
        """Return what the replay buffer of a run is made with.

        Args:
            run: name of the run, that no other ever has.
            directory: of the run's files.
            check: see where the run has its experience; where it has none, see that there is room for it, and take the
                disk where shared memory is short.

        Raises:
            InvalidInputError: the experience does not fit into memory.
        """
        learner = self.config.learner
        (seed,) = _seeds(self.config.training.seed, 1, of="draws")
        setup = BufferSetup(
            run=run,
            settings=self.config.replay,
            format=self.format,
            ring_base=SHARED_MEMORY,
            directory=directory / "replay",
            seed=seed,
            max_draw=learner.batch_size * learner.draw_batches,
        )
        if not check:
            return setup
        disk = directory / "rings"
        base = base_of_rings(run, setup.directory, (SHARED_MEMORY, disk))
        return replace(setup, ring_base=base or choose_base(setup.memory_bill(), disk=disk, shared=SHARED_MEMORY))

    def game_keeper(self, collector: int | None = None, *, races: int = 0) -> GameKeeper:
        """Return who brings a game: a simulated one in this process, or the one that the configuration names.

        Args:
            collector: number of the collector that it is for; None: it is for the evaluator.
            races: that were driven before, so that the looks of the simulator go on.
        """
        config, connection = self.config, self.config.connection
        if connection is None:
            tuning, seed = load_tuning(config.simulator.tuning), config.simulator.look_seed

            def prepare(game: Game, race: int) -> None:
                if seed is not None and isinstance(game, EmbeddedGame):
                    game.look = random_look(seed + races + race)

            return InProcessGame(lambda: EmbeddedGame(config.game, tuning=tuning), prepare)
        source = source_of(connection, 0 if collector is None else 1 + collector)
        return GameSupervisor(source, config.game, patience=connection.patience, player=connection.player)

    def policy(
        self, seed: int, *, draw_quantiles: bool = True, device: torch.device | Literal["cpu"] = "cpu"
    ) -> IQNPolicy:
        """Return a policy, with weights that nobody trained yet."""
        return IQNPolicy(self.config.network, self.io, seed=seed, draw_quantiles=draw_quantiles, device=device)

    def driving(self, device: torch.device | Literal["cpu"] = "cpu") -> Driving:
        """Return what collectors drive, and where they work out their decisions."""
        priorities, policy, td_errors = self.config.replay.priorities, partial(self.policy, device=device), None
        if priorities is not None and priorities.new_rows == "td_error":
            td_errors = OneStepTdErrors(self.config.reward, self.config.learner.discount.at(0))
        return Driving(self.courses, self.observation, self.config.cut_offs, policy, self.format, td_errors)

    def update(self, device: torch.device, *, new: bool, announced: Path | None = None) -> LearnerUpdate:
        """Return what learns from batches, with a new network.

        Args:
            device: where to compute.
            new: begin with pretrained weights, if the configuration has any. False: a checkpoint is loaded into it,
                and pretrained weights are not even looked at.
            announced: the artifact that was waited for.

        Raises:
            ArtifactError: the pretrained weights do not fit.
        """
        network_seed, update_seed = _seeds(self.config.training.seed, 2, of="learner")
        network = build_network(self.config.network, self.io, seed=network_seed)
        update = LearnerUpdate(network, self.config.learner, seed=update_seed, device=device)
        injection = self.injection(update.online, announced) if new else None
        if injection is not None:
            update.take_over(injection)
        return update

    def injection(self, network: IQN, announced: Path | None = None) -> Injection | None:
        """Return what a network takes over from pretraining; None: nothing, or it is not there yet.

        Raises:
            ArtifactError: an artifact cannot be read, or does not fit; with every name and shape.
            ConfigError: it does not have what the configuration asks for.
        """
        pretrained = self.config.learner.pretrained
        if pretrained is None or not (announced or pretrained.artifact or pretrained.single_parts):
            return None
        return Injection.plan(
            network,
            pretrained,
            decision_period_ms=self.config.game.decision_period_ms,
            observation=self.observation.hash,
            announced=announced,
        )

    def check_pretrained(self, announced: Path | None = None) -> None:
        """See that pretrained weights fit, before anything is begun; ``announced``: those of this artifact.

        Raises:
            ArtifactError: they do not.
            ConfigError: they do not have what the configuration asks for.
        """
        self.injection(build_network(self.config.network, self.io, seed=0), announced)

    def demonstrations(self, enlist: Callable[[int], int], *, begun: int = 0) -> Iterator[Chunk]:
        """Yield the recorded races of the configuration's dataset, those on the maps of the run, as chunks.

        Args:
            enlist: returns the incarnation with which chunks of an expert are numbered; each race is one.
            begun: of so many experts there are chunks already: the last of these comes again, as it may lack some.

        Raises:
            DatasetError: there are no races on these maps, or one cannot be used.
        """
        settings, game = self.config.replay.demonstrations, self.config.game
        if settings is None or settings.dataset is None:
            return
        readers = {
            course.entry.name: DemonstrationReader(
                course.line, self.observation, period_ms=game.decision_period_ms, frame_size=game.frame_size
            )
            for course in self.courses
        }
        folders = [folder for folder in find_races(settings.dataset) if folder.parent.name in readers]
        if not folders:
            raise DatasetError(
                f"{settings.dataset}: no race on {', '.join(readers)}",
                hint="Record some: tmrl-ray record --help; or unset replay.demonstrations.dataset.",
            )
        first = max(0, begun - 1)
        for number, folder in enumerate(folders[first:], first):
            race = read_race(folder)
            yield from readers[race.facts.map].chunks(race, ChunkBuilder(self.format, number, enlist(number)))

    def pictures_on(self, device: torch.device) -> torch.device | None:
        """Return on which device pictures stay if a learner computes on ``device``; None: they do not.

        Raises:
            ConfigError: they are to, and it is no GPU.
        """
        if not self.config.learner.pictures_on_device:
            return None
        if device.type != "cuda":
            raise ConfigError(
                f"learner.pictures_on_device is for a learner on a GPU, this one computes on {device}",
                hint="Leave it out, or set training.device to a GPU.",
            )
        return device

    def batches(self, experience: RingReader, demonstrations: RingReader | None, device: torch.device) -> BatchBuilder:
        """Return what builds batches of the rows of these rings.

        Raises:
            ConfigError: pictures are to stay on a GPU, and ``device`` is none.
        """
        replay = self.config.replay
        recipe = BatchRecipe(
            self.config.learner.batch_size,
            self.observation,
            self.config.network.frame_stack,
            self.rules,
            replay.shaping,
            replay.augmentation,
        )
        (seed,) = _seeds(self.config.training.seed, 1, of="batches")
        pinned, pictures_on = device.type == "cuda", self.pictures_on(device)
        return BatchBuilder(recipe, experience, demonstrations, seed=seed, pinned=pinned, pictures_on=pictures_on)


def course_of(entry: MapEntry, config: RunConfig) -> Course:
    """Return a map of the configuration with its reference line.

    Raises:
        InvalidInputError: there is no such track, or no such line.
        ConfigError: the map is of another game, and has no line.
    """
    if entry.line is not None:
        return Course(entry, load_line(entry.line, settings=config.line))
    if config.connection is not None and config.connection.launch is None and Path(entry.map).suffix == ".Gbx":
        raise ConfigError(
            f"maps: {entry.name} has no reference line",
            hint="Give one: line: FILE.npy",
        )
    return Course(entry, line_of_track(load_track(entry.map), config.line))


def device_of(name: str, *, setting: str = "training.device") -> torch.device:
    """Return the device that a setting names; auto: a CUDA device if there is one.

    Raises:
        ConfigError: there is no such device.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(
            f"{setting}: {name} cannot be used here: {error}", hint="Use auto, cpu, or cuda where there is one."
        ) from error
    return device


def _seeds(run_seed: int, count: int, *, of: str) -> list[int]:
    """Return seeds that no other part of the run has."""
    words = (run_seed, *of.encode())
    return [int(word) for word in np.random.SeedSequence(words).generate_state(count)]
