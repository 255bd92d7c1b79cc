"""Weights of a run from its files, to drive with them while it goes on or after it ended."""

from __future__ import annotations

import json
from pathlib import Path

from safetensors.torch import save

from actors.race_archive import RaceArchive
from actors.weight_store import Weights
from tmrl_ray.errors import RunError
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.run_files import RunRecord
from tmrl_ray.training import Training

_ONLINE = "online."
"""Of the learner's tensors, those of the network that acts."""


def best_weights(run: Path) -> Weights | None:
    """Return the weights of the best evaluation of the run in a folder; None: none was kept.

    Raises:
        DataError: the file is damaged.
    """
    best = _best(run)
    if best is None:
        return None
    version, path = best
    checksum = json.loads(path.with_suffix(".json").read_bytes())["checksum"]
    weights = Weights(version, path.read_bytes(), checksum)
    weights.check()
    return weights


def best_weights_file(run: Path) -> Path:
    """Return the file of these weights, which was seen to be whole.

    Raises:
        RunError: none were kept.
        DataError: the file is damaged.
    """
    best = _best(run)
    if best is None or best_weights(run) is None:
        raise RunError(
            f"{run} has no evaluated weights in {run / 'best'}",
            hint="Train on, or give weights: --file WEIGHTS.safetensors -c RUN/config.yaml",
        )
    return best[1]


def newest_weights(run: Path, training: Training) -> Weights:
    """Return the weights of the newest checkpoint of the run in a folder.

    Raises:
        RunError: it has no checkpoint yet.
        CheckpointError: it is damaged.
    """
    identity = Identity(RunRecord.read(run).uuid, training.hashes)
    store = CheckpointStore(run / "checkpoints", identity, writes=False)  # the run may be about to write one
    if not store.names():
        raise RunError(
            f"the run {run.name} has neither an evaluation nor a checkpoint yet",
            hint=f"Wait for the first one, or save it now: tmrl-ray checkpoint {run.name}",
        )
    part = store.load().parts["learner"]
    tensors = {
        name.removeprefix(_ONLINE): tensor.contiguous()
        for name, tensor in part.tensors().items()
        if name.startswith(_ONLINE)
    }
    return Weights.of(max(int(part.values["version"]), 1), save(tensors))


def _best(run: Path) -> tuple[int, Path] | None:
    """Return the version of the best evaluation's weights, and their file."""
    best = run / "best"
    scores = RaceArchive(best, keep=1).scores()
    return (scores[0].version, best / f"evaluation-{scores[0].version:06}.safetensors") if scores else None
