"""Tracks by name: those that ship with the package, generated ones, and track files."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import yaml

from tmrl_ray.simulator.segment_track import lay_segments
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.track_builder import build_track
from tmrl_ray.simulator.track_file import TrackSpec

TRACKS = Path(__file__).parent / "tracks"


@lru_cache(maxsize=32)
def load_track(name: str) -> Track:
    """Return a track by its name, or by the path of a track file."""
    path = TRACKS / f"{name}.yaml"
    return build_track(lay_segments(TrackSpec.model_validate(yaml.safe_load(path.read_text()))))
