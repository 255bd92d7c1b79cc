"""Games that go wrong on purpose go wrong in the way that was asked for, at the time that was asked for."""

from __future__ import annotations

import math
import struct
import threading
import time
from collections.abc import Callable

import pytest

from tests.simulator.flat_track import find_track
from tests.simulator.minimal_client import MinimalClient
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.game.sim_state import SimState
from tmrl_ray.simulator.faults import Fault, FaultKind, garbage, parse_fault
from tmrl_ray.simulator.server import EXIT_STATUS, GameServer, ServerSettings, serve

Serve = Callable[..., GameServer]
AT_MS = -2400


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("hang@1500", Fault(FaultKind.HANG, 1500)),
        ("slow@0:200", Fault(FaultKind.SLOW, 0, 200)),
        ("short_frame@-2600", Fault(FaultKind.SHORT_FRAME, -2600)),
    ],
)
def test_a_fault_is_written_with_its_race_time(text: str, fault: Fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize("text", ["", "hang", "hang@", "hang@soon", "melt@5", "slow@0:-1", "slow@0:x"])
def test_what_is_no_fault_is_refused(text: str):
    with pytest.raises(InvalidInputError, match="is no fault"):
        parse_fault(text)


def started(server: GameServer) -> MinimalClient:
    client = MinimalClient(server.port)
    client.play("< 05000000 \n > 13000000 32000000 05000000")
    return client


def faulty(serve_game: Serve, kind: FaultKind, delay_ms: int = 1000) -> MinimalClient:
    """A client of a game with a fault, which has just answered the last run step before it."""
    client = started(serve_game(track="flat", faults=[Fault(kind, AT_MS, delay_ms)]))
    client.run_until(AT_MS - 50)
    client.send(1)
    return client


def test_a_game_that_hangs_falls_silent_and_stays_connected(serve_game: Serve):
    with faulty(serve_game, FaultKind.HANG) as client:
        assert client.is_silent(0.4)
        client.send(9, 22)
        assert client.is_silent(0.2)
        with MinimalClient(client.port) as second:
            assert second.is_silent(0.2)


def test_a_slow_game_is_late_from_then_on(serve_game: Serve):
    with faulty(serve_game, FaultKind.SLOW, 250) as client:
        for time_ms in (AT_MS, AT_MS + 50):
            began = time.monotonic()
            assert client.call() == (1, time_ms)
            assert time.monotonic() - began > 0.2
            client.send(1)


def test_garbage_comes_in_front_of_a_call(serve_game: Serve):
    with faulty(serve_game, FaultKind.GARBAGE) as client:
        sent = client.read(len(garbage()))
        assert sent == garbage()
        assert int.from_bytes(sent[:4], "little", signed=True) not in range(1, 6)


def test_a_short_picture_stops_in_the_middle(serve_game: Serve):
    with faulty(serve_game, FaultKind.SHORT_FRAME) as client:
        assert client.call() == (1, AT_MS)
        client.send(17, 7, 5, 1)
        assert len(client.read((4 + 7 * 5 * 4) // 2)) == 72
        assert client.is_silent(0.3)


def test_a_state_without_a_number_is_sent_once(serve_game: Serve):
    with faulty(serve_game, FaultKind.NO_NUMBER) as client:
        assert client.call() == (1, AT_MS)
        heights = []
        for _ in range(2):
            client.send(9)
            (length,) = struct.unpack("<i", client.read(4))
            heights.append(SimState(client.read(length)).position[1])
        assert math.isnan(heights[0])
        assert math.isfinite(heights[1])


def test_a_game_that_exits_takes_its_process_with_it():
    settings = ServerSettings(
        track="flat", port=0, instances=2, find_track=find_track, faults=[Fault(FaultKind.EXIT, AT_MS)]
    )
    ports: list[int] = []
    status: list[int] = []
    ready = threading.Event()

    def on_ready(numbers: list[int]) -> None:
        ports.extend(numbers)
        ready.set()

    thread = threading.Thread(target=lambda: status.append(serve(settings, on_ready)))
    thread.start()
    assert ready.wait(100)
    with MinimalClient(ports[0]) as client, MinimalClient(ports[1]) as other:
        client.play("< 05000000 \n > 13000000 32000000 05000000")
        client.run_until(AT_MS - 50)
        client.send(1)
        assert client.is_closed()
        assert other.is_closed()
    thread.join(10)
    assert status == [EXIT_STATUS]
    with pytest.raises(ConnectionError):
        MinimalClient(ports[0])
