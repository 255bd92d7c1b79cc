"""``tmrl-ray``: the command line, and how every command ends.

Exit status: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted. Commands are imported when they are named,
and import what they need when they run: ``tmrl-ray --help`` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from tmrl_ray import __version__
from tmrl_ray.commands.command import LazyGroup
from tmrl_ray.errors import InvalidInputError, TmrlError

INTERRUPTED = 130
"""128 + SIGINT, as shells report it."""


class _Root(LazyGroup):
    """The group of all commands: shows our own errors as one message and a hint."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except TmrlError as error:
            if ctx.params["debug"]:
                traceback.print_exception(error)
            else:
                _show(error)
            ctx.exit(2 if isinstance(error, InvalidInputError) else 1)
        except OSError as error:
            # A file of the user's that is not there, not writable or on a full disk; anything else is a bug of ours.
            if error.filename is None or isinstance(error, BrokenPipeError) or ctx.params["debug"]:
                raise
            _show(TmrlError(f"{error.filename}: {error.strerror}"))
            ctx.exit(1)


@click.group(
    cls=_Root,
    subcommands={
        "train": "tmrl_ray.commands.train:train",
        "status": "tmrl_ray.commands.control:status",
        "scale": "tmrl_ray.commands.control:scale",
        "pause": "tmrl_ray.commands.control:pause",
        "continue": "tmrl_ray.commands.control:go_on",
        "set": "tmrl_ray.commands.control:set_live",
        "checkpoint": "tmrl_ray.commands.control:checkpoint",
        "stop": "tmrl_ray.commands.control:stop",
        "eval": "tmrl_ray.commands.evaluate:evaluate",
        "runs": "tmrl_ray.commands.runs:runs",
        "drive": "tmrl_ray.commands.drive:drive",
        "pretrain": "tmrl_ray.commands.pretrain:pretrain",
        "experiment": "tmrl_ray.commands.experiment:experiment",
        "analyze": "tmrl_ray.commands.analyze:analyze",
        "inject": "tmrl_ray.commands.inject:inject",
        "record": "tmrl_ray.commands.record:record",
        "dataset": "tmrl_ray.commands.dataset:dataset",
        "game": "tmrl_ray.commands.game.group:game",
        "config": "tmrl_ray.commands.config:config",
        "doctor": "tmrl_ray.commands.doctor:doctor",
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="tmrl-ray")
@click.option("--debug", is_flag=True, envvar="TMRL_DEBUG", help="Show the traceback of errors (or set TMRL_DEBUG=1).")
def cli(debug: bool) -> None:
    """Train agents to race TrackMania Nations Forever, with the real game or the built-in simulator."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit status; what went wrong stands on the standard error stream."""
    try:
        status = cli.main(list(arguments), prog_name="tmrl-ray", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has enough of it (`| head`); what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status if isinstance(status, int) else 0


def main() -> None:
    """Run the command that ``sys.argv`` names, and exit."""
    sys.exit(run(sys.argv[1:]))


def _show(error: TmrlError) -> None:
    message = Exception.__str__(error)
    click.echo(f"{click.style('error:', fg='red', bold=True)} {message}", err=True)
    if error.hint:
        click.echo(f"{click.style('hint:', fg='yellow')} {error.hint}", err=True)


if __name__ == "__main__":
    main()
