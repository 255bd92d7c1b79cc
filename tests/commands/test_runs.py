"""``tmrl-ray runs``, ``status`` and orders to runs: which run is meant, and what is said where none can be reached."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tmrl_ray.cli import run
from tmrl_ray.config.run import RunConfig
from tmrl_ray.live_settings import LIVE
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.cluster_file import CLUSTER_FILE, ClusterPlace
from tmrl_ray.runs.run_files import RunStatus
from tmrl_ray.runs.rundir import RunDirectory, Start

ORDERS = (["pause"], ["continue"], ["checkpoint"], ["stop"], ["scale", "3"], ["set", "samples_per_insert=5"])


def make_run(folder: Path, name: str) -> RunDirectory:
    return RunDirectory.open(folder, name, RunConfig(), Start.NEW)


@pytest.fixture
def ended(tmp_path: Path) -> Path:
    """A folder with one run that has ended."""
    with make_run(tmp_path, "over") as made:
        made.end("finished", RunStatus(clocks=Clocks(1234, 56, 0.05), best_times_s={"loop": 14.25}))
    return tmp_path


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run whose process is this one."""
    with make_run(tmp_path, "busy") as made:
        yield made


def test_runs_are_listed(ended: Path, running: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "--folder", str(ended)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [["busy", "running"], ["over", "finished"]]
    assert "3:00" in lines[2] and "1,234" in lines[2] and "loop 14.25 s" in lines[2]
    assert run(["runs", "--folder", str(ended), "--json"]) == 0
    over = json.loads(capsys.readouterr().out)[1]
    assert (over["run"], over["env_steps"], over["best_times_s"]) == ("over", 1234, {"loop": 14.25})


def test_no_runs_are_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["runs", "--folder", str(tmp_path / "none")]) == 0
    assert "tmrl-ray train" in capsys.readouterr().out


def test_a_run_that_has_ended_is_told_of_by_its_files(ended: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["status", "--folder", str(ended)]) == 0
    assert "3:00, 1,234 decisions, 56 updates" in capsys.readouterr().out
    assert run(["status", "over", "--folder", str(ended), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "finished"


@pytest.mark.parametrize("order", ORDERS, ids=lambda words: words[0])
def test_a_run_that_has_ended_takes_no_orders(
    order: list[str], ended: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    word, *rest = order
    assert run([word, "over", *rest, "--folder", str(ended)]) == 2
    assert "--resume" in capsys.readouterr().err
    assert run([*order, "--folder", str(ended)]) == 2
    assert "no run is under way" in capsys.readouterr().err


def test_several_runs_must_be_named(running: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    folder = running.path.parent
    with make_run(folder, "other"):
        assert run(["pause", "--folder", str(folder)]) == 2
        assert "busy, other" in capsys.readouterr().err


def test_a_run_in_one_process_cannot_be_reached(running: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["pause", "--folder", str(running.path.parent)]) == 2
    assert "--serial" in capsys.readouterr().err


def test_a_cluster_that_is_gone_is_said_at_once(running: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    ClusterPlace(address, None, "", None).write(running.path)
    assert run(["status", "--folder", str(running.path.parent)]) != 0
    assert "no Ray cluster answers" in capsys.readouterr().err


def test_where_a_run_is_only_its_owner_can_read(running: RunDirectory) -> None:
    place = ClusterPlace("10.0.0.5:6379", "http://127.0.0.1:8265", "/logs", "secret")
    place.write(running.path)
    assert (running.path / CLUSTER_FILE).stat().st_mode & 0o777 == 0o600
    assert ClusterPlace.read(running.path) == place


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["scale", "many"], "[RUN] N"),
        (["scale", "a", "b", "2"], "[RUN] N"),
        (["set", "quickstart"], "[RUN] KEY=VALUE"),
        (["set", "a=1", "b"], "[RUN] KEY=VALUE"),
        (["train", "--serial", "--address", "auto"], "--address"),
    ],
)
def test_wrong_words_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 2
    assert message in capsys.readouterr().err


def test_the_help_lists_what_can_change(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["set", "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(key in shown for key in LIVE)
