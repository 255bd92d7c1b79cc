"""How soon and how well agents learn to drive: ``python -m tests.bench learning [--config FILE] [--help]``.

One run for each seed, one after the other, as ``tmrl-ray train`` does them. Told of each: after how much training the
first greedy race finished, how many of the last ones finished, the best time, and how far that is ahead of the frozen
time of the pursuit driver. The clock is that of the run: it starts with the first decision. Runs that are there
already are only read, so that a study may be taken up again. ``--plot`` draws the greedy races of all seeds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tmrl_ray.config.loading import load_config
from tmrl_ray.racing.drivers import pursuit_times_s
from tmrl_ray.runs.json_sink import read_rows

CONFIGS = Path(__file__).parents[2] / "configs"
SECONDS_PER_HOUR = 3600


class GreedyRace(NamedTuple):
    """One race of the evaluator."""

    at_s: float
    """Training time at its end."""
    time_s: float | None
    """Finish time; None: it did not finish."""


class Learned(NamedTuple):
    """What one run came to."""

    seed: int
    env_steps: int
    updates: int
    races: list[GreedyRace]


def read_run(metrics: Path, seed: int, map_name: str) -> Learned:
    """Return what the metrics of a run tell of its greedy races on a map."""
    races, env_steps, updates = [], 0, 0
    for row in read_rows(metrics):
        env_steps, updates = max(env_steps, row.clocks.env_steps), max(updates, row.clocks.learner_steps)
        finished = row.values.get(f"race/finished/{map_name}/evaluation")
        if finished is not None:
            time_s = float(row.values[f"race/time_s/{map_name}/evaluation"]) if finished else None
            races.append(GreedyRace(row.clocks.training_hours * SECONDS_PER_HOUR, time_s))
    return Learned(seed, env_steps, updates, races)


def table(runs: Sequence[Learned], pursuit_s: float, last: int) -> str:
    """Return a line for each run."""
    lines = [f"seed  decisions  updates  first finish  finished of last {last}     best  ahead of {pursuit_s:.2f} s"]
    for run in runs:
        finishes = [(race.at_s, race.time_s) for race in run.races if race.time_s is not None]
        first = f"{finishes[0][0]:.0f} s" if finishes else "-"
        best_s = min((time_s for _, time_s in finishes), default=None)
        best = "-" if best_s is None else f"{best_s:.2f} s"
        ahead = "-" if best_s is None else f"{1 - best_s / pursuit_s:.1%}"
        ends = run.races[-last:]
        finished = f"{sum(race.time_s is not None for race in ends)} of {len(ends)}"
        lines.append(
            f"{run.seed:>4}  {run.env_steps:>9,}  {run.updates:>7,}  {first:>12}  {finished:>{18 + len(str(last))}}  "
            f"{best:>7}  {ahead:>{11 + len(f'{pursuit_s:.2f}')}}"
        )
    return "\n".join(lines)


def plot(runs: Sequence[Learned], pursuit_s: float, map_name: str, path: Path) -> None:
    """Draw the greedy races of all runs, finished ones by their time, others at the top."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4), layout="constrained")
    axes = figure.add_subplot()
    times = [race.time_s for run in runs for race in run.races if race.time_s is not None]
    top = max(pursuit_s, *sorted(times)[: max(1, int(0.97 * len(times)))]) * 1.05 if times else 2 * pursuit_s
    for run in runs:
        finished = [(race.at_s / 60, min(race.time_s, top)) for race in run.races if race.time_s is not None]
        lost = [race.at_s / 60 for race in run.races if race.time_s is None]
        (drawn,) = axes.plot(
            *zip(*finished, strict=True) if finished else ([], []), ".-", lw=0.8, label=f"seed {run.seed}"
        )
        axes.plot(lost, [top] * len(lost), "x", ms=4, color=drawn.get_color(), clip_on=False)
    axes.axhline(pursuit_s, color="0.4", ls="--", lw=1)
    axes.annotate(
        f"pursuit driver, {pursuit_s:.2f} s",
        (1, pursuit_s),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        color="0.3",
        fontsize=9,
    )
    axes.set(xlabel="minutes of training", ylabel="greedy race, s (x: not finished)", ylim=(None, top))
    axes.set_xlim(left=0)
    axes.set_title(f"Greedy races on {map_name}", loc="left", fontsize=11)
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, ncols=len(runs), loc="upper right", fontsize=8)
    figure.savefig(path, dpi=150)


def main(arguments: Sequence[str] | None = None) -> int:
    """Learn or read, and print, as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIGS / "quickstart.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--last", type=int, default=20, help="of how many races at the end it is told how many finished"
    )
    parser.add_argument("--folder", type=Path, default=Path("runs"), help="of the runs")
    parser.add_argument("--serial", action="store_true", help="each run in one process, without Ray")
    parser.add_argument("--plot", type=Path, help="PNG file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of the runs")
    chosen = parser.parse_args(arguments)
    config = load_config(chosen.config, chosen.overrides)
    (entry,) = config.maps
    pursuit_s = pursuit_times_s()[entry.map]
    runs = []
    for seed in chosen.seeds:
        name = f"{config.run.name}-seed{seed}"
        if not (chosen.folder / name).is_dir():
            command = ["train", "-c", chosen.config, *["--serial"] * chosen.serial, *chosen.overrides]
            settings = [f"run.folder={chosen.folder}", f"run.name={name}", f"training.seed={seed}"]
            subprocess.run([sys.executable, "-m", "tmrl_ray.cli", *command, *settings], check=True)
        runs.append(read_run(chosen.folder / name / "metrics.jsonl", seed, entry.name))
    print(table(runs, pursuit_s, chosen.last))
    if chosen.plot is not None:
        plot(runs, pursuit_s, entry.name, chosen.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
