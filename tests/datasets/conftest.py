"""Races that were recorded once for all tests of datasets."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmrl_ray.config.dataset import RecordSettings
from tmrl_ray.config.loading import load_config
from tmrl_ray.recording import RecordPlan, entries_of, record_serially

FINISHED, CUT_OFF = "generated-train-00", "loop"


def record(root: Path, tracks: str, *, races: int, overrides: tuple[str, ...] = (), fps: float = 20.0) -> RecordPlan:
    """Record what is missing of some races of the human-like driver, and return the plan."""
    config = load_config(None, ["game.frame_size=[24,16]", *overrides])
    plan = RecordPlan(config, RecordSettings(driver="human", races=races, fps=fps), root, entries_of(tracks))
    for _ in record_serially(plan, plan.jobs()):
        pass
    return plan


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The root of a dataset: two finished races on one map, and one on another that was given up after 1.5 s."""
    root = tmp_path_factory.mktemp("recorded")
    record(root, FINISHED, races=2)
    record(root, CUT_OFF, races=1, overrides=("cut_offs.race_ms=1500", "cut_offs.no_progress_ms=1500"))
    return root
