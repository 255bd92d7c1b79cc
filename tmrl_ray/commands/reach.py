"""How commands find the run that they are about, and reach it where it goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from tmrl_ray.commands.command import Directory, needs_training

if TYPE_CHECKING:
    from actors.remote.control import ControlClient

F = TypeVar("F", bound=Callable[..., Any])

folder_option = click.option(
    "--folder", type=Directory, default=Path("runs"), show_default=True, help="Folder of the runs."
)
"""For every command about runs."""
_address = click.option(
    "--address", metavar="auto|HOST:PORT", help="The Ray cluster of the run, where its folder is not on this machine."
)
_run = click.argument("run", required=False)


def about_a_run(function: F) -> F:
    """Give a command the argument RUN and the options that say where the run is."""
    return _run(_address(folder_option(function)))


@contextmanager
def reached(folder: Path, name: str | None, address: str | None) -> Iterator[tuple[str, ControlClient]]:
    """Yield the name of a run under way, and the line to it.

    Args:
        folder: of the runs.
        name: of the run; None: the only one that is under way.
        address: of its cluster; None: the run's folder says.

    Raises:
        RunError: there is no such run, it is not under way, or several might be meant.
        ClusterError: its cluster does not answer.
    """
    token = None
    if address is None:
        from tmrl_ray.runs.cluster_file import ClusterPlace
        from tmrl_ray.runs.run_list import find_run

        found = find_run(folder, name, running=True)
        place = ClusterPlace.read(found.path)
        name, address, token = found.name, place.address, place.token
    if token is not None:
        from tmrl_ray.cluster_token import use_token

        use_token(token)
    with needs_training():
        from tmrl_ray.ray_session import joined
    with joined(address):
        yield _line(name, address)


def _line(name: str | None, address: str) -> tuple[str, ControlClient]:
    from actors.remote.calls import find_actor, runs_with
    from actors.remote.control import PART, ControlClient
    from tmrl_ray.errors import PeerUnavailableError, RunError

    known = runs_with(PART)
    if name is None:
        if len(known) != 1:
            there_are = f"several runs are under way: {', '.join(known)}" if known else "no run is under way"
            raise RunError(f"{there_are} on the cluster {address}", hint="Name one: tmrl-ray status RUN --address ...")
        name = known[0]
    try:
        return name, ControlClient(find_actor(name, PART))
    except PeerUnavailableError as error:
        there_are = f"; there are {', '.join(known)}" if known else ""
        raise RunError(
            f"the run {name} is not under way on the cluster {address}{there_are}",
            hint="tmrl-ray runs says what became of it.",
        ) from error
