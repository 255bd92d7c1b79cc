"""Settings that change while a run goes on; all others belong to what was learned, or to actors that are up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from tmrl_ray.errors import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    from tmrl_ray.config.run import RunConfig

LIVE: Mapping[str, str] = {
    "replay.samples_per_insert": "how often a row is drawn on average; null: no limit",
    "collector.count": "how many collectors drive; the same as tmrl-ray scale",
    "evaluation.every_s": "time between two evaluations",
    "evaluation.races": "races of an evaluation on each map",
    "training.minutes": "when the run ends; null: when it is stopped",
    "training.env_steps": "after how many decisions it ends",
    "training.checkpoint_s": "time between two checkpoints",
    "training.metrics_s": "time between two rows of metrics",
}
"""What can change, and what it means. The last word of each is enough."""


def changed(file: Path, assignments: Sequence[str]) -> RunConfig:
    """Return the configuration in ``file`` with some live settings changed.

    Args:
        file: of a run.
        assignments: ``key=value``; the last word of a key is enough.

    Raises:
        ConfigError: a setting cannot change while a run goes on, or not to this value.
    """
    from tmrl_ray.config.loading import load_config

    return load_config(
        file, [f"{_key(name)}={value}" for name, _, value in (each.partition("=") for each in assignments)]
    )


def _key(name: str) -> str:
    for key in LIVE:
        if name in {key, key.rpartition(".")[2]}:
            return key
    raise ConfigError(
        f"{name} cannot change while a run goes on",
        hint=f"These can: {', '.join(LIVE)}. For others stop the run, and resume it with KEY=VALUE.",
    )
