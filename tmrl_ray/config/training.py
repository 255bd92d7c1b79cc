"""Settings of a run as a whole: what it is called, when it ends, and how often it reports and saves itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt

from tmrl_ray.config.settings import Settings

RunName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class RunSettings(Settings):
    """What a run is called, and where its files are."""

    name: RunName = "run"
    """Its name: that of its folder, and a part of its actors' names."""
    folder: Annotated[Path, Field(validate_default=False)] = Path("runs")
    """Folder of all runs."""


class TrainingSettings(Settings):
    """When a run ends, and how often it tells of itself."""

    seed: NonNegativeInt = 0
    """Of all that is left to chance. In one process the same seed gives the same run, bit for bit."""
    minutes: PositiveFloat | None = None
    """The run ends after this time, start-up and earlier sessions aside; null: when it is stopped."""
    env_steps: PositiveInt | None = None
    """It ends after so many decisions; null: when it is stopped."""
    report_s: PositiveFloat = 30.0
    """Time between two lines of report where no terminal is."""
    metrics_s: PositiveFloat = 5.0
    """Time between two rows of metrics."""
    checkpoint_s: PositiveFloat = 300.0
    """Time between two checkpoints."""
    keep_checkpoints: PositiveInt = 3
    """So many of the newest are kept, and the best one."""
    device: str = "auto"
    """Where the learner computes: cpu, cuda, cuda:1, ... auto: cuda if there is one."""
    threads: PositiveInt | None = None
    """Threads with which the learner computes on the CPU; null: in one process one for each core, on a cluster one for
    each core that it reserves, of which there is one: the others are for collectors."""
