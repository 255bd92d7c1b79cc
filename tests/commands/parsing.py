"""Parse a command line without running it, for examples in helps and documents."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from tmrl_ray.cli import cli


def leaf_commands(group: click.Group = cli, names: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Yield every command that does something, with its full name."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from leaf_commands(command, (*names, name))
        else:
            yield " ".join((*names, name)), command


def parse_only(words: Sequence[str]) -> None:
    """Parse the arguments of one command.

    Files that a person would have, but the test has not, are let pass.

    Raises:
        click.UsageError: there is no such command or option, or an argument is not what it should be.
    """
    command: click.Command = cli
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        found = command.get_command(click.Context(command), name)
        if found is None:
            raise click.UsageError(f"no command {name!r} in {' '.join(words)!r}")
        command = found
    if "--help" in rest or "--version" in rest or (isinstance(command, click.Group) and not rest):
        return
    try:
        command.make_context(command.name or "", rest)
    except click.BadParameter as error:
        if "does not exist" not in error.message:
            raise
