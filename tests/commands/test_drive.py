"""``tmrl-ray drive`` and ``game view``: races and pictures as a person asks for them."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tmrl_ray.cli import run
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.yaml_text import dump_yaml
from tmrl_ray.errors import GameUnavailableError
from tmrl_ray.game.launch import free_port
from tmrl_ray.game.process import default_state_dir, recorded_games
from tmrl_ray.game.scripts import format_script
from tmrl_ray.service import ScriptedRaces, inputs_of, open_game
from tmrl_ray.simulator.faults import parse_fault
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.server import GameServer, ServerSettings


def report(capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads(capsys.readouterr().out)
    return shown


def test_races_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drive", "--track", "loop", "--driver", "pursuit", "--races", "2", "--json"]) == 0
    shown = report(capsys)
    assert (shown["track"], shown["driver"], shown["finished"]) == ("loop", "pursuit", 2)
    first, second = shown["races"]
    assert first["finished"]
    assert 10 < first["finish_time_s"] < 15
    assert first["checkpoint_times_s"][-1] == first["finish_time_s"] == shown["best_time_s"]
    assert second["finish_time_s"] == first["finish_time_s"]


def test_a_game_behind_a_socket_gives_the_same_race(server: GameServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drive", "--track", "loop", "--connect", f"127.0.0.1:{server.port}", "--json"]) == 0
    through_socket = report(capsys)["races"][0]
    assert run(["drive", "--track", "loop", "--json"]) == 0
    embedded = report(capsys)["races"][0]
    del through_socket["wall_s"], embedded["wall_s"]
    assert through_socket == embedded


@pytest.mark.timeout(300)
def test_a_game_is_started_for_the_races_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    launch = {
        "command": [sys.executable, "-m", "tmrl_ray.cli", "game", "serve", "--track", "loop", "--port", "{port}"],
        "ready_s": 240,
    }
    file = tmp_path / "launched.yaml"
    file.write_text(dump_yaml({"connection": {"port": (port := free_port()), "launch": launch}}))
    assert run(["drive", "--track", "loop", "--config", str(file), "--json"]) == 0
    assert report(capsys)["finished"] == 1
    assert recorded_games(default_state_dir()) == []
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_a_race_that_is_given_up_is_no_failure_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--track", "loop", "cut_offs.race_ms=1500", "cut_offs.no_progress_ms=1500"]
    assert run(["drive", *arguments, "--json"]) == 0
    race = report(capsys)["races"][0]
    assert (race["finished"], race["finish_time_s"], race["cut_off"], race["race_time_s"]) == (False, None, "time", 1.5)
    assert run(["drive", *arguments]) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[1].split()[:4] == ["1", "time", "1.50", "s"]
    assert "given up: out of time" in err


def test_a_lost_game_is_reported_and_fails(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ServerSettings(track="loop", faults=[parse_fault("garbage@2000")])
    with GameServer(settings, port=0) as broken:
        assert run(["drive", "--track", "loop", "--connect", str(broken.port), "--races", "3", "--json"]) == 1
    out, err = capsys.readouterr()
    races = json.loads(out)["races"]
    assert [race["end"] for race in races] == ["lost"]
    assert "error: " in err
    assert "Traceback" not in err


def test_nobody_is_told_of_compiling_where_nothing_listens(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    explained: list[bool] = []

    @contextmanager
    def delay_explained(message: str) -> Iterator[None]:
        explained.append(True)
        yield
        explained.append(False)

    @contextmanager
    def dead_port(*_: object) -> Iterator[None]:
        assert explained == [True, False]
        raise GameUnavailableError("nothing listens there")
        yield

    monkeypatch.setattr("tmrl_ray.commands.drive.explain_delay", delay_explained)
    monkeypatch.setattr("tmrl_ray.service.open_game", dead_port)
    assert run(["drive", "--track", "loop", "--connect", "127.0.0.1:8478"]) == 1
    assert "nothing listens there" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--track", "nowhere"], "there is no track 'nowhere'"),
        (["--track", "loop", "driver.speed=3"], "driver.speed (override 'driver.speed=3'): unknown key"),
        (["--track", "loop", "--driver", "robot"], "'robot' is not one of"),
        ([], "Missing option '--track'"),
    ],
)
def test_wrong_input_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["drive", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_recorded_inputs_are_filmed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with ScriptedRaces(load_config(None, ["game.frame_size=null"]), load_track("loop")) as races:
        race = races.next_race()
        inputs = inputs_of(list(race))
    script = tmp_path / "race.txt"
    script.write_text(format_script(inputs))
    sheet = tmp_path / "sheet.png"
    assert run(["game", "view", "--track", "loop", "--script", str(script), "-o", str(sheet), "--size", "67x53"]) == 0
    out, err = capsys.readouterr()
    assert out == f"written: {sheet}\n"
    assert err.splitlines()[-1].startswith(f"filming: 100 %  {race.end.race_time_ms / 1000:.2f} s")
    with Image.open(sheet) as image:
        assert image.mode == "RGB"


def test_the_look_seed_of_a_configuration_reaches_its_game() -> None:
    frames = []
    for overrides in ([], ["simulator.look_seed=3"], ["simulator.look_seed=3"]):
        with open_game(load_config(None, ["game.frame_size=[17, 13]", *overrides])) as game:
            game.load_map("loop")
            frames.append(game.start_race().frame.tobytes())
    assert frames[0] != frames[1] == frames[2]


def test_a_view_needs_a_file_to_write(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "view", "--track", "loop"]) == 2
    assert "--video LAP.mp4" in capsys.readouterr().err
    assert run(["game", "view", "--track", "loop", "-o", "x.png", "--size", "3x3"]) == 2
    assert "WIDTHxHEIGHT" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "name"), [("-o", "sheet.jpg"), ("--video", "lap.avi"), ("-o", "file/sheet.png")])
def test_a_view_checks_its_files_before_it_drives(
    option: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("tmrl_ray.commands.game.view._driven", lambda track: pytest.fail("it drove"))
    assert run(["game", "view", "--track", "loop", option, str(tmp_path / name)]) == 2
    assert f"error: {tmp_path / name}" in capsys.readouterr().err
