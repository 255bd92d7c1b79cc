"""``tmrl-ray game check``: why a game does not answer, or its car does not move."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmrl_ray.commands.command import command, host_and_port, json_option
from tmrl_ray.commands.output import print_json

if TYPE_CHECKING:
    from tmrl_ray.game.check import CheckStep


@command(
    examples=[
        "game check",
        "game check --connect 8479 --map A01-Race.Challenge.Gbx",
        "game check --tminterface ~/Documents/TMInterface --json",
    ]
)
@click.option(
    "--connect",
    type=host_and_port,
    metavar="HOST:PORT",
    default="127.0.0.1:8478",
    show_default=True,
    help="Where the game listens.",
)
@click.option(
    "--map", "map_name", default="loop", show_default=True, help="Map to drive on, as the game names it; 40 m straight."
)
@click.option(
    "--tminterface",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Look into this folder of TMInterface first.",
)
@click.option("--loader", type=click.Path(path_type=Path), help="TMLoader.exe, if it starts the game.")
@json_option
def check(
    connect: tuple[str, int], map_name: str, tminterface: Path | None, loader: Path | None, as_json: bool
) -> None:
    """Find out why a game does not answer, or does not drive.

    Tries one thing after the other: port, plugin, menus, map, inputs, movement, pictures, speed. It stops at the first
    that fails and says what to do. It takes the place of a client that is connected to the game, and drives a few
    seconds. Exit status 1 when something failed.
    """
    steps = []
    for step in _steps(connect, map_name, tminterface, loader):
        steps.append(step)
        if not as_json:
            mark = click.style("ok  ", fg="green") if step.ok else click.style("FAIL", fg="red", bold=True)
            click.echo(f"{mark}  {step.name}: {step.found}")
            if step.advice:
                click.echo(f"      {step.advice}")
    healthy = all(step.ok for step in steps)
    if as_json:
        print_json({"healthy": healthy, "steps": [asdict(step) for step in steps]})
    if not healthy:
        raise click.exceptions.Exit(1)


def _steps(
    connect: tuple[str, int], map_name: str, tminterface: Path | None, loader: Path | None
) -> Iterator[CheckStep]:
    from tmrl_ray.game.check import check_game
    from tmrl_ray.game.check_files import check_files
    from tmrl_ray.game.connection import Address

    if tminterface is not None:
        yield from check_files(tminterface, connect[1], loader=loader)
    yield from check_game(Address(*connect), map_name)
