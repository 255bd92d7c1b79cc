"""The experiments by name: their settings, what they differ in, and what they need of each other.

::

    <folder>/
      index.yaml            what each tests, and what it needs
      <stage>/<name>.yaml   the settings of the experiment <stage>/<name>: vis, bc or rl
      <scale>/<stage>/<name>.yaml   laid over that file, for it and for all that is based on it, to run them at another
                            size: what they differ in comes on top
      <scale>/races.yaml    the races that are recorded for it
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import Field, PositiveInt, ValidationError

from tmrl_ray.config.dataset import PictureRate
from tmrl_ray.config.loading import load_settings
from tmrl_ray.config.pretrain import BCConfig, StageConfig, VisualConfig
from tmrl_ray.config.run import RunConfig
from tmrl_ray.config.settings import Settings
from tmrl_ray.config.yaml_text import parse_yaml
from tmrl_ray.errors import ConfigError

INDEX, RACES = "index.yaml", "races.yaml"
S = TypeVar("S", bound=Settings)

STAGES: Mapping[str, type[StageConfig] | type[RunConfig]] = {"vis": VisualConfig, "bc": BCConfig, "rl": RunConfig}
NAMES = "run"
"""The group of settings that says what a run is called: no difference between experiments."""


class Entry(Settings):
    """What the index says of an experiment; None: as with the one that it is based on."""

    tests: str
    """What it tests, in one line."""
    races: str | None = None
    """Name of the dataset that it learns from."""
    needs: dict[str, str] | None = None
    """Setting: the experiment whose run is put there."""
    continues: str | None = None
    """The experiment from whose last state it goes on."""
    legacy: dict[str, Any] | None = None
    """Setting: value that repeats a defect of the source's tools."""


class Races(Settings):
    """A dataset that is recorded in the simulator by a person-like driver."""

    tracks: str = Field(min_length=1)
    """Those that are learned from, as ``tmrl-ray record --tracks`` takes them."""
    held_out: str = Field(min_length=1)
    """Those that are only measured on."""
    races: PositiveInt
    """On each."""
    fps: PictureRate
    """Pictures per second of race time."""


@dataclass(frozen=True)
class Experiment:
    """One experiment, with what it has from those that it is based on."""

    name: str
    """``<stage>/<name>``."""
    tests: str
    base: str | None
    """The experiment on which its file is based; None: on none of them."""
    races: str | None
    needs: Mapping[str, str]
    continues: str | None
    legacy: Mapping[str, Any]

    @property
    def stage(self) -> str:
        """vis, bc or rl."""
        return stage_of(self.name)


class Catalogue:
    """The experiments of a folder.

    Args:
        folder: see the module.

    Raises:
        ConfigError: there is no index, or it is wrong.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._entries = {name: _read(Entry, value, folder / INDEX) for name, value in _mapping(folder / INDEX).items()}
        self.experiments: dict[str, Experiment] = {}
        """By name, in the order of the index."""
        for name in self._entries:
            self._add(name, ())

    def experiment(self, name: str) -> Experiment:
        """Return the experiment of a name.

        Raises:
            ConfigError: there is none.
        """
        if name not in self.experiments:
            raise ConfigError(f"there is no experiment {name!r}", hint="List them: tmrl-ray experiment list")
        return self.experiments[name]

    def file(self, name: str) -> Path:
        """Return the file with an experiment's settings."""
        return self.folder / f"{name}.yaml"

    def base_file(self, name: str) -> Path | None:
        """Return the file on which that of an experiment is based; None: it stands on the defaults."""
        base = _mapping(self.file(name)).get("base")
        return None if base is None else self.file(name).parent / base

    def overlays(self, scale: str | None) -> dict[Path, Path]:
        """Return what is laid over the files of this folder at a scale.

        Raises:
            ConfigError: there is no such scale.
        """
        if scale is None:
            return {}
        root = self.folder / scale
        if not (root / RACES).is_file():
            known = sorted(path.parent.name for path in self.folder.glob(f"*/{RACES}"))
            raise ConfigError(f"there is no scale {scale!r} in {self.folder}, only {', '.join(known) or 'none'}")
        return {(self.folder / path.relative_to(root)).resolve(): path for path in sorted(root.glob("*/*.yaml"))}

    def config(self, name: str, scale: str | None = None, changes: Sequence[str] = ()) -> StageConfig | RunConfig:
        """Return the settings of an experiment, without what it needs of others.

        Args:
            name: of the experiment.
            scale: at which it is run; None: that of the source.
            changes: ``key.sub=value``.

        Raises:
            ConfigError: with everything that is wrong.
        """
        return self.load(self.file(name), scale, changes)

    def load(self, file: Path, scale: str | None, changes: Sequence[str] = ()) -> StageConfig | RunConfig:
        """Return the settings of a file of this folder, as :meth:`config` does."""
        name = self.name_of(file)
        return load_settings(STAGES[stage_of(name)], file, changes, overlays=self.overlays(scale))

    def name_of(self, file: Path) -> str:
        """Return the name that an experiment of this file has or would have.

        Raises:
            ConfigError: the file is none of this folder.
        """
        try:
            name = file.resolve().relative_to(self.folder.resolve()).with_suffix("").as_posix()
        except ValueError as error:
            raise ConfigError(f"{file} is not in {self.folder}") from error
        if stage_of(name) not in STAGES:
            raise ConfigError(f"{file} is of no stage: they are {', '.join(STAGES)}")
        return name

    def recording(self, name: str, scale: str) -> Races:
        """Return how a dataset is recorded at a scale.

        Raises:
            ConfigError: the scale has none of that name.
        """
        file = self.folder / scale / RACES
        values = _mapping(file)
        if name not in values:
            raise ConfigError(f"{file} has no races {name!r}, only {', '.join(values)}")
        return _read(Races, values[name], file)

    def differences(self, name: str, scale: str | None = None) -> dict[str, tuple[Any, Any]]:
        """Return each setting that an experiment's file changes of what it is based on: before and after."""
        overlays, model = self.overlays(scale), STAGES[stage_of(name)]
        before = load_settings(model, self.base_file(name), overlays=overlays)
        return differences(before, load_settings(model, self.file(name), overlays=overlays))

    def _add(self, name: str, above: tuple[str, ...]) -> Experiment:
        if name in self.experiments:
            return self.experiments[name]
        if name not in self._entries or name in above:
            raise ConfigError(f"{self.folder / INDEX}: {above[-1]} needs {name!r}, which is not there or needs it too")
        entry, base_file = self._entries[name], self.base_file(name)
        inside = base_file is not None and base_file.resolve().is_relative_to(self.folder.resolve())
        base_name = self.name_of(base_file) if base_file is not None and inside else None
        base = self._add(base_name, (*above, name)) if base_name in self._entries and base_name else None
        given = entry.model_dump(exclude_none=True)
        inherited = {} if base is None else {"races": base.races, "needs": base.needs, "legacy": base.legacy}
        whole = {"races": None, "needs": {}, "continues": None, "legacy": {}, **inherited, **given}
        found = Experiment(name=name, base=None if base is None else base.name, **whole)
        for other in {*found.needs.values(), *filter(None, [found.continues])}:
            self._add(other, (*above, name))
        self.experiments[name] = found
        return found


def stage_of(name: str) -> str:
    """Return the stage of an experiment's name."""
    return name.partition("/")[0]


def differences(before: Settings, after: Settings) -> dict[str, tuple[Any, Any]]:
    """Return each setting in which two differ, by its keys joined with dots; not what the runs are called."""
    found: dict[str, tuple[Any, Any]] = {}

    def compare(one: Any, other: Any, path: str) -> None:
        if isinstance(one, dict) and isinstance(other, dict):
            for key in dict.fromkeys([*one, *other]):
                compare(one.get(key), other.get(key), f"{path}.{key}" if path else key)
        elif one != other:
            found[path] = (one, other)

    compare(before.model_dump(mode="json", exclude={NAMES}), after.model_dump(mode="json", exclude={NAMES}), "")
    return found


def _mapping(file: Path) -> dict[str, Any]:
    try:
        value = parse_yaml(file.read_text(encoding="utf-8"), str(file)).value
    except OSError as error:
        raise ConfigError(
            f"{file} cannot be read: {error.strerror}",
            hint="Experiments are files of the repository: type the command there, or name them with --folder.",
        ) from error
    if not isinstance(value, dict):
        raise ConfigError(f"{file} must be a mapping")
    return value


def _read(model: type[S], value: Any, file: Path) -> S:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise ConfigError(f"{file}: {told}") from error
