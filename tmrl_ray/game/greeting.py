"""What a game is told before it is driven: on a new connection, and at the start of each map.

The messages and their order are those of the public clients; :mod:`tmrl_ray.game.session` drives the races.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.client import Connected, GameClient
from tmrl_ray.game.connection import Deadline
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.game.sim_state import SimState, state_length

PARKED_TIMEOUT_MS = 600_000_000
"""How long the game waits for us between races: a week, a learner may take its time."""

SET_UP_COMMANDS = (
    "set unfocused_fps_limit false",
    "set skip_map_load_screens true",
    "set disable_forced_camera true",
    "set autorewind false",
    "set auto_reload_plugins false",
    "set use_valseed false",
    "set temp_save_states_collect false",
    "set execute_commands true",
)
"""What TMInterface is told on every connection, so that nothing of a player's own settings disturbs a race."""


def usable(state: NDArray[np.uint8]) -> bool:
    """Say whether these bytes are a state of a race: in its menus and while it loads the game sends one or a few."""
    return len(state) >= state_length(0, 0)


def map_command(name: str) -> str:
    """Return the console command that loads a map.

    Raises:
        InvalidInputError: the console has no way to write this name.
    """
    if not name or '"' in name or not name.isprintable():
        raise InvalidInputError(
            f"{name!r} cannot be a map's name", hint="Give its path below the game's Tracks folder, without quotes."
        )
    return f'map "{name}"' if set(name) & set(" ;#") else f"map {name}"


def greet(client: GameClient, settings: GameSettings, player: str | None) -> int | None:
    """Wait for the hello of a new connection, set the game up, and leave the call open.

    Args:
        client: a fresh connection.
        settings: how the game is played.
        player: the account that a real game logs in with; None leaves that to the game.

    Returns:
        The race clock of the race that the game is in, in ms; None in its menus.

    Raises:
        GameLostError: no hello came.
    """
    deadline = Deadline(client.patience.greeting_s)
    while not isinstance(client.wait_call(max(deadline.remaining_s, 0)), Connected):
        client.respond()  # a call that was meant for the client before us
    client.set_timeout(PARKED_TIMEOUT_MS)
    client.set_speed(1)
    client.set_on_step_period(settings.decision_period_ms)
    for command in SET_UP_COMMANDS:
        client.execute_command(command)
    client.execute_command(f"set countdown_speed {settings.running_speed:g}")
    if player is not None:
        client.execute_command(f"set autologin {player}")
    if client.is_in_menus():
        return None
    state = client.simulation_state()
    return SimState.adopt(state).race_time if usable(state) else None


def set_scene(client: GameClient, settings: GameSettings) -> bool:
    """In the first run step of a map, choose camera and instruments; say whether the race can be driven already."""
    client.set_timeout(PARKED_TIMEOUT_MS)
    client.execute_command(f"cam {settings.camera}")
    client.toggle_interface(False)
    return usable(client.simulation_state())
