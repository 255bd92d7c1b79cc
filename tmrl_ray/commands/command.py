"""The kinds of click command that ``tmrl-ray`` is made of."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for.

    Args:
        subcommands: where each command is, as ``module:attribute``, in the order of the help.
    """

    def __init__(self, *args: Any, subcommands: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._places = dict(subcommands)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names in the order in which they were given."""
        return list(self._places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return a command; None when there is none of this name."""
        place = self._places.get(cmd_name)
        if place is None:
            return None
        module, _, attribute = place.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class ExampleCommand(click.Command):
    """A command whose help ends with examples to copy.

    Args:
        examples: command lines without the leading ``tmrl-ray``.
    """

    def __init__(self, *args: Any, examples: Sequence[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples, a line each."""
        with formatter.section("Examples"):
            for example in self.examples:
                formatter.write(f"{'':>{formatter.current_indent}}tmrl-ray {example}\n")


def command(*, examples: Sequence[str], name: str | None = None) -> Callable[[Callable[..., Any]], ExampleCommand]:
    """Make a command of a function; its docstring is the help."""
    return click.command(name, cls=ExampleCommand, examples=examples)


TRAINING = frozenset({"grpc", "lz4", "pyarrow", "ray", "safetensors", "tensorboard", "torch"})
"""Packages that come with the extra ``train``."""


@contextmanager
def needs_training() -> Iterator[None]:
    """Say what to install where a package that training needs is not there."""
    from tmrl_ray.errors import InvalidInputError

    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in TRAINING:
            raise
        raise InvalidInputError(
            f"Training needs the package {error.name}, which is not installed.", hint="pip install 'tmrl_ray[train]'"
        ) from error


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
"""For every command that reports something."""

ReadableFile = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
OutputFile = click.Path(dir_okay=False, writable=True, path_type=Path)
Directory = click.Path(file_okay=False, path_type=Path)
Port = click.IntRange(1, 65535)


def host_and_port(text: str) -> tuple[str, int]:
    """Read HOST:PORT, or PORT alone, which is a port of this machine; the type of an option.

    Raises:
        click.BadParameter: it is neither.
    """
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise click.BadParameter(f"{text!r} is not HOST:PORT, for example 127.0.0.1:8478")
    return host.strip("[]") or "127.0.0.1", int(port)


def picture_size(text: str) -> tuple[int, int]:
    """Read WIDTHxHEIGHT in pixels; the type of an option.

    Raises:
        click.BadParameter: it is something else.
    """
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal() and 8 <= int(width) <= 4096 and 8 <= int(height) <= 4096):
        raise click.BadParameter(f"{text!r} is not WIDTHxHEIGHT, each 8 to 4096 pixels, for example 640x480")
    return int(width), int(height)
