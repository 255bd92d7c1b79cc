"""An arm: an experiment at a scale, with one seed, perhaps with changes; and the commands that its result takes.

Each arm has a folder of its own, so that results are kept and what was interrupted is gone on with::

    <results>/<scale>/<experiment>[+legacy][+<label>]/seed-<seed>/

Before a command is run its settings are written beside that folder. Nothing is run in this process: the commands are
those that a person would type.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from tmrl_ray.config.loading import load_settings, to_yaml
from tmrl_ray.config.pretrain import StageConfig
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import ConfigError, RunError
from tmrl_ray.experiments.catalogue import Catalogue, differences
from tmrl_ray.runs.disk import Disk, replace_file
from tmrl_ray.runs.run_files import CONFIG_FILE, LOCK_FILE, RunStatus

SOURCE_SCALE = "source"
"""Name of the folder of results that were not scaled."""
RESULTS, RACES = Path("runs/experiments"), Path("data/experiments")
COMMANDS = {"vis": ("pretrain", "visual"), "bc": ("pretrain", "bc"), "rl": ("train",)}
_SEED = {"vis": "seed", "bc": "seed", "rl": "training.seed"}


@dataclass(frozen=True)
class Arm:
    """What is run."""

    experiment: str
    seed: int
    legacy: bool = False
    """With the defects of the source's tools, in what it needs of others too."""
    label: str | None = None
    """Tells it from the experiment as it is, when there are changes."""
    changes: tuple[str, ...] = ()
    """``key.sub=value``."""
    races: str | None = None
    """Name of the dataset that it learns from in place of the experiment's; what it needs of others does not."""

    def __post_init__(self) -> None:
        if bool(self.changes or self.races) != (self.label is not None):
            raise ConfigError(
                f"{self.experiment}: changed settings need a label and a label changed settings",
                hint="Keep its results apart from those of the experiment: --label NAME [--races NAME] KEY=VALUE ...",
            )

    @property
    def name(self) -> str:
        """Experiment and what is changed of it, without the seed."""
        legacy = "+legacy" if self.legacy else ""
        return f"{self.experiment}{legacy}{f'+{self.label}' if self.label else ''}"


@dataclass(frozen=True)
class Step:
    """A command of ``tmrl-ray`` that is still to be run."""

    what: str
    """The arm or the dataset that it makes."""
    words: tuple[str, ...]
    """Its arguments."""
    arm: Arm | None
    """None: races are recorded."""


class Workshop:
    """Where experiments are run at one scale.

    Args:
        catalogue: the experiments.
        scale: their size; None: the source's.
        results: folder of all results.
        races: folder of all datasets.
        where: the options of a command that say where it runs.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        scale: str | None,
        *,
        results: Path = RESULTS,
        races: Path = RACES,
        where: tuple[str, ...] = ("--serial",),
    ) -> None:
        catalogue.overlays(scale)
        self.catalogue = catalogue
        self.scale = scale
        self.results = results / (scale or SOURCE_SCALE)
        self.races = races / (scale or SOURCE_SCALE)
        self._where = where

    def folder(self, arm: Arm) -> Path:
        """Return the folder of an arm's run."""
        return self.results / self._known(arm).name / f"seed-{arm.seed}"

    def config(self, arm: Arm) -> StageConfig | RunConfig:
        """Return the whole settings of an arm.

        Raises:
            ConfigError: with everything that is wrong.
        """
        arm = self._known(arm)
        experiment, folder = self.catalogue.experiment(arm.experiment), self.folder(arm)
        given = [f"run.folder={folder.parent}", f"run.name={folder.name}", f"{_SEED[experiment.stage]}={arm.seed}"]
        given += [f"{setting}={self.folder(self._needed(arm, other))}" for setting, other in experiment.needs.items()]
        plain = self.catalogue.config(arm.experiment, self.scale)
        if not isinstance(plain, RunConfig):
            given += self._data(arm, plain)
        elif arm.races is not None:
            raise ConfigError(f"{arm.experiment} learns from no races, so that it cannot learn from {arm.races}")
        if arm.legacy:
            given += [f"{setting}={_yaml(value)}" for setting, value in experiment.legacy.items()]
        return self.catalogue.config(arm.experiment, self.scale, [*given, *arm.changes])

    def is_done(self, arm: Arm) -> bool:
        """Return whether an arm was run to its end."""
        folder = self.folder(arm)
        return folder.is_dir() and RunStatus.read(folder).ended == "finished"

    def steps(self, arm: Arm) -> list[Step]:
        """Return the commands that are still to be run for an arm, in their order; the last is its own.

        Raises:
            ConfigError: its settings are wrong.
            RunError: it was begun with other settings.
        """
        steps: dict[str, Step] = {}
        for each in self._with_all_it_needs(self._known(arm)):
            self._check_settings(each)
            if self.is_done(each):
                continue
            recording = self._recording(each)
            if recording is not None:
                steps.setdefault(recording.what, recording)
            steps.setdefault(
                f"{each.name} {each.seed}", Step(f"{each.name}, seed {each.seed}", self._words(each), each)
            )
        return list(steps.values())

    def prepare(self, arm: Arm) -> None:
        """Write what an arm's command reads: its settings, those of its agent, and the run that it goes on with.

        Raises:
            OSError: it cannot be written.
        """
        arm = self._known(arm)
        config, folder = self.config(arm), self.folder(arm)
        folder.parent.mkdir(parents=True, exist_ok=True)
        _write(_beside(folder), to_yaml(config))
        plain = self.catalogue.config(arm.experiment, self.scale)
        agent = None if isinstance(plain, RunConfig) else self._agent(plain)
        if agent is not None:
            source, target = agent
            target.parent.mkdir(parents=True, exist_ok=True)
            _write(target, to_yaml(self.catalogue.load(source, self.scale)))
        former = self.catalogue.experiment(arm.experiment).continues
        if former is not None and not folder.exists():
            made = folder.with_name(f".partial-{folder.name}")
            shutil.rmtree(made, ignore_errors=True)
            shutil.copytree(self.folder(self._needed(arm, former)), made, ignore=shutil.ignore_patterns(LOCK_FILE))
            _write(made / CONFIG_FILE, to_yaml(config))
            replace(RunStatus.read(made), ended=None).write(made, Disk())
            made.rename(folder)

    def _known(self, arm: Arm) -> Arm:
        """Return the arm without ``legacy`` where that changes nothing."""
        return replace(arm, legacy=arm.legacy and self._has_legacy(arm.experiment))

    def _has_legacy(self, name: str) -> bool:
        experiment = self.catalogue.experiment(name)
        others = {*experiment.needs.values(), *filter(None, [experiment.continues])}
        return bool(experiment.legacy) or any(self._has_legacy(other) for other in others)

    def _needed(self, arm: Arm, name: str) -> Arm:
        return self._known(Arm(name, arm.seed, arm.legacy))

    def _with_all_it_needs(self, arm: Arm) -> Iterator[Arm]:
        experiment = self.catalogue.experiment(arm.experiment)
        if self.is_done(arm):
            yield arm
            return
        changed = {change.partition("=")[0] for change in arm.changes}
        needs = [other for setting, other in experiment.needs.items() if setting not in changed]
        for other in dict.fromkeys([*needs, *filter(None, [experiment.continues])]):
            yield from self._with_all_it_needs(self._needed(arm, other))
        yield arm

    def _words(self, arm: Arm) -> tuple[str, ...]:
        experiment, folder = self.catalogue.experiment(arm.experiment), self.folder(arm)
        command = (*COMMANDS[experiment.stage], "-c", str(_beside(folder)), *self._where)
        return (*command, "--resume") if folder.is_dir() or experiment.continues is not None else command

    def _check_settings(self, arm: Arm) -> None:
        """Raise where an arm was begun with other settings than it has now."""
        folder, config = self.folder(arm), self.config(arm)
        if not (folder / CONFIG_FILE).is_file():
            return
        changed = differences(load_settings(type(config), folder / CONFIG_FILE), config)
        if changed:
            told = ", ".join(f"{name} was {before}, is {now}" for name, (before, now) in changed.items())
            raise RunError(
                f"{folder} was begun with other settings: {told}",
                hint="Move that folder away to run it anew, or give the changed settings a label.",
            )

    def _dataset(self, arm: Arm) -> str | None:
        """Return the name of the dataset that an arm learns from; None: it drives itself."""
        return arm.races or self.catalogue.experiment(arm.experiment).races

    def _data(self, arm: Arm, config: StageConfig) -> Iterator[str]:
        """Yield the settings that say where a stage's races are, and what its result is for."""
        races = self._dataset(arm)
        assert races is not None
        yield f"data_dir={self.races / races}"
        yield f"preprocess_cache_dir={self.results / 'cache' / races}"
        if self.scale is not None and config.track_ids is None:
            held_out = self.catalogue.recording(races, self.scale).held_out
            yield f"val_track_ids=[{', '.join(_tracks(held_out))}]"
        agent = self._agent(config)
        if agent is not None:
            yield f"rl_config_path={agent[1]}"

    def _agent(self, config: StageConfig) -> tuple[Path, Path] | None:
        """Return the file with the training that a stage is for, and the one with what that is at this scale."""
        path = config.rl_config_path
        if path is None or self.scale is None:
            return None
        source = self.catalogue.folder / path.parent.name / path.name
        return source, self.results / "agents" / path.name

    def _recording(self, arm: Arm) -> Step | None:
        """Return the command that records the races of an arm; None: they are there."""
        races = self._dataset(arm)
        if races is None:
            return None
        root = self.races / races
        if self.scale is None:
            if root.is_dir():
                return None
            raise ConfigError(
                f"{arm.experiment} learns from the races in {root}, and there is no such folder",
                hint="At the source's size they are recordings of the real game: tmrl-ray record --driver replay, or "
                "see --scale simulator.",
            )
        wanted = self.catalogue.recording(races, self.scale)
        tracks = f"{wanted.tracks},{wanted.held_out}"
        if all(_count(root / track) >= wanted.races for track in _tracks(tracks)):
            return None
        options = {"--tracks": tracks, "--races": wanted.races, "--fps": wanted.fps, "--out": root}
        given = tuple(str(word) for option in options.items() for word in option)
        return Step(f"the races {root}", ("record", *given, *self._where), None)


@cache
def _tracks(names: str) -> tuple[str, ...]:
    from tmrl_ray.recording import entries_of

    return tuple(entry.name for entry in entries_of(names))


def _count(folder: Path) -> int:
    """Return how many races were recorded to their end."""
    return sum(race.is_dir() and not race.name.startswith(".") for race in folder.iterdir()) if folder.is_dir() else 0


def _beside(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.yaml")


def _write(path: Path, text: str) -> None:
    replace_file(Disk(), path, text.encode())


def _yaml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
