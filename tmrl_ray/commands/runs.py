"""``tmrl-ray runs``: the runs that there are."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmrl_ray.commands.command import command, json_option
from tmrl_ray.commands.output import clock, print_json, print_table
from tmrl_ray.commands.reach import folder_option

if TYPE_CHECKING:
    from tmrl_ray.runs.run_list import RunSummary


@command(examples=["runs", "runs --json", "runs --folder /data/runs"])
@folder_option
@json_option
def runs(folder: Path, as_json: bool) -> None:
    """List the runs, those first that were active last."""
    from tmrl_ray.runs.run_list import runs as runs_in

    found = runs_in(folder)
    if as_json:
        print_json([_values(run) for run in found])
        return
    if not found:
        click.echo(f"no run is in {folder} yet; start one with: tmrl-ray train -c configs/quickstart.yaml")
        return
    print_table(
        ["run", "state", "last active", "trained", "decisions", "updates", "best times"], [_row(run) for run in found]
    )
    for run in found:
        if run.problem:
            click.echo(f"{run.name}: {run.problem}", err=True)


def _row(run: RunSummary) -> list[object]:
    clocks = run.status.clocks
    best = ", ".join(f"{name} {time_s:.2f} s" for name, time_s in run.status.best_times_s.items())
    age = _ago(time.time() - run.status.updated_s) if run.status.updated_s else ""
    trained = clock(3600 * clocks.training_hours)
    return [run.name, run.state, age, trained, f"{clocks.env_steps:,}", f"{clocks.learner_steps:,}", best]


def _ago(seconds: float) -> str:
    for length_s, name in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * length_s:
            return f"{seconds / length_s:.0f} {name} ago"
    return f"{max(seconds, 0):.0f} s ago"


def _values(run: RunSummary) -> dict[str, object]:
    status = run.status
    return {
        "run": run.name,
        "path": str(run.path),
        "state": run.state,
        "created_s": None if run.record is None else run.record.created_s,
        "updated_s": status.updated_s,
        "problem": run.problem or None,
        "best_times_s": status.best_times_s,
        **{name: value for name, value in status.clocks._asdict().items()},
    }
