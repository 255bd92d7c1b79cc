import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import psutil
import pytest

from tmrl_ray.errors import GameUnavailableError, InvalidInputError
from tmrl_ray.game.bounded_log import BoundedLog
from tmrl_ray.game.launch import Launch, free_port, simulator_launch
from tmrl_ray.game.process import (
    TOKEN_VARIABLE,
    GameProcess,
    ProcessIdentity,
    default_state_dir,
    reap_orphans,
)

SLEEP = "import time; print('up', flush=True); time.sleep(60)"


def python(code, port=1):
    """A launch of this Python with some code; its last argument is the port."""
    return Launch(command=(sys.executable, "-c", textwrap.dedent(code), "{port}"), port=port, ready_s=5)


def eventually(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true"
        time.sleep(0.02)


def runs(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_a_game_runs_is_recorded_and_ends(tmp_path):
    game = GameProcess.start(python(SLEEP, 4321), tmp_path)
    pid = game.record.process.pid
    assert game.is_running() and game.address == ("127.0.0.1", 4321)
    (record,) = tmp_path.glob("*.game.json")
    data = json.loads(record.read_text())
    assert data["process"]["pid"] == pid and data["parent"]["pid"] == os.getpid() and data["port"] == 4321
    game.end()
    assert not runs(pid) and not game.is_running()
    assert list(tmp_path.glob("*.game.json")) == []
    game.end()  # once more: harmless


def test_processes_that_the_game_started_end_with_it_and_no_other(tmp_path):
    """Like TMLoader: the first process starts another, in a session of its own, and leaves."""
    loader = f"""
        import subprocess, sys
        child = subprocess.Popen([sys.executable, "-c", {SLEEP!r}], start_new_session=True)
        print("child", child.pid, flush=True)
    """
    bystander = subprocess.Popen([sys.executable, "-c", SLEEP])
    game = GameProcess.start(python(loader), tmp_path)
    try:
        eventually(lambda: "up" in game.output.tail())
        child = int(game.output.tail().split()[1])
        eventually(lambda: not runs(game.record.process.pid))
        assert game.is_running(), "the game goes on in the process that the loader started"
        game.end()
        assert not runs(child)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_game_that_does_not_want_to_end_is_killed(tmp_path):
    stubborn = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    )
    game = GameProcess.start(python(stubborn), tmp_path)
    eventually(lambda: "up" in game.output.tail())
    game.end(grace_s=0.3)
    assert not game.is_running()


PARENT = """
import sys, time
from pathlib import Path
from tmrl_ray.game.launch import Launch
from tmrl_ray.game.process import GameProcess
game = GameProcess.start(Launch(command=(sys.executable, "-c", {child!r}, "{{port}}"), port=1), Path({state!r}))
print(game.record.process.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def parent_and_game(tmp_path):
    """A process that has started a game: (its Popen, the game's pid)."""
    code = PARENT.format(child=SLEEP, state=str(tmp_path))
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    pid = int(parent.stdout.readline())
    yield parent, pid
    parent.kill()
    parent.wait()
    parent.stdout.close()
    if runs(pid):
        os.kill(pid, signal.SIGKILL)


def test_the_orphan_of_a_killed_parent_is_reaped_at_the_next_start(tmp_path, parent_and_game):
    parent, orphan = parent_and_game
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    assert runs(orphan), "SIGKILL of the parent leaves the game alone"
    game = GameProcess.start(python(SLEEP), tmp_path)
    assert not runs(orphan)
    assert len(list(tmp_path.glob("*.game.json"))) == 1, "only the record of the new game is left"
    game.end()


def test_the_game_of_a_living_parent_is_left_alone(tmp_path, parent_and_game):
    _, pid = parent_and_game
    assert reap_orphans(tmp_path) == []
    assert runs(pid)


def dead_parent_record(path, process, token="0" * 32):
    data = {
        "token": token,
        "port": 1,
        "command": ["x"],
        "parent": {"pid": 2**22 - 1, "create_time": 1.0},
        "process": process,
    }
    path.write_text(json.dumps(data))


def test_a_process_that_took_over_the_id_is_left_alone(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", SLEEP])
    try:
        created = psutil.Process(other.pid).create_time()
        dead_parent_record(tmp_path / "a.game.json", {"pid": other.pid, "create_time": created - 100})
        assert len(reap_orphans(tmp_path)) == 1
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_a_start_that_was_cut_short_is_found_by_its_token(tmp_path):
    """The parent was killed after the game's start, and before it could write down the game's id."""
    token = "f" * 32
    orphan = subprocess.Popen([sys.executable, "-c", SLEEP], env={**os.environ, TOKEN_VARIABLE: token})
    dead_parent_record(tmp_path / "a.game.json", None, token)
    assert [record.token for record in reap_orphans(tmp_path)] == [token]
    assert orphan.wait(5) != 0


def test_what_is_no_record_is_left_alone(tmp_path, caplog):
    for name, text in (("a", "{"), ("b", "[]"), ("c", '{"token": 1}')):
        (tmp_path / f"{name}.game.json").write_text(text)
    assert reap_orphans(tmp_path) == []
    assert len(list(tmp_path.iterdir())) == 3
    assert caplog.text.count("not a record of a game") == 3


def test_a_program_that_does_not_exist_is_wrong_input(tmp_path):
    with pytest.raises(InvalidInputError, match="cannot start '/no/such/game'"):
        GameProcess.start(Launch(command=("/no/such/game", "{port}")), tmp_path)
    assert list(tmp_path.glob("*.game.json")) == []


@pytest.mark.parametrize("command", [(), ("game", "--port", "8478")])
def test_a_command_without_a_place_for_the_port_is_wrong_input(command):
    with pytest.raises(InvalidInputError, match="port"):
        Launch(command=command).words()


def test_a_game_that_ends_at_once_says_its_last_words(tmp_path):
    game = GameProcess.start(python("raise SystemExit('no such track')", free_port()), tmp_path)
    start = time.monotonic()
    with pytest.raises(GameUnavailableError, match="has ended") as caught:
        game.connect()
    assert "no such track" in str(caught.value)
    assert time.monotonic() - start < 3
    game.end()


def test_the_log_is_bounded_and_keeps_the_end(tmp_path):
    read, write = os.pipe()
    log = BoundedLog(tmp_path / "game.log", os.fdopen(read, "rb"), max_bytes=1000)
    with os.fdopen(write, "wb") as pipe:
        for i in range(700):
            pipe.write(b"line %d\n" % i)
    log.join(5)
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["game.log", "game.log.1"]
    assert all(file.stat().st_size <= 1000 for file in files)
    assert log.tail(20).splitlines() == ["line 698", "line 699"]
    text = files[1].read_text() + files[0].read_text()
    assert text.endswith("line 698\nline 699\n") and "line 600\n" in text


def test_identities_are_told_apart_by_their_time():
    here = ProcessIdentity.of(psutil.Process())
    assert here.find().pid == os.getpid()
    assert ProcessIdentity(here.pid, here.create_time - 50).find() is None
    assert ProcessIdentity(2**22 - 1, here.create_time).find() is None


def test_the_simulator_is_launched_with_this_python(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    simulator = simulator_launch(8481, "--track", "oval")
    assert simulator.words()[0] == sys.executable and simulator.words()[-4:] == ["--port", "8481", "--track", "oval"]
    assert default_state_dir() == tmp_path / "tmrl_ray" / "games"
