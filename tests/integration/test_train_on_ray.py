"""``tmrl-ray train`` on a cluster of its own, reached by the other commands, then resumed on one that it joins."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest

from tests.head_node import head_node
from tests.integration.test_serial import QUICKSTART, TINY
from tmrl_ray.config.loading import load_config
from tmrl_ray.runs.run_files import RunStatus

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

PATIENCE_S = 180.0
LASTING = ("training.report_s=1", "training.checkpoint_s=600", "evaluation.every_s=600", "replay.test_every=null")


class Commands:
    """Commands about the runs in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._directory = tempfile.mkdtemp(prefix="r")  # the paths of Ray's sockets must be short
        self._environment = {**os.environ, "RAY_TMPDIR": self._directory}

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "tmrl_ray.cli", *words, "--folder", str(self.folder)],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
        )

    def say(self, *words: str) -> str:
        done = self.call(*words)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def until(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        end_s = time.monotonic() + PATIENCE_S
        while True:
            asked = self.call("status", "--json")
            shown = json.loads(asked.stdout) if asked.returncode == 0 else {}
            if shown.get("collectors") is not None and holds(shown):
                return shown
            assert time.monotonic() < end_s, f"not within {PATIENCE_S} s: {shown} {asked.stderr}"

    def train(self, *words: str, **variables: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tmrl_ray.cli", "train", *words]
        return subprocess.Popen(command, env={**self._environment, **variables}, stdout=subprocess.PIPE, text=True)

    def clean_up(self) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[Commands]:
    commands = Commands(tmp_path)
    yield commands
    commands.clean_up()


def driving(shown: dict[str, Any]) -> list[int]:
    return [each["number"] for each in shown["collectors"] if each["state"] == "running"]


def test_a_run_is_watched_ordered_about_stopped_and_resumed(commands: Commands) -> None:
    place = (f"run.folder={commands.folder}", "run.name=tiny")
    process = commands.train("-c", str(QUICKSTART), *TINY, *LASTING, *place)
    try:
        assert process.stdout is not None
        told = list(takewhile(lambda line: "of starting and compiling" not in line, process.stdout))
        assert any(line.startswith("dashboard:") for line in told)
        commands.until(lambda shown: shown["env_steps"] > 0 and driving(shown) == [0])
        commands.say("scale", "2")
        commands.until(lambda shown: driving(shown) == [0, 1])
        commands.say("scale", "tiny", "1")
        commands.until(lambda shown: driving(shown) == [0])
        commands.say("set", "samples_per_insert=3")
        commands.until(lambda shown: shown["wanted_samples_per_insert"] == 3)
        refused = commands.call("set", "reward.per_ms=1")
        assert refused.returncode == 2 and "replay.samples_per_insert" in refused.stderr
        commands.say("pause")
        paused = commands.until(lambda shown: shown["state"] == "paused")
        commands.say("continue")
        commands.until(lambda shown: shown["env_steps"] > paused["env_steps"] and shown["policy_version"] > 1)
        assert "checkpoint-000001" in commands.say("checkpoint")
        greedy = json.loads(commands.say("eval", "--races", "1", "--json"))
        assert greedy["maps"][0]["races"] == 1
        go_on = commands.say("stop").splitlines()[-1]
        shown, _ = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "saved checkpoint-000002" in shown
    stopped = RunStatus.read(commands.folder / "tiny")
    assert stopped.ended == "stopped"
    config = commands.folder / "tiny" / "config.yaml"
    assert load_config(config).replay.samples_per_insert == 3
    words = go_on.removeprefix("go on: tmrl-ray train ").split()
    assert words == ["-c", str(config), "--resume"]
    with head_node("--num-cpus=2", '--resources={"game": 2}') as head:
        joins = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": head.token}
        more = f"training.env_steps={stopped.clocks.env_steps + 300}"
        again = commands.train(*words, more, "--address", head.address, **joins)
        told, _ = again.communicate(timeout=2 * PATIENCE_S)
    assert again.returncode == 0
    assert str(head.logs) in told, "it ran on another cluster"
    resumed = RunStatus.read(commands.folder / "tiny")
    assert resumed.ended == "finished"
    assert resumed.clocks.env_steps >= stopped.clocks.env_steps + 300
