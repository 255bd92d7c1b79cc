"""What a stage leaves behind in its run's folder while it trains and when it has ended.

::

    metrics.csv      a line for each epoch, all figures by name
    tensorboard/     the same, with epochs as the step axis
    plots/           curves, and for cloning the confusion of actions and the accuracy by action and by offset
"""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pretrain.bc.closed_loop import MapRaces
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.disk import Disk, replace_file
from tmrl_ray.runs.meter import Value
from tmrl_ray.runs.recorder import Row
from tmrl_ray.runs.tensorboard_sink import TensorBoardSink

Figures = Mapping[str, float | None]

METRICS_FILE = "metrics.csv"
_HOUR_S = 3600.0
_FIGURES = {
    "loss": "pretrain/loss/{split}",
    "acc": "pretrain/accuracy/{split}",
    "main_actions_acc": "pretrain/main_actions/{split}",
    "balanced_acc": "pretrain/balanced_accuracy/{split}",
    "macro_f1": "pretrain/macro_f1/{split}",
    "changed_acc": "pretrain/changed_accuracy/{split}",
    "calibration_error": "pretrain/calibration_error/{split}",
}
"""Names in metrics.csv after ``train_`` or ``val_``, and those of the metrics that they are."""
_BASELINES = ("majority", "copy_last")
_AT, _RECALL = "acc_offset_ms_", "acc_action_"
_TASKS = ("ae_", "vae_", "simclr_", "atc_", "idm_", "spr_", "bc_")


class StageRecords:
    """Writes metrics.csv and TensorBoard's files.

    Args:
        directory: of the run.
        session: number of the run's session, from 1.
        epochs: that were trained before it.

    Raises:
        OSError: the files cannot be made.
    """

    def __init__(self, directory: Path, *, session: int, epochs: int) -> None:
        self._directory = directory
        self._told = epochs
        self._sink = TensorBoardSink(directory / "tensorboard", session=session, env_steps=epochs)

    def write(self, history: Sequence[Figures]) -> None:
        """Write all epochs anew to metrics.csv, and those that are new to TensorBoard.

        Raises:
            OSError: they cannot be written.
        """
        replace_file(Disk(), self._directory / METRICS_FILE, csv_of(history).encode())
        for epoch, figures in enumerate(history[self._told :], start=self._told + 1):
            hours = sum(each["seconds"] or 0.0 for each in history[:epoch]) / _HOUR_S
            self._sink.write(Row(Clocks(epoch, 0, hours), time.time(), metrics_of(figures)))
        self._told = max(self._told, len(history))

    def write_probes(
        self, figures: Mapping[str, float | None], gains: Mapping[str, float | None], *, epoch: int
    ) -> None:
        """Write what the probes of the best encoder tell to TensorBoard, and how much more than those of a new one.

        Raises:
            OSError: the files cannot be written.
        """
        named = {METRICS.name("pretrain/probe/{probe}", probe=name): value for name, value in figures.items()}
        named |= {METRICS.name("pretrain/probe_gain/{probe}", probe=name): value for name, value in gains.items()}
        values: dict[str, Value] = {name: value for name, value in named.items() if value is not None}
        self._sink.write(Row(Clocks(epoch), time.time(), values))

    def write_races(self, results: Sequence[MapRaces], *, epoch: int) -> None:
        """Write what became of races in closed loop to TensorBoard.

        Raises:
            OSError: they cannot be written.
        """
        values: dict[str, Value] = {}
        for each in results:
            shares = {"finish_rate": each.finished / each.races, "furthest": each.furthest}
            for kind, share in shares.items():
                values[METRICS.name("pretrain/closed_loop/{map}/{kind}", map=each.map, kind=kind)] = share
        self._sink.write(Row(Clocks(epoch), time.time(), values))


def csv_of(history: Sequence[Figures]) -> str:
    """Return metrics.csv: the epoch first, a column for each figure that any epoch has, empty where there is none."""
    names = ["epoch", *sorted({name for figures in history for name in figures} - {"epoch"})]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    return text.getvalue()


def metrics_of(figures: Figures) -> dict[str, Value]:
    """Return the figures of an epoch by the names of the declared metrics; those without a number are left out."""
    named: dict[str, Value] = {}
    for name, value in figures.items():
        metric = _metric(name)
        if metric is not None and value is not None and np.isfinite(value):
            named[metric] = float(value)
    return named


def _metric(name: str) -> str | None:
    if name == "samples_per_s":
        return METRICS.name("pretrain/samples_per_s")
    if name == "train_gradient_norm":
        return METRICS.name("pretrain/gradient_norm")
    split, _, figure = name.partition("_")
    if split not in {"train", "val"}:
        return None
    if figure in _FIGURES:
        return METRICS.name(_FIGURES[figure], split=split)
    if figure.startswith(_AT):
        return METRICS.name("pretrain/accuracy_at/{offset_ms}/{split}", offset_ms=figure.removeprefix(_AT), split=split)
    if figure.startswith(_RECALL):
        return METRICS.name("pretrain/recall/{action}/{split}", action=figure.removeprefix(_RECALL), split=split)
    if (which := figure.removesuffix("_acc")) in _BASELINES:
        return METRICS.name("pretrain/baseline/{which}/{split}", which=which, split=split)
    if figure.startswith(_TASKS):
        return METRICS.name("pretrain/task/{figure}/{split}", figure=figure, split=split)
    return None


def draw_curves(directory: Path, history: Sequence[Figures], *, best_epoch: int) -> list[Path]:
    """Draw how the loss, and for cloning the accuracies, went; return the files.

    Raises:
        OSError: they cannot be written.
    """
    charts = {"loss": ["loss"], "gradient_norm": ["gradient_norm"]}
    if any("val_acc" in figures or "train_acc" in figures for figures in history):
        charts |= {"accuracy": ["acc", "balanced_acc", "changed_acc", "majority_acc", "copy_last_acc"]}
    files = []
    for chart, figures in charts.items():
        lines = {
            f"{split} {figure}": [each.get(f"{split}_{figure}") for each in history]
            for figure in figures
            for split in ("train", "val")
        }
        known = {name: values for name, values in lines.items() if any(value is not None for value in values)}
        if known:
            files.append(_curves(directory / f"{chart}.png", known, best_epoch))
    return files


def draw_confusion(path: Path, confusion: NDArray[np.float64], names: Sequence[str]) -> Path:
    """Draw what was told (columns) of what was pressed (rows), as shares of the rows, of the classes that occur.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure

    occurs = np.flatnonzero(confusion.sum(axis=0) + confusion.sum(axis=1))
    counts = confusion[np.ix_(occurs, occurs)]
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = 2.5 + 0.55 * len(occurs)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, vmin=0, vmax=1, cmap="Blues")
    labels = [names[each] for each in occurs.tolist()]
    axes.set_xticks(range(len(labels)), labels, rotation=60, ha="right")
    axes.set_yticks(range(len(labels)), [f"{n} ({c:,.0f})" for n, c in zip(labels, counts.sum(axis=1), strict=True)])
    axes.set_xlabel("told")
    axes.set_ylabel("pressed (samples)")
    for row, column in np.ndindex(shares.shape):
        if shares[row, column] >= 0.005:
            color = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{shares[row, column]:.2f}", ha="center", va="center", color=color, fontsize=8)
    figure.colorbar(image, label="share of what was pressed")
    figure.savefig(path, dpi=110)
    return path


def draw_bars(path: Path, bars: Mapping[str, Mapping[str, float | None]], *, label: str) -> Path:
    """Draw groups of bars: by what stands below, the values by their legend. Nothing is drawn for None.

    Raises:
        OSError: it cannot be written.
    """
    from matplotlib.figure import Figure

    legends = list(dict.fromkeys(name for group in bars.values() for name in group))
    figure = Figure(figsize=(2 + 0.8 * len(bars), 4), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(legends)
    for index, legend in enumerate(legends):
        values = [group.get(legend) for group in bars.values()]
        places = np.arange(len(bars)) + (index - (len(legends) - 1) / 2) * width
        axes.bar(places, [np.nan if value is None else value for value in values], width, label=legend)
    axes.set_xticks(range(len(bars)), list(bars), rotation=45, ha="right")
    axes.set_ylim(0, 1)
    axes.set_ylabel(label)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=110)
    return path


def _curves(path: Path, lines: Mapping[str, Sequence[float | None]], best_epoch: int) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(8.5, 4), layout="constrained")
    axes = figure.subplots()
    figures = list(dict.fromkeys(name.partition(" ")[2] for name in lines))
    for name, values in lines.items():
        split, _, what = name.partition(" ")
        epochs = [index + 1 for index, value in enumerate(values) if value is not None]
        known = [value for value in values if value is not None]
        style = "--" if split == "train" else "-"
        axes.plot(epochs, known, style, marker=".", color=f"C{figures.index(what)}", label=name, linewidth=1.3)
    if best_epoch:
        axes.axvline(best_epoch, color="grey", linestyle=":", label=f"best epoch {best_epoch}")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside right upper")
    figure.savefig(path, dpi=110)
    return path
