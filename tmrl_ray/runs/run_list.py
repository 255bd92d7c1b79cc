"""The runs in a folder, and which of them a command means."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tmrl_ray.errors import RunError
from tmrl_ray.runs.disk import PARTIAL_PREFIX
from tmrl_ray.runs.run_files import Ended, RunRecord, RunStatus, is_locked
from tmrl_ray.runs.rundir import is_run

State = Literal["running", "stopped", "finished", "dead", "unreadable"]
"""dead: its process ended without saying so. unreadable: see ``problem``."""


@dataclass(frozen=True)
class RunSummary:
    """One run of a list."""

    path: Path
    state: State
    record: RunRecord | None
    """None: unreadable."""
    status: RunStatus
    problem: str = ""
    """What is wrong with its files."""

    @property
    def name(self) -> str:
        """Of the run."""
        return self.path.name

    @property
    def best_time_s(self) -> float | None:
        """Best finish time on any map; None: none was finished."""
        return min(self.status.best_times_s.values(), default=None)


def runs(folder: Path) -> list[RunSummary]:
    """Return the runs in a folder, those first that were active last. Never fails because of one of them."""
    paths = [path for path in folder.glob("*") if is_run(path) and not path.name.startswith(PARTIAL_PREFIX)]
    found = [summary(path) for path in paths]
    return sorted(found, key=lambda run: (run.state != "running", -run.status.updated_s, run.name))


def summary(path: Path) -> RunSummary:
    """Return what is known of the run in ``path``."""
    try:
        record, status = RunRecord.read(path), RunStatus.read(path)
    except RunError as error:
        return RunSummary(path, "unreadable", None, RunStatus(), problem=str(error))
    return RunSummary(path, _state(path, status.ended), record, status)


def find_run(folder: Path, name: str | None = None, *, running: bool = False) -> RunSummary:
    """Return the run that a command means.

    Args:
        folder: of all runs.
        name: of the run; None: the only one that runs, else the only one that there is.
        running: whether it must run.

    Raises:
        RunError: there is no such run, it does not run, or several might be meant.
    """
    known = runs(folder)
    if name is not None:
        matching = [run for run in known if run.name == name]
        if not matching:
            raise RunError(f"there is no run {name} in {folder}{_names(known)}", hint="List the runs: tmrl-ray runs")
        if running and matching[0].state != "running":
            raise RunError(
                f"the run {name} does not run, it is {matching[0].state}",
                hint=f"Go on with it: tmrl-ray train -c {matching[0].path / 'config.yaml'} --resume",
            )
        return matching[0]
    active = [run for run in known if run.state == "running"]
    choice = active if active or running else known
    if len(choice) == 1:
        return choice[0]
    if not choice:
        raise RunError(
            f"no run {'is under way' if running else 'is there'} in {folder}{_names(known)}",
            hint="Start one: tmrl-ray train -c FILE",
        )
    raise RunError(
        f"several runs {'are under way' if active else 'are there'} in {folder}: {', '.join(r.name for r in choice)}",
        hint=f"Name the one that is meant, {choice[0].name} for example.",
    )


def _names(known: list[RunSummary]) -> str:
    return f"; there are {', '.join(run.name for run in known)}" if known else ""


def _state(path: Path, ended: Ended | None) -> State:
    if is_locked(path):
        return "running"
    return "dead" if ended is None else ended
