"""A crash or a full disk at any step of a checkpoint leaves the one before it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runs.saved_state import IDENTITY, CountingDisk, assert_is, clocks_of, full_at, parts_of
from tmrl_ray.errors import NotSavedError
from tmrl_ray.runs.checkpoint import CheckpointStore, Retention

ROOT = Path(__file__).parents[2]
SAVES = 3
"""The last one also removes an old checkpoint."""


def steps_of_a_save(directory: Path) -> int:
    disk = CountingDisk()
    store = CheckpointStore(directory, IDENTITY, retention=Retention(last=2), disk=disk)
    for number in range(1, SAVES + 1):
        disk.steps = 0
        store.save(parts_of(number), clocks_of(number))
    return disk.steps


def test_a_full_disk_at_any_step_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    steps = steps_of_a_save(tmp_path / "counted")
    assert steps > 15
    outcomes = []
    for step in range(steps):
        directory = tmp_path / f"full at {step}"
        store = CheckpointStore(directory, IDENTITY, retention=Retention(last=2))
        for number in range(1, SAVES):
            store.save(parts_of(number), clocks_of(number))
        failing = CheckpointStore(directory, IDENTITY, retention=Retention(last=2), disk=CountingDisk(full_at(step)))
        try:
            failing.save(parts_of(SAVES), clocks_of(SAVES))
            outcomes.append(True)
        except NotSavedError as error:
            assert "No space left" in str(error) and "Make room on that disk" in str(error)
            outcomes.append(False)
            assert_is(failing.load(), SAVES - 1)
            assert sorted(path.name for path in directory.iterdir()) == failing.names()
            failing.save(parts_of(SAVES), clocks_of(SAVES))  # and once there is room, it works again
        assert_is(failing.load(), SAVES)
    assert outcomes == sorted(outcomes), "once it is saved, only the removal of old ones can fail"
    assert outcomes.count(True) == 2


def test_a_kill_at_any_step_leaves_a_checkpoint_that_loads(tmp_path: Path) -> None:
    steps = steps_of_a_save(tmp_path / "counted")
    processes = {}
    for step in range(steps):
        command = [
            sys.executable,
            "-m",
            "tests.runs.saved_state",
            tmp_path / f"killed at {step}",
            str(SAVES),
            str(step),
        ]
        processes[step] = subprocess.Popen(command, cwd=ROOT)
        if step % 4 == 3:
            assert {processes[each].wait() for each in range(step - 3, step + 1)} == {-signal.SIGKILL}
    assert {process.wait() for process in processes.values()} == {-signal.SIGKILL}
    newest = []
    for step in range(steps):
        directory = tmp_path / f"killed at {step}"
        store = CheckpointStore(directory, IDENTITY, retention=Retention(last=2))
        assert sorted(path.name for path in directory.iterdir()) == store.names(), "strays are removed"
        latest = store.latest()
        assert latest is not None
        newest.append(latest.number)
        assert_is(store.load(), latest.number)
        store.save(parts_of(latest.number + 1), clocks_of(latest.number + 1))
        assert_is(store.load(), latest.number + 1)
    assert newest == sorted(newest) and set(newest) == {SAVES - 1, SAVES}
    assert newest.count(SAVES) == 3, "from the rename on, it is there"


LIMITED = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from tests.runs.saved_state import IDENTITY, assert_is, clocks_of, parts_of
from tmrl_ray.errors import NotSavedError
from tmrl_ray.runs.checkpoint import CheckpointStore
from tmrl_ray.runs.checkpoint_files import Part
store = CheckpointStore(Path(sys.argv[1]), IDENTITY)
store.save(parts_of(1), clocks_of(1))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65_536, resource.RLIM_INFINITY))
try:
    store.save({"learner": Part(arrays={"weights": np.ones(100_003, np.float32)})}, clocks_of(2))
except NotSavedError as error:
    assert "File too large" in str(error), error
    assert_is(store.load(), 1)
    sys.exit(7)
"""


def test_a_write_that_the_system_cuts_short_is_survived(tmp_path: Path) -> None:
    result = subprocess.run([sys.executable, "-c", LIMITED, tmp_path], cwd=ROOT, check=False)
    assert result.returncode == 7
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-000001"]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(NotSavedError, match="cannot make or clear up"):
        CheckpointStore(tmp_path / "file" / "checkpoints", IDENTITY)
