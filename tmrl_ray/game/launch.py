"""Commands that start a game: any that a configuration gives, and the simulator's."""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.connection import Address
from tmrl_ray.game.protocol import DEFAULT_PORT

LOCALHOST = "127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How to start one game.

    ``command`` is a template: ``{port}`` in any of its words becomes the port on which the game must listen. No shell
    reads it.
    """

    command: tuple[str, ...]
    """The program and its arguments."""
    port: int = DEFAULT_PORT
    """The port; games on one machine need one each."""
    directory: Path | None = None
    """The folder to start in; None: this process's."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables besides those of this process, for example ``WINEPREFIX`` or ``DISPLAY``."""
    ready_s: float = 120.0
    """How long the game may take until it accepts a connection. A real one takes its time on a cold disk."""

    @property
    def address(self) -> Address:
        """Where the game will listen."""
        return Address(LOCALHOST, self.port)

    def words(self) -> list[str]:
        """Return the command with the port filled in.

        Raises:
            InvalidInputError: the template is empty or has no place for the port.
        """
        if not self.command or not any("{port}" in word for word in self.command):
            raise InvalidInputError(
                f"the command {' '.join(self.command)!r} has no {{port}} in it",
                hint="Each game needs a port of its own, for example: /configstring=set custom_port {port}",
            )
        return [word.replace("{port}", str(self.port)) for word in self.command]


def simulator_launch(port: int | None = None, *options: str) -> Launch:
    """Return how to start the simulator, with this Python. Its first start compiles it, which takes a minute or two.

    Args:
        port: the port; None: any free one.
        options: further options of ``tmrl-ray game serve``.
    """
    program = (sys.executable, "-m", "tmrl_ray.cli", "game", "serve", "--port", "{port}", *options)
    return Launch(command=program, port=free_port() if port is None else port, ready_s=240.0)


def free_port() -> int:
    """Return a port on which nothing listens at the moment."""
    with socket.create_server((LOCALHOST, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port
