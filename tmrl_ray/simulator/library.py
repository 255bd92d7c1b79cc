"""Tracks by name: those that ship with the package, generated ones, and track files.

``tracks/*.yaml`` are track files; ``tracks/generated.yaml`` names the generated tracks, 40 for training and 10 held
out, by seed, length and difficulty. Loaded tracks are kept in memory.
"""

from __future__ import annotations

from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from tmrl_ray.config.yaml_text import parse_yaml
from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.generator import generate
from tmrl_ray.simulator.line_track import lay_line, read_line
from tmrl_ray.simulator.segment_track import lay_segments
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.track_builder import Layout, build_track
from tmrl_ray.simulator.track_file import TrackSpec
from tmrl_ray.simulator.track_source import read_track_file
from tmrl_ray.simulator.validate import validate

TRACKS = Path(__file__).parent / "tracks"
RECIPES = TRACKS / "generated.yaml"
ENDINGS = (".yaml", ".yml")


class Recipe(NamedTuple):
    """What a generated track is made from."""

    seed: int
    length_m: float
    difficulty: float


@lru_cache(maxsize=32)
def load_track(name: str) -> Track:
    """Return a track by its name, or by the path of a track file.

    Args:
        name: one of :func:`track_names`, or a path that ends in .yaml.

    Raises:
        TrackError: there is no such track, or it cannot be built or driven.
    """
    if name.endswith(ENDINGS):
        path = Path(name)
        return build(read_track_file(path), path.parent)
    if name in _recipes():
        return build(generated_spec(name), TRACKS)
    if name in _shipped():
        return build(read_track_file(TRACKS / f"{name}.yaml"), TRACKS)
    raise TrackError(
        f"there is no track {name!r}; shipped: {', '.join(_shipped())}, and generated-train-00 .. -39, "
        "generated-held-out-00 .. -09",
        hint="To load a track file, give its path with the ending .yaml.",
    )


def build(spec: TrackSpec, folder: Path) -> Track:
    """Build and check the track that a specification describes; paths in it are relative to ``folder``.

    Raises:
        TrackError: it cannot be built or driven.
    """
    layout = lay_out(spec, folder)
    track = build_track(layout)
    validate(track, layout)
    return track


def lay_out(spec: TrackSpec, folder: Path) -> Layout:
    """Return the layout that a specification asks for, before any triangle is made.

    Raises:
        TrackError: it contradicts itself, or its line cannot be read.
    """
    return lay_segments(spec) if spec.line is None else lay_line(spec, read_line(folder / spec.line.file))


def generated_spec(name: str) -> TrackSpec:
    """Return the specification of a generated track that has a name."""
    return generate(*_recipes()[name], name=name)


def track_names() -> list[str]:
    """Return the names of all tracks: the shipped ones, then the generated ones."""
    return [*_shipped(), *training_tracks(), *held_out_tracks()]


def training_tracks() -> tuple[str, ...]:
    """Return the names of the 40 generated tracks that are meant for training."""
    return tuple(name for name in _recipes() if "-train-" in name)


def held_out_tracks() -> tuple[str, ...]:
    """Return the names of the 10 generated tracks that no training may see."""
    return tuple(name for name in _recipes() if "-held-out-" in name)


@cache
def _shipped() -> tuple[str, ...]:
    return tuple(sorted(path.stem for path in TRACKS.glob("*.yaml") if path != RECIPES))


@cache
def _recipes() -> dict[str, Recipe]:
    sets = parse_yaml(RECIPES.read_text(encoding="utf-8"), str(RECIPES)).value
    return {
        f"generated-{kind}-{k:02d}": Recipe(*recipe)
        for kind, recipes in sets.items()
        for k, recipe in enumerate(recipes)
    }
