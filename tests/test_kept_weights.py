"""The weights of a run's best evaluation are found, and damaged ones are not driven with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from actors.evaluation import Evaluation, Interval, MapResult
from actors.race_archive import RaceArchive
from actors.weight_store import Weights
from tmrl_ray.errors import DataError, RunError
from tmrl_ray.kept_weights import best_weights, best_weights_file


def keep(run: Path, version: int, finished: int) -> Weights:
    """Keep the weights of an evaluation of three races."""
    weights = Weights.of(version, save({"weight": torch.full((5,), float(version))}))
    time_s = 30.0 if finished else None
    result = MapResult("loop", 3, finished, finished / 3, Interval(0.0, 1.0), time_s, time_s, None)
    RaceArchive(run / "best", keep=3).offer_evaluation(Evaluation(version, (result,), (), 1.0), weights)
    return weights


def test_the_best_weights_are_those_of_the_best_evaluation(tmp_path: Path) -> None:
    assert best_weights(tmp_path) is None
    with pytest.raises(RunError, match="no evaluated weights"):
        best_weights_file(tmp_path)
    keep(tmp_path, 3, finished=1)
    best = keep(tmp_path, 5, finished=3)
    keep(tmp_path, 7, finished=2)
    assert best_weights(tmp_path) == best
    assert best_weights_file(tmp_path).read_bytes() == best.data


def test_damaged_weights_are_refused_whoever_wants_them(tmp_path: Path) -> None:
    keep(tmp_path, 5, finished=3)
    path = best_weights_file(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    for read in (best_weights, best_weights_file):
        with pytest.raises(DataError, match="version 5 are damaged"):
            read(tmp_path)
