import os
import signal
import sys

import psutil
import pytest

from tmrl_ray.config.game import GameSettings, Patience
from tmrl_ray.errors import GameGoneError, GameHungError, GameRefusedError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.launch import Launch, free_port
from tmrl_ray.game.supervisor import GameSupervisor, RelaunchPolicy

GAME = '''
"""A game that says hello, has one map, and whose race hangs after its first step when there is a file "hang"."""
import os, socket, struct, sys, time

LENGTHS = {6: 4, 10: 4, 15: 4, 17: 8, 19: 4, 21: 4}

def state(race_time):
    data = bytearray(8356 + 12)
    struct.pack_into("<i", data, 7892, race_time)
    struct.pack_into("<i", data, 8348, 1)
    struct.pack_into("<ii", data, 8356, 1, -1)
    return bytes(data)

def read(sock, count):
    data = b""
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data

def call(sock, race_time, menus, *values):
    sock.sendall(struct.pack(f"<{len(values)}i", *values))
    while True:
        (number,) = struct.unpack("<i", read(sock, 4))
        if number == values[0]:
            return
        if number == 13:
            raise EOFError
        if number == 22:
            sock.sendall(struct.pack("<i", menus))
        elif number == 9:
            sock.sendall(struct.pack("<i", 8368) + state(race_time))
        elif number in (7, 14):
            read(sock, struct.unpack("<i", read(sock, 4))[0])
        else:
            read(sock, LENGTHS.get(number, 0))

def play(sock):
    call(sock, 0, 1, 5)
    for race_time in (-50, *range(-50, 100_000, 50)):
        if race_time > 0 and os.path.exists("hang"):
            time.sleep(60)
        call(sock, race_time, 0, 1, race_time)

listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    sock, _ = listener.accept()
    try:
        play(sock)
    except (EOFError, OSError):
        sock.close()
'''

PATIENCE = Patience(connect_s=5, greeting_s=3, load_s=3, answer_s=0.5)
BLIND = GameSettings(frame_size=None)


@pytest.fixture
def supervise(tmp_path):
    supervisors = []
    pauses = []

    def start(code=GAME, **options):
        launch = Launch(command=(sys.executable, "-c", code, "{port}"), port=free_port(), directory=tmp_path, ready_s=5)
        supervisors.append(
            GameSupervisor(
                launch, BLIND, patience=PATIENCE, state_dir=tmp_path / "state", sleep=pauses.append, **options
            )
        )
        return supervisors[-1], pauses

    yield start
    for supervisor in supervisors:
        supervisor.close()
    assert list((tmp_path / "state").glob("*.game.json")) == []


def pid_of(supervisor):
    return supervisor._process.record.process.pid


def drive(game, steps):
    game.load_map("hairpin")
    moment = game.start_race()
    for _ in range(steps):
        moment = game.step(Inputs(accelerate=True))
    return moment


def test_a_game_that_dies_is_started_again(supervise):
    supervisor, pauses = supervise()
    assert drive(supervisor.game(), 3).race_time_ms == 150
    assert supervisor.game() is supervisor.game()
    first = pid_of(supervisor)
    os.kill(first, signal.SIGKILL)
    with pytest.raises(GameGoneError) as caught:
        drive(supervisor.game(), 3)
    supervisor.lost(caught.value)
    assert drive(supervisor.game(), 2).race_time_ms == 100
    assert pid_of(supervisor) != first
    assert supervisor.losses == 1 and pauses == [1.0]


def test_a_game_that_hangs_is_ended_and_started_again(supervise, tmp_path):
    supervisor, _ = supervise()
    (tmp_path / "hang").touch()
    with pytest.raises(GameHungError) as caught:
        drive(supervisor.game(), 1)
    first = pid_of(supervisor)
    (tmp_path / "hang").unlink()
    supervisor.lost(caught.value)
    assert not psutil.pid_exists(first)
    assert drive(supervisor.game(), 1).race_time_ms == 50


def test_a_connection_that_breaks_while_the_game_runs_is_made_again(supervise):
    supervisor, _ = supervise(policy=RelaunchPolicy(stable_s=0))
    drive(supervisor.game(), 1)
    first = pid_of(supervisor)
    supervisor.game()._client._connection.close()
    with pytest.raises(GameGoneError) as caught:
        supervisor.game().step(Inputs())
    supervisor.lost(caught.value)
    assert drive(supervisor.game(), 1).race_time_ms == 50
    assert pid_of(supervisor) == first


def test_a_game_that_never_comes_up_is_given_up_with_its_last_words(supervise):
    supervisor, pauses = supervise("raise SystemExit('no display')", policy=RelaunchPolicy(most=3))
    with pytest.raises(GameRefusedError, match="lost 4 times") as caught:
        supervisor.game()
    assert "no display" in str(caught.value) and "game check" in caught.value.hint
    assert pauses == [1.0, 2.0, 4.0]


def test_losses_long_ago_do_not_count(supervise):
    supervisor, _ = supervise(policy=RelaunchPolicy(most=1, window_s=0))
    for _ in range(3):
        supervisor.game()
        supervisor.lost(GameHungError("silent"))
    assert supervisor.losses == 3


def test_a_game_of_somebody_else_is_connected_to_and_left_running(supervise):
    owner, _ = supervise()
    owner.game().close()
    guest = GameSupervisor(owner._process.address, BLIND, patience=PATIENCE)
    with guest:
        assert drive(guest.game(), 1).race_time_ms == 50
        guest.lost(GameHungError("silent"))
        assert drive(guest.game(), 1).race_time_ms == 50
    assert owner._process.is_running()
