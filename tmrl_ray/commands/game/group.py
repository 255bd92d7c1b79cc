"""``tmrl-ray game``: the simulator, its tracks and pictures, and what helps with the real game."""

from __future__ import annotations

import click

from tmrl_ray.commands.command import LazyGroup

_NAMES = ("serve", "play", "tracks", "view", "build", "check", "inspect", "calibrate")


@click.group(cls=LazyGroup, subcommands={name: f"tmrl_ray.commands.game.{name}:{name}" for name in _NAMES})
def game() -> None:
    """Serve, watch and play the simulator; look into tracks, replays and the real game."""
