"""``tmrl-ray train`` on a cluster of its own, with games that are processes: told to stop, it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.actors.remote_parts import PATIENCE_S, eventually
from tests.faults.conftest import Recovery
from tmrl_ray.config.loading import to_yaml
from tmrl_ray.experience.memory import RING_PREFIX, SHARED_MEMORY
from tmrl_ray.game.process import GameRecord, recorded_games
from tmrl_ray.runs.run_files import RunRecord, RunStatus

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(600)]


class Command:
    """One run from the command line, its games and its cluster in folders of their own."""

    def __init__(self, folder: Path, ray_folder: str) -> None:
        from tests.faults.test_games import config_of
        from tests.faults.watched_run import CONFIG

        config = config_of().replace(learner=CONFIG.learner, evaluation=CONFIG.evaluation.replace(every_s=5.0))
        config = config.replace(training=CONFIG.training)
        self._file = folder / "config.yaml"
        self._file.write_text(to_yaml(config))
        self._folder = folder
        self._games = folder / "state" / "tmrl_ray" / "games"
        self._output = folder / "output"
        self._environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "RAY_TMPDIR": ray_folder}
        self.run = folder / "runs" / "stopped"
        self.processes: dict[int, psutil.Process] = {}
        """All that were ever seen below it."""

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        place = [f"run.folder={self.run.parent}", f"run.name={self.run.name}"]
        command = [sys.executable, "-m", "tmrl_ray.cli", "train", "-c", str(self._file), *place, *words]
        with self._output.open("ab") as output:
            return subprocess.Popen(
                command, stdout=output, stderr=output, env=self._environment, cwd=self._folder, start_new_session=True
            )

    def has_learned(self, driver: subprocess.Popen[bytes], steps: int) -> bool:
        """Whether the run has learned for so many steps, and its games are there."""
        assert driver.poll() is None, self.said()
        for process in psutil.Process(driver.pid).children(recursive=True):
            self.processes[process.pid] = process
        is_there = (self.run / "status.json").exists()
        return is_there and RunStatus.read(self.run).clocks.learner_steps > steps and len(self.games()) == 2

    def games(self) -> list[GameRecord]:
        return recorded_games(self._games) if self._games.exists() else []

    def said(self) -> str:
        return self._output.read_text(errors="replace")[-4000:]

    def rings(self) -> list[Path]:
        uuid = RunRecord.read(self.run).uuid
        return [*SHARED_MEMORY.glob(f"{RING_PREFIX}{uuid}-*"), *(self.run / "rings").glob("*")]


@pytest.fixture
def ray_folder() -> Iterator[str]:
    folder = tempfile.mkdtemp(prefix="r", dir="/tmp")
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    "number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.faults)], ids=["ctrl-c", "sigterm"]
)
def test_row_36_a_run_that_is_told_to_stop_leaves_nothing_behind_and_resumes(
    tmp_path: Path, ray_folder: str, number: signal.Signals, recovery: Recovery
) -> None:
    """Ctrl-C, SIGTERM of the driver: saved, no orphaned game, nothing left in shared memory, resumes; 30 s."""
    command = Command(tmp_path, ray_folder)
    driver = command.start()
    try:
        eventually(lambda: command.has_learned(driver, 20), within_s=2 * PATIENCE_S)
        eventually(lambda: len(command.games()) == 2)  # the evaluator's may be started after the first updates
        members = [process for game in command.games() for process in game.members()]
        assert len(members) >= 2
        recovery.begin()
        driver.send_signal(number)
        assert driver.wait(PATIENCE_S) == 0, command.said()
        recovery.end()
    finally:
        if driver.poll() is None:
            driver.kill()
    ours = [*members, *command.processes.values()]
    _, alive = psutil.wait_procs(ours, timeout=60.0)
    assert alive == [], command.said()
    assert command.games() == []
    assert command.rings() == []
    stopped = RunStatus.read(command.run)
    assert stopped.ended == "stopped"
    resumed = command.start("--resume", f"training.env_steps={stopped.clocks.env_steps + 300}")
    end_s = time.monotonic() + 2 * PATIENCE_S
    assert resumed.wait(max(1.0, end_s - time.monotonic())) == 0, command.said()
    finished = RunStatus.read(command.run)
    assert finished.ended == "finished"
    assert finished.clocks.env_steps >= stopped.clocks.env_steps + 300
    assert finished.clocks.learner_steps >= stopped.clocks.learner_steps
    assert command.rings() == []
