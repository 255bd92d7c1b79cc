"""The game's side of the phases of a race, byte by byte, for scripted games.

Numbers and offsets are those of the protocol's description, not of our code.
"""

import contextlib
import struct

import numpy as np

from tmrl_ray.config.game import Patience
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.game.session import SocketGame

QUICK = Patience(connect_s=2, greeting_s=2, load_s=2, answer_s=2)
BLIND = GameSettings(frame_size=None)
SEEING = GameSettings(frame_size=(7, 5), camera=3)
WEEK, RACE = (struct.pack("<2I", 15, ms) for ms in (600_000_000, 10_100))
GAS = Inputs(accelerate=True)
PRESS_GAS = struct.pack("<i4B", 10, 0, 0, 1, 0)
RELEASE = struct.pack("<i4B", 10, 0, 0, 0, 0)
SETS = (
    "set unfocused_fps_limit false",
    "set skip_map_load_screens true",
    "set disable_forced_camera true",
    "set autorewind false",
    "set auto_reload_plugins false",
    "set use_valseed false",
    "set temp_save_states_collect false",
    "set execute_commands true",
    "set countdown_speed 80",
)


def speed(value):
    return struct.pack("<if", 6, value)


def command(text):
    return struct.pack("<2i", 14, len(text.encode())) + text.encode()


def state(race_time, times=(-1, -1, -1)):
    """A state with as many checkpoints as times, at the offsets of the specification."""
    data = bytearray(8356 + 12 * len(times))
    struct.pack_into("<i", data, 8, 0xFF)
    struct.pack_into("<i", data, 7892, race_time)
    struct.pack_into("<i", data, 8348, len(times))
    struct.pack_into("<i", data, 8352 + 4 * len(times), len(times))
    for i, time in enumerate(times):
        struct.pack_into("<i", data, 8356 + 4 * len(times) + 8 * i, time)
    return bytes(data)


def sized(data):
    return struct.pack("<i", len(data)) + data


def hello(peer, *, menus=1, extra=()):
    """The game's side of the first call, up to the question about menus."""
    peer.send(5)
    peer.expect(WEEK, speed(1), 19, 50, *(command(text) for text in (*SETS, *extra)), 22)
    peer.send(menus)
    if not menus:
        peer.expect(9)


def load(peer, name="hairpin", camera=2):
    """The map command in the first call, and the first run step of the map."""
    peer.expect(command(f"map {name}"), speed(80), 5)
    peer.send(1, -2600)
    peer.expect(WEEK, command(f"cam {camera}"), 21, 0, 9)
    peer.send(sized(state(-2600)))


def countdown(peer):
    """A restart, up to the state at race time 0."""
    peer.expect(RACE, 11, RELEASE, speed(80), 1)
    for time_ms in (-2590, -50):
        peer.send(1, time_ms)
        peer.expect(1)
    peer.send(1, 0)
    peer.expect(9)
    peer.send(sized(state(0)))


def blind_decision(peer, data):
    peer.expect(9)
    peer.send(sized(data))


def goodbye(peer):
    peer.expect(speed(1), 21, 1)
    peer.expect_goodbye()


def start(scripted_game, script, settings=BLIND):
    return contextlib.closing(SocketGame.connect(scripted_game(script).address, settings, patience=QUICK))


def picture(seed):
    return np.random.default_rng(seed).integers(0, 256, (5, 7, 4), dtype=np.uint8)


def look(peer, data, seed):
    """The messages of a decision with a picture, in the run step and in the picture's call."""
    peer.expect(9, 8, speed(0), 17, 7, 5, 1)
    peer.send(sized(data), 4, picture(seed).tobytes())
