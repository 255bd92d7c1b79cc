"""Figures of finished arms by their names in the claims, read from what the runs have left behind.

Of a stage::

    best_epoch                      its number
    best.F, last.F                  figure F of the best or of the last epoch, by its column in metrics.csv
    epochs 21-25.F                  its mean over these epochs
    closed_loop.best.G[@MAPS]       of races driven with the best (or last) weights: finish_rate or furthest; on the
                                    maps alone whose names begin so

Of a training::

    first.M, last.M                 metric M where it was first and last told
    steps.M>=X, steps.M<=X          env steps at which it first was so; those of the whole run where it never was, which
                                    is too few
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tmrl_ray.errors import ConfigError
from tmrl_ray.runs.json_sink import read_rows

_EPOCHS = re.compile(r"epochs (\d+)-(\d+)")
_REACHED = re.compile(r"(?P<metric>.+)(?P<how>[<>]=)(?P<bound>[^<>=]+)")


@dataclass(frozen=True)
class OnMap:
    """A figure on one map."""

    value: float
    weight: float
    """Samples or races that it is the mean of."""


@dataclass(frozen=True)
class Figure:
    """A figure of one run."""

    value: float
    by_map: dict[str, OnMap]
    """On each map that it is known of; empty: on none."""


def read_figure(folder: Path, name: str, *, is_training: bool) -> Figure:
    """Return a figure of the finished run in ``folder``.

    Raises:
        ConfigError: it has no such figure.
    """
    found = _of_training(folder, name) if is_training else _of_stage(folder, name)
    if found is None:
        raise ConfigError(f"{folder} has no figure {name}, which a claim is about")
    return found


def _of_stage(folder: Path, figure: str) -> Figure | None:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    which, _, name = figure.partition(".")
    if which == "best_epoch":
        return Figure(float(result["best_epoch"]), {})
    if which == "closed_loop":
        return _of_races(result, name)
    if (epochs := _EPOCHS.fullmatch(which)) is not None:
        return _of_epochs(folder, range(int(epochs[1]), int(epochs[2]) + 1), name)
    value = result["figures"].get(which, {}).get(name)
    by_map = {
        place: OnMap(told[name], told["samples"])
        for place, told in result["maps"].get(which, {}).items()
        if told.get(name) is not None
    }
    return None if value is None else Figure(float(value), by_map)


def _of_races(result: dict[str, Any], name: str) -> Figure | None:
    weights, _, wanted = name.partition(".")
    what, _, maps = wanted.partition("@")
    if what not in {"finish_rate", "furthest"}:
        return None
    by_map = {
        each["map"]: OnMap(each["finished"] / each["races"] if what == "finish_rate" else each[what], each["races"])
        for each in result["races"].get(weights, [])
        if each["map"].startswith(maps)
    }
    if not by_map:
        return None
    races = sum(each.weight for each in by_map.values())
    return Figure(sum(each.value * each.weight for each in by_map.values()) / races, by_map)


def _of_epochs(folder: Path, epochs: range, column: str) -> Figure | None:
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as lines:
        rows = {int(row["epoch"]): row.get(column) for row in csv.DictReader(lines)}
    values = [float(text) for epoch in epochs if (text := rows.get(epoch))]
    return Figure(sum(values) / len(values), {}) if len(values) == len(epochs) else None


def _of_training(folder: Path, figure: str) -> Figure | None:
    which, _, name = figure.partition(".")
    reached = _REACHED.fullmatch(name) if which == "steps" else None
    metric = name if reached is None else reached["metric"]
    rows = read_rows(folder / "metrics.jsonl")
    told = [(row.clocks.env_steps, _number(row.values[metric])) for row in rows if metric in row.values]
    if not told:
        return None
    if reached is not None:
        bound = float(reached["bound"])
        is_reached: Callable[[float], bool] = bound.__le__ if reached["how"] == ">=" else bound.__ge__
        whole = rows[-1].clocks.env_steps
        return Figure(float(next((steps for steps, value in told if is_reached(value)), whole)), {})
    return Figure(told[0 if which == "first" else -1][1], {})


def _number(value: Any) -> float:
    """Return a value of a metric, of a histogram's summary the mean."""
    return float(value["mean"] if isinstance(value, dict) else value)
