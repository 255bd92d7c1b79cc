"""Clients that come and go, fall silent, or talk nonsense: dropped as the protocol says, and the game goes on."""

from __future__ import annotations

import random
import socket
import struct
import threading
import time
from collections.abc import Callable

import pytest

from tests.simulator.flat_track import find_track
from tests.simulator.minimal_client import MinimalClient
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.simulator import connection
from tmrl_ray.simulator.server import GameServer, ServerSettings, serve

Serve = Callable[..., GameServer]


def race_time(state: bytes) -> int:
    return struct.unpack_from("<i", state, 7892)[0]


def works(port: int) -> bool:
    """Whether the next client is greeted and hears a run step."""
    with MinimalClient(port) as client:
        greeting = client.call()
        client.send(5)
        return greeting == (5,) and client.call()[0] == 1


def test_a_silent_client_is_dropped_after_its_time_out(client: MinimalClient):
    client.send(15, 200)
    began = time.monotonic()
    assert client.is_closed()
    assert 0.15 < time.monotonic() - began < 1.5


def test_no_client_may_be_silent_for_longer_than_the_ceiling(serve_game: Serve):
    with MinimalClient(serve_game(track="flat", timeout_ceiling_ms=300).port) as client:
        client.send(15, 600_000_000)
        assert client.is_closed(within_s=3)


def test_the_next_client_has_the_usual_time_out_again(serve_game: Serve):
    server = serve_game(track="flat")
    with MinimalClient(server.port) as first:
        first.send(15, 1, 17, 7, 5)
        assert first.is_closed()
    with MinimalClient(server.port) as second:
        assert second.call() == (5,)
        time.sleep(0.2)
        second.send(5)
        assert second.call() == (1, -2600)  # and no picture is due


def test_the_race_goes_on_with_the_next_client(client: MinimalClient):
    client.send(1)
    client.run_until(500)
    client.send(13)
    assert client.is_closed()
    with MinimalClient(client.port) as second:
        assert second.call() == (5,)
        assert race_time(second.state()) == 500
        second.send(5)
        assert second.call() == (1, 500)


def test_a_newer_client_replaces_the_older(client: MinimalClient):
    client.send(15, 600_000_000)
    with MinimalClient(client.port) as second:
        assert second.call() == (5,)
        assert client.is_closed()
        with MinimalClient(client.port) as third:
            assert third.call() == (5,)
            assert second.is_closed()


@pytest.mark.parametrize("how", ["close", "reset", "half a message", "in the answer"])
def test_a_client_that_vanishes_leaves_the_game_to_the_next(client: MinimalClient, how: str):
    client.send(15, 600_000_000)
    if how == "reset":
        client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if how == "half a message":
        client.send(7, 8392, bytes(100))
    if how == "in the answer":
        client.send(*[9] * 50, 1)
    client.sock.close()
    assert works(client.port)


def test_a_client_may_leave_a_paused_game(client: MinimalClient):
    client.send(6, struct.pack("<f", 0.0), 1, 9)
    assert client.is_silent()  # paused without a picture: nothing is heard
    client.sock.close()
    with MinimalClient(client.port) as second:
        assert second.call() == (5,)
        second.send(6, struct.pack("<f", 1.0), 5)
        assert second.call() == (1, -2600)


def test_a_paused_game_costs_no_processor_time(client: MinimalClient):
    client.send(6, struct.pack("<f", 0.0), 1, 9, 9, 9)
    assert client.is_silent(0.2)
    before = time.process_time()
    assert client.is_silent(1.0)
    assert time.process_time() - before < 0.2


@pytest.mark.parametrize(
    "message",
    [
        struct.pack("<ii", 7, -1),
        struct.pack("<ii", 7, 2**31 - 1),
        struct.pack("<ii", 14, -(2**31)),
        struct.pack("<ii", 14, 65_537),
        struct.pack("<iii", 17, 0, 5),
        struct.pack("<iii", 17, 2**30, 2**30),
        struct.pack("<iii", 17, -7, -5),
    ],
)
def test_lengths_that_make_no_sense_end_the_conversation_at_once(client: MinimalClient, message: bytes):
    client.send(15, 600_000_000, message)
    assert client.is_closed(within_s=2)
    assert works(client.port)


@pytest.mark.parametrize("part", [b"\1", b"\7\0\0\0\1", struct.pack("<ii", 7, 8392) + bytes(8391)])
def test_half_a_message_is_not_waited_for(client: MinimalClient, part: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tmrl_ray.simulator.session.HALF_MESSAGE_S", 0.3)
    monkeypatch.setattr(connection, "HALF_MESSAGE_S", 0.3)
    client.send(15, 600_000_000, part)
    assert client.is_closed(within_s=3)
    assert works(client.port)


def test_a_message_may_come_in_pieces(client: MinimalClient):
    state = client.state()
    for byte in struct.pack("<ii", 7, len(state)) + state[:20]:
        client.sock.sendall(bytes([byte]))
    client.send(state[20:], 1)
    assert client.call() == (1, -2550)


def test_a_client_that_does_not_read_is_dropped(client: MinimalClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(connection, "SEND_S", 0.3)
    client.sock.settimeout(5)
    with pytest.raises((ConnectionError, TimeoutError)):
        for _ in range(10_000):
            client.send(*[9] * 100)
    assert works(client.port)


def test_speeds_that_are_no_numbers_are_passed_over(client: MinimalClient):
    for speed in (float("nan"), float("inf"), -1.0):
        client.send(6, struct.pack("<f", speed))
    client.send(1)
    assert client.call() == (1, -2550)


def test_random_bytes_never_end_the_game(serve_game: Serve, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tmrl_ray.simulator.session.HALF_MESSAGE_S", 0.05)
    monkeypatch.setattr(connection, "HALF_MESSAGE_S", 0.05)
    server = serve_game(track="flat")
    source = random.Random(3)
    for _ in range(40):
        with MinimalClient(server.port) as client:
            client.send(15, 50)
            ids = b"".join(struct.pack("<i", source.randrange(26)) + source.randbytes(4) for _ in range(50))
            client.send(source.choice([source.randbytes(500), ids]))
            client.sock.shutdown(socket.SHUT_WR)
            assert client.is_closed()
    with MinimalClient(server.port) as client:
        assert client.call() == (5,)
        assert len(client.state()) in (1, 8392)


def test_one_process_serves_several_games():
    stop, ready = threading.Event(), threading.Event()
    ports: list[int] = []
    status: list[int] = []

    def on_ready(numbers: list[int]) -> None:
        ports.extend(numbers)
        ready.set()

    settings = ServerSettings(track="flat", port=0, instances=3, find_track=find_track)
    thread = threading.Thread(target=lambda: status.append(serve(settings, on_ready, stop)))
    thread.start()
    try:
        assert ready.wait(100)
        assert len(set(ports)) == 3
        clients = [MinimalClient(port) for port in ports]
        for i, client in enumerate(clients):
            client.play("< 05000000 \n > 05000000")
            client.run_until(-2000 + 50 * i)
        assert [race_time(client.state()) for client in clients] == [-2000, -1950, -1900]
    finally:
        stop.set()
        thread.join(10)
    assert status == [0]
    for client in clients:
        assert client.is_closed()
        client.sock.close()


def test_a_port_that_is_taken_is_refused():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        settings = ServerSettings(track="flat", port=other.getsockname()[1], find_track=find_track)
        with pytest.raises(InvalidInputError, match="cannot listen on 127.0.0.1"):
            serve(settings, lambda ports: None)


@pytest.mark.parametrize("place", [{"port": 65_535, "instances": 2}, {"port": 0, "host": "nowhere.invalid"}])
def test_an_address_that_cannot_be_is_not_blamed_on_another_program(place: dict[str, object]):
    with pytest.raises(InvalidInputError, match="cannot listen on") as refused:
        serve(ServerSettings(track="flat", find_track=find_track, **place), lambda ports: None)
    assert "65535" in str(refused.value.hint)


def test_an_unknown_track_is_refused():
    with pytest.raises(InvalidInputError, match="nowhere"):
        serve(ServerSettings(track="nowhere", port=0, find_track=find_track), lambda ports: None)
