import contextlib
import dataclasses
import socket

import numpy as np
import pytest

from tests.game.transcript import hello
from tmrl_ray.config.game import GameSettings, Patience
from tmrl_ray.game import check
from tmrl_ray.game.check import check_game
from tmrl_ray.game.check_files import PLUGIN, check_files
from tmrl_ray.game.connection import Address
from tmrl_ray.game.inputs import RELEASED
from tmrl_ray.game.session import SocketGame
from tmrl_ray.simulator.server import GameServer, ServerSettings

QUICK = Patience(connect_s=1, greeting_s=0.5, load_s=20, answer_s=5)
STEPS = [
    "port",
    "hello",
    "plugin",
    "menus",
    "map",
    "race",
    "run steps",
    "inputs",
    "car moves",
    "steering",
    "rewind",
    "pictures",
    "row order",
    "camera",
    "patience",
    "rate",
]


@pytest.fixture(scope="module")
def simulator():
    """A simulator whose kernels are compiled already, so that deadlines here can be short."""
    compiling = Patience(load_s=280, answer_s=280)
    with GameServer(ServerSettings(), 0) as server:
        address = Address("127.0.0.1", server.port)
        with contextlib.closing(SocketGame.connect(address, patience=compiling)) as game:
            game.load_map("oval")
            game.start_race()
            game.step(RELEASED)
            game.start_race()
        yield address


@pytest.fixture
def no_pauses(monkeypatch):
    monkeypatch.setattr(check.time, "sleep", lambda seconds: None)


def last_step(address, map_name="oval", settings=None):
    """The step that failed; all before it were right."""
    steps = list(check_game(address, map_name, patience=QUICK, settings=settings))
    assert all(step.ok for step in steps[:-1])
    assert [step.name for step in steps] == STEPS[: len(steps)]
    assert not steps[-1].ok and steps[-1].found and steps[-1].advice
    return steps[-1]


def test_the_simulator_passes_every_step(simulator, no_pauses):
    steps = list(check_game(simulator, "oval", patience=QUICK))
    assert [(step.name, step.ok) for step in steps] == [(name, True) for name in STEPS]
    blind = list(check_game(simulator, "oval", patience=QUICK, settings=GameSettings(frame_size=None)))
    assert [step.name for step in blind] == [n for n in STEPS if n not in ("pictures", "row order", "camera")]
    assert all(step.ok and not step.advice for step in blind)


def test_it_really_waits_longer_than_the_game_would_by_itself(simulator):
    (step,) = [step for step in check_game(simulator, "oval", patience=QUICK) if step.name == "patience"]
    assert step.ok and "2.5 s" in step.found


def test_nothing_listens():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
    step = last_step(address)
    assert step.name == "port" and "custom_port" in step.advice and "game serve" in step.advice


def test_something_else_listens(scripted_game):
    step = last_step(scripted_game(lambda peer: (peer.send(b"SSH-2.0-OpenSSH"), peer.read(1))).address)
    assert step.name == "hello" and "53 53 48 2d" in step.found
    assert "Another program" in step.advice and "game check" not in step.advice


def test_a_game_that_is_still_starting_or_stuck(scripted_game):
    step = last_step(scripted_game(lambda peer: peer.read(1)).address)
    assert step.name == "hello" and "login" in step.advice and "client that died" in step.advice


def test_a_game_that_hangs_up(scripted_game):
    step = last_step(scripted_game(lambda peer: None).address)
    assert step.name == "hello" and "is gone" in step.found


def test_a_map_that_is_not_there(simulator):
    step = last_step(simulator, "nowhere")
    assert step.name == "map" and "'nowhere'" in step.found


def test_a_map_that_never_starts(scripted_game):
    def script(peer):
        hello(peer)
        peer.expect(100, 0x7FFFFFFF, 22)
        peer.send(1)
        peer.expect(22)
        peer.send(1)
        peer.read(64)
        peer.read(1)

    patience = Patience(connect_s=1, greeting_s=1, load_s=0.3, answer_s=1)
    *_, step = check_game(scripted_game(script).address, "nowhere", patience=patience)
    assert (step.name, step.ok) == ("map", False) and "did not start" in step.found and "dialog" in step.advice


class Bent(SocketGame):
    """A game with something wrong about it, made of a right one."""

    moments = 0

    def bend_inputs(self, inputs):
        return inputs

    def bend(self, moment):
        return moment

    def start_race(self, state=None):
        return self.bend(super().start_race(state))

    def step(self, inputs):
        self.moments += 1
        return self.bend(super().step(self.bend_inputs(inputs)))


class Deaf(Bent):
    def bend_inputs(self, inputs):
        return RELEASED


class Stuck(Bent):
    def bend(self, moment):
        moment.state.position = (100, 10, 100)
        return moment


class WrongWay(Bent):
    def bend_inputs(self, inputs):
        return inputs._replace(left=inputs.right, right=inputs.left)


class Straight(Bent):
    def bend_inputs(self, inputs):
        return inputs._replace(left=False)


class NoRewind(Bent):
    def start_race(self, state=None):
        moment = super().start_race(state)
        if self.moments:
            moment.state.position = moment.state.position + 1
        return moment


class Flat(Bent):
    def bend(self, moment):
        return dataclasses.replace(moment, frame=np.full_like(moment.frame, 30))


class UpsideDown(Bent):
    def bend(self, moment):
        return dataclasses.replace(moment, frame=moment.frame[::-1])


class OneCamera(Bent):
    def execute(self, command):
        pass


@pytest.mark.parametrize(
    ("bent", "name", "found", "advice"),
    [
        (Deaf, "inputs", "state does not show it", "focus"),
        (Stuck, "car moves", "0.00 m away", "Bind accelerate"),
        (Straight, "steering", "did not turn left", "Bind left"),
        (WrongWay, "steering", "turned right", "wrong way round"),
        (NoRewind, "rewind", "led to 0 ms", "TMInterface"),
        (Flat, "pictures", "one colour", "minimised"),
        (UpsideDown, "row order", "upper third", "bottom row first"),
        (OneCamera, "camera", "the same picture", "disable_forced_camera"),
    ],
)
def test_each_fault_is_found_by_its_step(simulator, monkeypatch, bent, name, found, advice):
    monkeypatch.setattr(check, "SocketGame", bent)
    step = last_step(simulator)
    assert step.name == name and found in step.found and advice in step.advice


def test_a_game_that_is_slower_than_it_should_be(simulator, no_pauses, monkeypatch):
    monkeypatch.setattr(check, "SLOW_FACTOR", 1e6)
    step = last_step(simulator)
    assert step.name == "rate" and "times real time" in step.found


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "Plugins").mkdir()
    return tmp_path


def results(folder, **options):
    return {step.name: step for step in check_files(folder, 8478, **options)}


def test_files_as_they_should_be(folder):
    (folder / "Plugins" / PLUGIN.name).write_bytes(PLUGIN.read_bytes())
    (folder / "TMLoader.exe").touch()
    (folder / "config.txt").write_text("set speed 1\nset custom_port 8478\n")
    (folder / "builtin.txt").write_text("set custom_port 0\n")
    found = results(folder, loader=folder / "TMLoader.exe")
    assert list(found) == ["TMLoader", "plugin file", "custom_port"] and all(step.ok for step in found.values())


def test_the_public_plugin_will_do(folder):
    (folder / "Plugins" / "Python_Link.as").touch()
    assert results(folder)["plugin file"].ok


@pytest.mark.parametrize(
    ("files", "found", "advice"),
    [
        ({}, "no plugin in", "Copy"),
        ({PLUGIN.name: b"old"}, "another version", "over it"),
        ({PLUGIN.name: PLUGIN.read_bytes(), "Python_Link.as": b""}, "are both in", "remove"),
    ],
)
def test_plugin_files_that_will_not_do(folder, files, found, advice):
    for name, data in files.items():
        (folder / "Plugins" / name).write_bytes(data)
    step = results(folder)["plugin file"]
    assert not step.ok and found in step.found and advice in step.advice


def test_a_loader_that_is_not_there_and_a_port_that_is_another(folder):
    (folder / "builtin.txt").write_text("set draw_game true\nset custom_port 8483\n")
    found = results(folder, loader=folder / "TMLoader.exe")
    assert not found["TMLoader"].ok and "ModLoader" in found["TMLoader"].advice
    assert not found["custom_port"].ok and "8483" in found["custom_port"].found
    assert "set custom_port 8478" in found["custom_port"].advice
