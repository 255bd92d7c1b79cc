"""``tmrl-ray experiment``: the experiments that ship, by name."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmrl_ray.commands.command import Directory, LazyGroup, command, json_option
from tmrl_ray.commands.output import note, print_json, print_table

if TYPE_CHECKING:
    from tmrl_ray.experiments.arms import Arm, Step, Workshop
    from tmrl_ray.experiments.catalogue import Experiment

FOLDER = Path("configs/experiments")


@click.group(
    cls=LazyGroup,
    subcommands={
        "list": "tmrl_ray.commands.experiment:list_all",
        "show": "tmrl_ray.commands.experiment:show",
        "run": "tmrl_ray.commands.experiment:run",
        "study": "tmrl_ray.commands.study:study",
    },
)
def experiment() -> None:
    """Repeat experiments of pretraining by name."""


folder_option = click.option(
    "--folder", type=Directory, default=FOLDER, show_default=True, help="Where the experiments are."
)
scale_option = click.option("--scale", metavar="NAME", help="simulator: for two cores; else as in the source.")


def places(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say where results and races are, and where commands run."""
    options = [
        click.option("--results", type=Directory, default=Path("runs/experiments"), show_default=True, help="Of runs."),
        click.option("--data", type=Directory, default=Path("data/experiments"), show_default=True, help="Of races."),
        click.option("--address", metavar="HOST:PORT", help="Run on this Ray cluster; else without Ray."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


def workshop_of(
    folder: Path, scale: str | None, results: Path = Path(), data: Path = Path(), address: str | None = None
) -> Workshop:
    """Return where experiments are run."""
    from tmrl_ray.experiments.arms import Workshop
    from tmrl_ray.experiments.catalogue import Catalogue

    where = ("--serial",) if address is None else ("--address", address)
    return Workshop(Catalogue(folder), scale, results=results, races=data, where=where)


@command(name="list", examples=["experiment list", "experiment list --json"])
@folder_option
@json_option
def list_all(folder: Path, as_json: bool) -> None:
    """List the experiments.

    What each tests, and the experiments whose artifacts it begins with."""
    from tmrl_ray.experiments.catalogue import Catalogue

    experiments = Catalogue(folder).experiments.values()
    if as_json:
        print_json([vars(each) for each in experiments])
        return
    print_table(["experiment", "tests", "begins with"], [(each.name, each.tests, _begin(each)) for each in experiments])


def _begin(each: Experiment) -> str:
    if each.continues is not None:
        return f"the last state of {each.continues}"
    return ", ".join(dict.fromkeys(each.needs.values()))


@command(
    name="show", examples=["experiment show bc/v1.2", "experiment show rl/enc_freeze --scale simulator --differences"]
)
@click.argument("name")
@folder_option
@scale_option
@click.option("--differences", "only_differences", is_flag=True, help="Leave the resolved configuration out.")
def show(name: str, folder: Path, scale: str | None, only_differences: bool) -> None:
    """Print what an experiment sets, and what it changes.

    The resolved configuration, and below it the difference from the experiment that it is based on."""
    from tmrl_ray.config.loading import to_yaml
    from tmrl_ray.experiments.arms import RACES, RESULTS, Arm
    from tmrl_ray.experiments.catalogue import stage_of

    workshop = workshop_of(folder, scale, RESULTS, RACES)
    catalogue = workshop.catalogue
    found = catalogue.experiment(name)
    if not only_differences:
        seed = 42 if stage_of(name) != "rl" else 0
        click.echo(to_yaml(workshop.config(Arm(name, seed))))
    base = catalogue.base_file(name)
    click.echo(f"# {name}: {found.tests}")
    click.echo(f"# based on {found.base or base or 'the defaults'}, of which it changes:")
    changed = {key: f"{before} -> {after}" for key, (before, after) in catalogue.differences(name, scale).items()}
    former = catalogue.experiment(found.base).needs if found.base else {}
    for setting in {**former, **found.needs}:
        if former.get(setting) != found.needs.get(setting):
            changed[setting] = f"{former.get(setting)} -> {found.needs.get(setting)}"
    if found.base and found.races != catalogue.experiment(found.base).races:
        changed["races"] = f"{catalogue.experiment(found.base).races} -> {found.races}"
    for key, told in changed.items() or [("nothing", "")]:
        click.echo(f"#   {key}: {told}" if told else f"#   {key}")
    for setting, value in found.legacy.items():
        click.echo(f"# with --legacy {setting}: {value}")


@command(
    name="run",
    examples=[
        "experiment run vis/v1 --scale simulator --with-dependencies",
        "experiment run bc/v2_multi_offset --scale simulator --seed 7 --with-dependencies",
        "experiment run bc/v2 --scale simulator --legacy --dry-run",
        "experiment run bc/v2 --scale simulator --label smoothed label_smoothing=0.05",
        "experiment run bc/v2 --scale simulator --label fps50 --races fps50",
    ],
)
@click.argument("name")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@folder_option
@scale_option
@click.option("--seed", type=click.IntRange(min=0), default=42, show_default=True, help="Of all chance.")
@click.option("--legacy", is_flag=True, help="With the defects of the source's tools.")
@click.option("--label", help="Name of the result where settings or races are changed.")
@click.option("--races", metavar="NAME", help="Learn from this dataset of the scale.")
@click.option("--with-dependencies", is_flag=True, help="Record and run what it needs too, where that is not there.")
@click.option("--dry-run", is_flag=True, help="Print the commands, and do nothing.")
@places
def run(  # noqa: PLR0913 - the options of a command
    name: str,
    overrides: tuple[str, ...],
    folder: Path,
    scale: str | None,
    seed: int,
    legacy: bool,
    label: str | None,
    races: str | None,
    with_dependencies: bool,
    dry_run: bool,
    results: Path,
    data: Path,
    address: str | None,
) -> None:
    """Run an experiment.

    Its result is kept by name and seed. What was finished is not run again, what was interrupted is gone on with.
    """
    from tmrl_ray.errors import InvalidInputError
    from tmrl_ray.experiments.arms import Arm

    workshop = workshop_of(folder, scale, results, data, address)
    arm = Arm(name, seed, legacy, label, overrides, races)
    steps = workshop.steps(arm)
    if not steps:
        click.echo(f"{arm.name}, seed {seed}, was run before: {workshop.folder(arm)}")
        return
    if len(steps) > 1 and not (with_dependencies or dry_run):
        needed = steps[0]
        raise InvalidInputError(
            f"{name} needs {', '.join(step.what for step in steps[:-1])}: not there, or not finished",
            hint=f"Add --with-dependencies, or begin with: {_typed(needed, scale)}",
        )
    do(workshop, steps, dry_run=dry_run)
    if not dry_run:
        click.echo(f"{arm.name}, seed {seed}: {workshop.folder(arm)}")


def do(workshop: Workshop, steps: Sequence[Step], *, dry_run: bool = False) -> None:
    """Run the commands of some steps, one after the other.

    Raises:
        TmrlError: one of them failed; what it has saved stays.
    """
    from tmrl_ray.errors import TmrlError

    for number, step in enumerate(steps, start=1):
        line = f"tmrl-ray {shlex.join(step.words)}"
        if dry_run:
            click.echo(line)
            continue
        note(f"[{number} of {len(steps)}] {line}")
        if step.arm is not None:
            workshop.prepare(step.arm)
        status = _run(step.words)
        if status:
            raise TmrlError(f"{step.what}: the command above ended with status {status}", hint=_GO_ON)
        if step.arm is not None and not workshop.is_done(step.arm):
            raise TmrlError(f"{step.what} was stopped", hint=_GO_ON)


_GO_ON = "What is finished is kept: type the same again to go on."


def _run(words: Sequence[str]) -> int:
    """Run a command of ours and return its status. Ctrl-C is left to it: it saves what it has."""
    former = signal.signal(signal.SIGINT, lambda number, frame: None)
    try:
        return subprocess.run([sys.executable, "-m", "tmrl_ray.cli", *words], check=False).returncode
    finally:
        signal.signal(signal.SIGINT, former)


def _typed(step: Step, scale: str | None) -> str:
    if step.arm is None:
        return f"tmrl-ray {shlex.join(step.words)}"
    return shlex.join(command_of(step.arm, scale))


def command_of(arm: Arm, scale: str | None) -> list[str]:
    """Return what a person types to run an arm."""
    words = ["tmrl-ray", "experiment", "run", arm.experiment, "--seed", str(arm.seed)]
    words += ["--scale", scale] if scale else []
    words += ["--legacy"] if arm.legacy else []
    words += ["--races", arm.races] if arm.races else []
    return [*words, *(["--label", arm.label] if arm.label else []), *arm.changes]
