"""``tmrl-ray game check``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tmrl_ray.cli import run
from tmrl_ray.commands.command import host_and_port
from tmrl_ray.game.launch import free_port
from tmrl_ray.simulator.faults import parse_fault
from tmrl_ray.simulator.server import GameServer, ServerSettings


def test_a_healthy_game_passes_every_step(server: GameServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "check", "--connect", str(server.port)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert all(line.startswith("ok") for line in lines)
    assert {"port", "map", "inputs", "car moves", "camera", "rate"} <= {line[6:].partition(":")[0] for line in lines}


def test_the_first_failure_ends_it_with_advice(server: GameServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "check", "--connect", f"127.0.0.1:{server.port}", "--map", "nowhere", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert not report["healthy"]
    assert [step["ok"] for step in report["steps"]] == [True] * (len(report["steps"]) - 1) + [False]
    assert report["steps"][-1]["name"] == "map"
    assert "nowhere" in report["steps"][-1]["found"]
    assert report["steps"][-1]["advice"]


def test_a_game_that_is_not_there_is_said_to_be_started(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "check", "--connect", str(free_port())]) == 1
    out = capsys.readouterr().out
    assert out.startswith("FAIL  port: nothing accepts connections")
    assert "tmrl-ray game serve" in out


def test_a_game_that_breaks_off_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    settings = ServerSettings(track="loop", faults=[parse_fault("garbage@500")])
    with GameServer(settings, port=0) as server:
        assert run(["game", "check", "--connect", str(server.port), "--json"]) == 1
    last = json.loads(capsys.readouterr().out)["steps"][-1]
    assert (last["name"], last["ok"]) == ("run steps", False)


def test_the_folder_of_tminterface_is_looked_at_first(
    server: GameServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--connect", str(server.port), "--map", "nowhere", "--tminterface", str(tmp_path)]
    assert run(["game", "check", *arguments]) == 1
    assert "no plugin in" in capsys.readouterr().out.splitlines()[0]


@pytest.mark.parametrize(
    ("text", "address"),
    [("8479", ("127.0.0.1", 8479)), ("game-host:9000", ("game-host", 9000)), ("[::1]:9000", ("::1", 9000))],
)
def test_an_address_is_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert host_and_port(text) == address


@pytest.mark.parametrize("text", ["", "host", "host:", "host:0", "host:70000", "host:x"])
def test_what_is_no_address_is_wrong_usage(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "check", "--connect", text]) == 2
    assert "is not HOST:PORT" in capsys.readouterr().err
