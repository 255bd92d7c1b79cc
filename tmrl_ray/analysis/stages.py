"""Finished or running stages of pretraining, read from their folders, as tables and plots.

Figures are those of ``metrics.csv``: a line for each epoch, columns ``train_...`` and ``val_...``. Where nothing was
validated, those of training stand for them.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tmrl_ray.errors import RunError

METRICS_FILE = "metrics.csv"
Figures = dict[str, float]
Row = list[str | None]

_EPOCH_FIGURES = ("loss", "acc", "main_actions_acc", "balanced_acc", "changed_acc")
_BEST_FIGURES = (*_EPOCH_FIGURES, "macro_f1", "calibration_error", "majority_acc", "copy_last_acc")
_OFFSET, _COPIED, _ACTION = "acc_offset_ms_", "copy_last_acc_offset_ms_", "acc_action_"


@dataclass(frozen=True)
class StageFigures:
    """The figures of one run."""

    name: str
    """As tables and plots call it."""
    epochs: tuple[Figures, ...]
    """Those of each epoch that have a value, from the first."""

    @classmethod
    def read(cls, folder: Path, name: str) -> StageFigures:
        """Read those of a run.

        Raises:
            RunError: the folder is no run of a stage, or no epoch was trained.
        """
        file = folder / METRICS_FILE
        try:
            with file.open(encoding="utf-8", newline="") as lines:
                rows = [{key: float(text) for key, text in row.items() if text} for row in csv.DictReader(lines)]
        except FileNotFoundError as error:
            raise RunError(
                f"{folder} is no run of a stage: it has no {METRICS_FILE}",
                hint="Name folders of runs of tmrl-ray pretrain, runs/pretrain/NAME.",
            ) from error
        except (ValueError, UnicodeDecodeError, TypeError) as error:
            raise RunError(f"{file} does not hold figures: {error}") from error
        if not rows:
            raise RunError(f"{file}: no epoch was trained yet")
        return cls(name, tuple(rows))

    @property
    def measured(self) -> str:
        """``val``, or ``train`` where nothing was validated."""
        return "val" if "val_loss" in self.epochs[0] else "train"

    @property
    def best(self) -> int:
        """Index of the epoch with the lowest loss."""
        losses = [each.get(f"{self.measured}_loss", float("inf")) for each in self.epochs]
        return losses.index(min(losses))

    def figure(self, epoch: int, figure: str) -> float | None:
        """Return a measured figure of an epoch, by its index; None: it has none."""
        return self.epochs[epoch].get(f"{self.measured}_{figure}")

    def history(self, column: str) -> list[float | None]:
        """Return a column over the epochs."""
        return [each.get(column) for each in self.epochs]

    def labelled(self, prefix: str) -> list[str]:
        """Return what stands after a prefix in the columns that were measured, in their order."""
        start = f"{self.measured}_{prefix}"
        names = dict.fromkeys(name for each in self.epochs for name in each)
        return [name.removeprefix(start) for name in names if name.startswith(start)]


def read_all(folders: Sequence[Path]) -> list[StageFigures]:
    """Read several runs, each called by its path below the folder that holds them all; a single one by its own name.

    Raises:
        RunError: one of them cannot be read.
    """
    paths = [folder.resolve() for folder in folders]
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    return [StageFigures.read(path, path.relative_to(shared).as_posix()) for path in paths]


@dataclass(frozen=True)
class Table:
    """Rows of text under headings."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]


def tables(runs: Sequence[StageFigures], *, every: int = 5) -> list[Table]:
    """Return all tables: by epoch, best and last epoch, by action and by offset; those without a figure are left out.

    Args:
        runs: one or more.
        every: so many epochs lie between two rows of the first table; the best and the last are always there.
    """
    found = [_by_epoch(runs, every), _best(runs)]
    found += [_by_label(runs, _ACTION, "action"), _by_label(runs, _OFFSET, "offset (ms)", beside=_COPIED)]
    return [table for table in found if table.rows]


def _by_epoch(runs: Sequence[StageFigures], every: int) -> Table:
    rows: list[Row] = []
    figures = [each for each in _EPOCH_FIGURES if any(run.figure(-1, each) is not None for run in runs)]
    for run in runs:
        last = len(run.epochs) - 1
        chosen = sorted({0, *range(every - 1, last + 1, every), run.best, last})
        for epoch in chosen:
            mark = "best" if epoch == run.best else None
            loss = _text(run.epochs[epoch].get("train_loss"))
            rows.append([run.name, str(epoch + 1), loss, *(_text(run.figure(epoch, each)) for each in figures), mark])
    return Table("by epoch", ("run", "epoch", "train loss", *map(_heading, figures), ""), tuple(rows))


def _best(runs: Sequence[StageFigures]) -> Table:
    rows: list[Row] = []
    for figure in _BEST_FIGURES:
        values = [_text(run.figure(epoch, figure)) for run in runs for epoch in (run.best, -1)]
        if any(value is not None for value in values):
            rows.append([_heading(figure), *values])
    rows.insert(0, ["epoch", *(str(epoch) for run in runs for epoch in (run.best + 1, len(run.epochs)))])
    heads = [f"{run.name} {which}" for run in runs for which in ("best", "last")]
    return Table("best and last epoch", ("", *heads), tuple(rows))


def _by_label(runs: Sequence[StageFigures], prefix: str, of: str, *, beside: str | None = None) -> Table:
    """Return the accuracy of the best epoch by what a prefix stands before, and beside it that of copying."""
    runs = [run for run in runs if run.labelled(prefix)]
    labels = list(dict.fromkeys(label for run in runs for label in run.labelled(prefix)))
    if of.startswith("offset"):
        labels.sort(key=int)
    rows: list[Row] = []
    for label in labels:
        row: Row = [label]
        for run in runs:
            row.append(_text(run.figure(run.best, prefix + label)))
            row += [] if beside is None else [_text(run.figure(run.best, beside + label))]
        rows.append(row)
    heads = [head for run in runs for head in ([run.name] if beside is None else [run.name, f"{run.name} by copying"])]
    return Table(f"accuracy by {of}, best epoch", (of, *heads), tuple(rows))


def draw(runs: Sequence[StageFigures], folder: Path) -> list[Path]:
    """Draw losses and accuracies over the epochs, and accuracies by action and by offset; return the files.

    Raises:
        OSError: they cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [_draw_curves(runs, folder / "loss.png", "loss")]
    if any(run.figure(-1, "acc") is not None for run in runs):
        cloned = [run for run in runs if run.figure(-1, "acc") is not None]
        files.append(_draw_curves(cloned, folder / "accuracy.png", "acc"))
        actions = list(dict.fromkeys(label for run in cloned for label in run.labelled(_ACTION)))
        offsets = sorted({label for run in cloned for label in run.labelled(_OFFSET)}, key=int)
        if actions:
            files.append(_draw_bars(cloned, folder / "by_action.png", _ACTION, actions, beside=None))
        if len(offsets) > 1:
            files.append(_draw_bars(cloned, folder / "by_offset_ms.png", _OFFSET, offsets, beside=_COPIED))
    return files


def _draw_curves(runs: Sequence[StageFigures], path: Path, figure: str) -> Path:
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    drawing = Figure(figsize=(8, 4.5), layout="constrained")
    axes = drawing.subplots()
    for number, run in enumerate(runs):
        for split, style in (("train", "--"), ("val", "-")):
            known = [(at, value) for at, value in enumerate(run.history(f"{split}_{figure}"), 1) if value is not None]
            if known:
                epochs, values = zip(*known, strict=True)
                axes.plot(epochs, values, style, color=f"C{number % 10}", label=f"{run.name} {split}", linewidth=1.3)
        best = run.figure(run.best, figure)
        if best is not None:
            axes.plot([run.best + 1], [best], "o", color=f"C{number % 10}", markersize=6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("epoch (dot: the one with the lowest loss)")
    axes.set_ylabel("accuracy" if figure == "acc" else figure)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    drawing.savefig(path, dpi=110)
    return path


def _draw_bars(
    runs: Sequence[StageFigures], path: Path, prefix: str, labels: Sequence[str], *, beside: str | None
) -> Path:
    """Draw the figures of the best epoch as bars, and over each a line at the one that it is held against."""
    from matplotlib.figure import Figure

    drawing = Figure(figsize=(2.5 + 0.3 * len(labels) * (2 + len(runs)), 4.5), layout="constrained")
    axes = drawing.subplots()
    width = 0.8 / len(runs)
    for number, run in enumerate(runs):
        places = [at + (number - (len(runs) - 1) / 2) * width for at in range(len(labels))]
        axes.bar(places, _values(run, prefix, labels), width, label=run.name)
        if beside is not None:
            copied = _values(run, beside, labels)
            ends = [place - width / 2 for place in places], [place + width / 2 for place in places]
            axes.hlines(copied, *ends, color="black", label="" if number else "copying the last action")
    axes.set_xticks(range(len(labels)), list(labels), rotation=45, ha="right")
    axes.set_xlabel("action" if prefix == _ACTION else "time after the picture, ms")
    axes.set_ylim(0, 1.03)  # what copies an action that was held is at 1
    axes.set_ylabel("accuracy, best epoch")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(fontsize=8)
    drawing.savefig(path, dpi=110)
    return path


def _values(run: StageFigures, prefix: str, labels: Sequence[str]) -> list[float]:
    values = [run.figure(run.best, prefix + label) for label in labels]
    return [float("nan") if value is None else value for value in values]


def _text(value: float | None) -> str | None:
    return None if value is None else f"{value:.4f}"


def _heading(figure: str) -> str:
    return figure.removesuffix("_acc").replace("_", " ") + (" acc" if figure.endswith("_acc") else "")


def flat(runs: Iterable[StageFigures]) -> list[dict[str, object]]:
    """Return the figures of the best and of the last epoch of each run, for programs."""
    return [
        {"run": run.name, "best_epoch": run.best + 1, "epochs": len(run.epochs), "best": run.epochs[run.best],
         "last": run.epochs[-1]}
        for run in runs
    ]  # fmt: skip
