"""Results as runs leave them, without running anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tmrl_ray.config.loading import to_yaml
from tmrl_ray.experiments.arms import Arm, Workshop
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import Disk
from tmrl_ray.runs.json_sink import JsonLinesSink
from tmrl_ray.runs.recorder import Row
from tmrl_ray.runs.run_files import CONFIG_FILE, Ended, RunStatus


def keep(workshop: Workshop, arm: Arm, *, ended: Ended | None = "finished") -> Path:
    """Make the folder of an arm that was run, and return it."""
    folder = workshop.folder(arm)
    folder.mkdir(parents=True)
    (folder / CONFIG_FILE).write_text(to_yaml(workshop.config(arm)))
    RunStatus(ended=ended).write(folder, Disk())
    return folder


RACES = {
    "best": [
        {"map": "generated-train-00", "races": 4, "finished": 1, "furthest": 0.75},
        {"map": "generated-held-out-00", "races": 4, "finished": 3, "furthest": 0.5},
        {"map": "generated-held-out-01", "races": 4, "finished": 0, "furthest": 0.0},
    ]
}
"""In closed loop."""


def keep_stage(
    workshop: Workshop,
    arm: Arm,
    *,
    best_epoch: int = 3,
    maps: Mapping[str, Mapping[str, float | None]] | None = None,
    **figures: tuple[float, float],
) -> None:
    """Keep the result of a stage: the figures of its best and of its last epoch, and by map the best ones."""
    told = {which: {name: values[at] for name, values in figures.items()} for at, which in enumerate(("best", "last"))}
    result = {"best_epoch": best_epoch, "figures": told, "maps": {"best": dict(maps or {})}, "races": RACES}
    (keep(workshop, arm) / "result.json").write_text(json.dumps(result))


def keep_training(workshop: Workshop, arm: Arm, rows: list[Mapping[str, float]]) -> None:
    """Keep the metrics of a training."""
    sink = JsonLinesSink(keep(workshop, arm) / "metrics.jsonl")
    for number, values in enumerate(rows, start=1):
        sink.write(Row(Clocks(env_steps=number), 0.0, values))
