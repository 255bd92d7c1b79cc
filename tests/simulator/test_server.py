"""The server's rules one by one: answers and their order, rewinds, steering, pictures, the console."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.simulator.minimal_client import MinimalClient
from tmrl_ray.simulator.server import GameServer

Serve = Callable[..., GameServer]


def race_time(state: bytes) -> int:
    return struct.unpack_from("<i", state, 7892)[0]


def pause_and_request(client: MinimalClient, width: int = 7, height: int = 5) -> None:
    client.send(6, struct.pack("<f", 0.0), 17, width, height)


# Answers and order


def test_messages_after_an_answer_are_heard_in_the_next_call(client: MinimalClient):
    client.send(1, 19, 100)  # the period of 50 still holds for the next step
    assert client.call() == (1, -2550)
    client.send(1)
    assert client.call() == (1, -2500)
    client.send(1)
    assert client.call() == (1, -2400)


def test_an_answer_to_another_call_and_unknown_messages_are_passed_over(client: MinimalClient):
    client.send(2, 3, 4, 5, 99, -1, 0, 24, 2**31 - 1, 22)
    assert client.read_int() == 0
    client.send(1)
    assert client.call() == (1, -2550)


def test_every_message_without_an_answer_is_silent(client: MinimalClient):
    client.send(6, struct.pack("<f", 8.0), 8, 10, b"\1\0\1\0", 12, 14, 5, b"cam 2", 15, 5000, 17, 7, 5, 18, 20, 21, 0)
    assert client.is_silent()
    client.send(1)
    assert client.call() == (1, -2550)  # and the picture was cancelled


def test_a_restart_begins_with_the_first_step_of_the_countdown(client: MinimalClient):
    client.send(1)
    client.run_until(500)
    client.send(11, 1)
    assert client.call() == (1, -2600)


@pytest.mark.parametrize(("period", "steps"), [(10, [10, 20, 30]), (70, [70, 140, 210]), (100, [100, 200, 300])])
def test_the_period_sets_the_steps(client: MinimalClient, period: int, steps: list[int]):
    client.send(1)
    client.run_until(0)
    client.send(19, period)
    for step in steps:
        client.send(1)
        assert client.call() == (1, step)


@pytest.mark.parametrize("period", [0, -50, 2**31 - 1])
def test_a_period_that_would_never_come_is_refused(client: MinimalClient, period: int):
    client.send(19, period, 1)
    assert client.call() == (1, -2550)


def test_the_step_after_a_rewind_is_a_later_one(client: MinimalClient):
    client.send(1)
    client.run_until(0)
    at_zero = client.state()
    client.send(19, 10, 1)
    client.run_until(30)
    at_30 = client.state()
    client.send(7, len(at_zero), at_zero, 1)
    assert client.call() == (1, 10)
    client.send(7, len(at_30), at_30)
    assert client.state() == at_30
    client.send(19, 50, 1)
    assert client.call() == (1, 50)


def test_a_refused_rewind_changes_nothing(client: MinimalClient):
    before = client.state()
    for state in (b"", b"\0", before[:-4], before + bytes(8), bytes(len(before))):
        client.send(7, len(state), state)
        assert client.state() == before
    client.send(1)
    assert client.call() == (1, -2550)


def test_the_inputs_are_told_as_a_script(client: MinimalClient):
    client.send(1)
    client.run_until(100)
    client.send(10, b"\0\0\1\0", 1)
    client.run_until(300)
    client.send(10, b"\0\1\1\0", 23)
    script = client.read(client.read_int()).decode()
    assert script == "0.10 press up\n0.30 press right\n"


# Analog steering


def test_analog_steering_holds_until_the_next_inputs(client: MinimalClient):
    client.send(1)
    client.run_until(0)
    client.send(100, 0x7FFFFFFF, 22)  # the probe
    assert (client.read_int(), client.read_int()) == (100, 0)
    client.send(100, -30_000)
    assert struct.unpack_from("<i", client.state(), 8328)[0] & 0xFFFFFF == 30_000
    client.send(100, 70_000)  # out of range: ignored
    assert struct.unpack_from("<i", client.state(), 8328)[0] & 0xFFFFFF == 30_000
    client.send(1)
    client.run_until(100)
    assert struct.unpack_from("<f", client.state(), 1736)[0] == pytest.approx(-30_000 / 65_536)
    client.send(10, b"\0\0\0\0", 1)
    client.run_until(200)
    assert struct.unpack_from("<f", client.state(), 1736) == (0.0,)


# Pictures


def test_pictures_come_while_the_game_is_paused(client: MinimalClient):
    pause_and_request(client)
    client.send(1)
    pictures = []
    for _ in range(3):
        assert client.call() == (4,)
        pictures.append(client.read(7 * 5 * 4))
        assert race_time(client.state()) == -2600
        client.send(17, 7, 5, 4)
    assert client.call() == (4,)
    pictures.append(client.read(7 * 5 * 4))
    assert len(set(pictures)) == 1
    client.send(6, struct.pack("<f", 1.0), 4)
    assert client.call() == (1, -2550)


def test_a_paused_game_announces_no_run_step(serve_game: Serve):
    with MinimalClient(serve_game(track="flat").port) as client:
        client.play("< 05000000 \n > 13000000 32000000")
        pause_and_request(client)
        client.send(5)
        assert client.call() == (4,)  # the game draws, and its clock stands
        client.read(7 * 5 * 4)
        client.send(6, struct.pack("<f", 1.0), 4)
        assert client.call() == (1, -2600)  # announced before its tick, as every other
        client.send(1)
        assert client.call() == (1, -2550)


def test_a_picture_can_be_taken_back(client: MinimalClient):
    client.send(17, 7, 5, 20, 1)
    assert client.call() == (1, -2550)


@pytest.mark.parametrize("size", [(1, 1), (160, 120), (11, 300)])
def test_pictures_come_in_any_size(client: MinimalClient, size: tuple[int, int]):
    client.send(17, *size, 1)
    assert client.call() == (4,)
    client.read(size[0] * size[1] * 4)
    client.send(4)
    assert client.call() == (1, -2550)


def test_a_picture_asked_for_in_a_checkpoint_call_shows_its_tick(client: MinimalClient):
    client.send(1)
    client.run_until(0)
    state = bytearray(client.state())
    struct.pack_into("<3f", state, 724, 0.0, 0.03, 44.0)
    struct.pack_into("<3f", state, 736, 0.0, 0.0, 50.0)
    client.send(7, len(state), bytes(state), 1)
    while client.call()[0] == 1:
        client.send(1)
    passed_at = race_time(client.state())
    pause_and_request(client)
    client.send(2)
    assert client.call() == (4,)
    client.read(7 * 5 * 4)
    assert race_time(client.state()) == passed_at
    assert passed_at % 50 != 0


# The console


def test_a_map_that_is_not_there_leads_back_to_the_menus(client: MinimalClient):
    client.command("map nowhere")
    assert client.ask(22) == 1
    assert client.state() == b"\0"
    assert client.ask(16) == 0
    client.send(10, b"\1\1\1\1", 11, 12, 23)
    assert client.read_int() == 0
    client.send(1)
    assert client.call() == (5,)
    client.command('map "somewhere/Two Laps"')
    client.send(5)
    assert client.call() == (1, -2600)
    assert len(client.state()) == 8356 + 4 * 2 + 8 * 4


def test_a_client_that_insists_on_a_missing_map_is_slowed_down(client: MinimalClient, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tmrl_ray.simulator.session.REFUSAL_PAUSE_S", 0.3)
    client.command("map nowhere")
    client.send(1)
    assert client.call() == (5,)
    for _ in range(2):
        client.command("map nowhere")
        client.send(5)
        assert client.is_silent(0.15)
        assert client.call() == (5,)
    client.command("map flat")
    client.send(5)
    assert client.call() == (1, -2600)


def test_a_map_can_be_loaded_twice_in_a_call(client: MinimalClient):
    state = client.state()
    client.command("map Two Laps;map flat")
    client.send(7, len(state), state, 1)
    assert client.call() == (1, -2550)


def test_keys_of_the_console_restart_and_respawn(client: MinimalClient):
    client.send(1)
    client.run_until(50)
    client.command("press up; press left")
    assert struct.unpack_from("<i", client.state(), 8296)[0] & 0xFFFFFF == 1
    client.command("rel up")
    assert struct.unpack_from("<i", client.state(), 8296)[0] & 0xFFFFFF == 0
    client.command("press delete")
    client.send(1)
    assert client.call() == (1, -2600)
    client.send(1)
    client.run_until(50)
    client.command("press enter")  # no checkpoint passed: as delete
    client.send(1)
    assert client.call() == (1, -2600)


def test_a_script_is_loaded_and_unloaded(serve_game: Serve, tmp_path: Path):
    (tmp_path / "gas.txt").write_text("0.00-0.20 press up\n0.10 steer -65536\n")
    with MinimalClient(serve_game(track="flat", scripts=tmp_path).port) as client:
        client.play("< 05000000 \n > 13000000 32000000")
        client.command("load gas.txt")
        for nothing in ("missing.txt", ".", "/dev/zero", "a\0b", "x" * 5000):
            client.command(f"load {nothing}")
        client.send(5)
        client.run_until(150)
        state = client.state()
        assert struct.unpack_from("<i", state, 8292) == (100_010,)
        assert struct.unpack_from("<ff", state, 1728) == (1.0, 0.0)
        assert struct.unpack_from("<f", state, 1736)[0] < -0.9
        client.command("unload")
        client.send(1)
        client.run_until(300)
        assert struct.unpack_from("<f", client.state(), 1728) == (1.0,)


def test_a_car_can_be_teleported(client: MinimalClient):
    client.command("tp 10.5 3 99")
    assert struct.unpack_from("<3f", client.state(), 724) == (10.5, 3.0, 99.0)
    client.command("tp 1e30 0 0")
    assert struct.unpack_from("<3f", client.state(), 724) == (10.5, 3.0, 99.0)
