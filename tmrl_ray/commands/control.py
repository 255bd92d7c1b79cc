"""``tmrl-ray status``, ``scale``, ``pause``, ``continue``, ``set``, ``checkpoint`` and ``stop``: runs under way."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmrl_ray.commands.command import command, json_option
from tmrl_ray.commands.output import clock, note, print_facts, print_json
from tmrl_ray.commands.reach import about_a_run, folder_option, reached
from tmrl_ray.live_settings import LIVE

if TYPE_CHECKING:
    from tmrl_ray.runs.run_list import RunSummary

ORDER_S = 30.0
"""For so long a run may keep a command waiting."""
SAVE_S = 600.0
"""The same for a checkpoint, as long as one of a large buffer on a slow disk takes."""


@command(examples=["status", "status quickstart --json", "status night --address 10.0.0.5:6379"])
@about_a_run
@json_option
def status(run: str | None, address: str | None, folder: Path, as_json: bool) -> None:
    """Show how a run is.

    One that is under way tells by itself, of others their files do. Without RUN: the only one under way, or the only
    one that there is.
    """
    if address is None:
        from tmrl_ray.runs.cluster_file import CLUSTER_FILE
        from tmrl_ray.runs.run_list import find_run

        found = find_run(folder, run)
        if found.state != "running" or not (found.path / CLUSTER_FILE).exists():
            _show_files(found, as_json=as_json)
            return
        run = found.name
    with reached(folder, run, address) as (name, line):
        overview = line.status()
    if overview is None:
        note(f"{name} has just begun: ask again in a few seconds")
        raise click.exceptions.Exit(1)
    if as_json:
        print_json(overview.as_values())
        return
    from rich.console import Console

    from tmrl_ray.commands.overview_table import OverviewTable

    Console().print(OverviewTable(overview))


@command(examples=["scale 4", "scale quickstart 1", "scale night 16 --address auto"])
@click.argument("words", nargs=-1, required=True, metavar="[RUN] N")
@click.option("--address", metavar="auto|HOST:PORT", help="The Ray cluster of the run.")
@folder_option
def scale(words: tuple[str, ...], address: str | None, folder: Path) -> None:
    """Let another number of collectors drive.

    Those that are too many send what they have and leave; new ones start as soon as the cluster has room for them.
    """
    *names, number = words
    if len(names) > 1 or not number.isdecimal():
        raise click.UsageError(f"{' '.join(words)!r} is not [RUN] N, for example: tmrl-ray scale quickstart 4")
    name = _order(folder, names[0] if names else None, address, "set", assignments=[f"collector.count={number}"])
    click.echo(f"{name}: {number} collector{'' if number == '1' else 's'} from now on")


@command(examples=["pause", "pause quickstart"])
@about_a_run
def pause(run: str | None, address: str | None, folder: Path) -> None:
    """Let a run rest: nobody collects or learns, until continue.

    Its training time stands still. Everything stays where it is, so that it goes on at once.
    """
    name = _order(folder, run, address, "pause")
    click.echo(f"{name}: paused; go on with tmrl-ray continue {name}")


@command(name="continue", examples=["continue", "continue quickstart"])
@about_a_run
def go_on(run: str | None, address: str | None, folder: Path) -> None:
    """Let a paused run go on."""
    click.echo(f"{_order(folder, run, address, 'continue')}: goes on")


_SETTINGS = "\n".join(f"  {key:<26}{meaning}" for key, meaning in LIVE.items())


@command(
    name="set",
    examples=["set samples_per_insert=8", "set quickstart training.minutes=30 evaluation.every_s=60"],
)
@click.argument("words", nargs=-1, required=True, metavar="[RUN] KEY=VALUE...")
@click.option("--address", metavar="auto|HOST:PORT", help="The Ray cluster of the run.")
@folder_option
def set_live(words: tuple[str, ...], address: str | None, folder: Path) -> None:
    """Change settings of a run under way."""
    name = None if "=" in words[0] else words[0]
    assignments = words if name is None else words[1:]
    if not assignments or not all("=" in each for each in assignments):
        raise click.UsageError(f"{' '.join(words)!r} is not [RUN] KEY=VALUE..., for example: samples_per_insert=8")
    name = _order(folder, name, address, "set", assignments=list(assignments))
    click.echo(f"{name}: {', '.join(assignments)} from now on, also when it is resumed with its config.yaml")


set_live.help = f"{set_live.help}\n\nThese can change, and the last word of each is enough:\n\n\b\n{_SETTINGS}"


@command(examples=["checkpoint", "checkpoint quickstart"])
@about_a_run
def checkpoint(run: str | None, address: str | None, folder: Path) -> None:
    """Save a run now; it goes on meanwhile."""
    with reached(folder, run, address) as (name, line):
        saved = line.order("checkpoint", timeout_s=SAVE_S)
    click.echo(f"{name}: saved {saved}")


@command(examples=["stop", "stop quickstart"])
@about_a_run
def stop(run: str | None, address: str | None, folder: Path) -> None:
    """Bring a run to its end and save it, as Ctrl-C does.

    Returns when it has ended, or at once where its folder is not on this machine.
    """
    from tmrl_ray.runs.rundir import resume_command

    name = _order(folder, run, address, "stop")
    if address is None:
        _wait_for_end(folder, name)
    click.echo(f"{name}: {'is stopping' if address else 'stopped'}\ngo on: {resume_command(folder / name)}")


def _order(folder: Path, run: str | None, address: str | None, what: str, **values: Any) -> str:
    """Have a run do something, and return its name."""
    with reached(folder, run, address) as (name, line):
        line.order(what, timeout_s=ORDER_S, **values)
    return name


def _wait_for_end(folder: Path, name: str) -> None:
    from tmrl_ray.errors import PeerUnavailableError
    from tmrl_ray.runs.run_list import find_run

    end_s = time.monotonic() + SAVE_S
    while find_run(folder, name).state == "running":
        if time.monotonic() > end_s:
            raise PeerUnavailableError(f"{name} has not ended after {SAVE_S:g} s", hint="Look at its terminal.")
        time.sleep(0.2)


def _show_files(run: RunSummary, *, as_json: bool) -> None:
    clocks = run.status.clocks
    facts = {
        "run": run.name,
        "state": run.state,
        "env_steps": clocks.env_steps,
        "learner_steps": clocks.learner_steps,
        "minutes": 60 * clocks.training_hours,
        "best_times_s": run.status.best_times_s,
    }
    if run.problem:
        facts["problem"] = run.problem
    if as_json:
        print_json(facts)
        return
    best = ", ".join(f"{name} {time_s:.2f} s" for name, time_s in run.status.best_times_s.items())
    print_facts(
        {
            "run": run.path,
            "state": run.state,
            "trained": f"{clock(3600 * clocks.training_hours)}, {clocks.env_steps:,} decisions, "
            f"{clocks.learner_steps:,} updates",
            "best": best or "nothing finished yet",
            **({"problem": run.problem} if run.problem else {}),
        }
    )
