"""Folders of runs: nothing is overwritten by accident, one process writes, and every refusal says what to type."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.runs.saved_state import CountingDisk, full_at
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.loading import config_hash, load_config
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import NotSavedError, RunError
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import Disk
from tmrl_ray.runs.run_files import RunRecord, RunStatus, is_locked
from tmrl_ray.runs.run_list import find_run, runs, summary
from tmrl_ray.runs.rundir import RunDirectory, Start

ROOT = Path(__file__).parents[2]
CONFIG = RunConfig()
OTHER = CONFIG.replace(game=GameSettings(camera=3))


def make(folder: Path, name: str = "loop", start: Start = Start.NEW, config: RunConfig = CONFIG) -> RunDirectory:
    """Return a run that was opened and let go of."""
    with RunDirectory.open(folder, name, config, start) as run:
        return run


@contextmanager
def held(folder: Path, name: str = "loop", start: Start = Start.NEW) -> Iterator[subprocess.Popen[str]]:
    """Let another process open a run."""
    command = [sys.executable, "-m", "tests.runs.held_run", folder, name, start]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_new_run_has_all_that_belongs_to_it(tmp_path: Path) -> None:
    run = make(tmp_path / "runs", config=OTHER)
    assert load_config(run.config_file) == OTHER
    assert run.record.config_hash == config_hash(OTHER)
    assert not run.resumed and run.record.session == 1
    assert all(path.is_dir() for path in (run.checkpoints, run.tensorboard, run.best))
    assert RunRecord.read(run.path) == run.record
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["loop"]


def test_a_run_is_not_overwritten_by_accident(tmp_path: Path) -> None:
    first = make(tmp_path)
    (first.best / "loop_23.25.inputs").write_text("0 press up")
    with pytest.raises(RunError) as caught:
        make(tmp_path)
    assert f"tmrl-ray train -c {tmp_path}/loop/config.yaml --resume" in str(caught.value)
    assert "--restart, which keeps it as loop.1, or --overwrite, which removes it" in str(caught.value)
    assert RunRecord.read(first.path) == first.record


def test_restart_keeps_the_former_run_under_a_number(tmp_path: Path) -> None:
    uuids = [make(tmp_path, start=Start.RESTART).uuid for _ in range(3)]
    assert len(set(uuids)) == 3
    assert [RunRecord.read(tmp_path / name).uuid for name in ("loop.1", "loop.2", "loop")] == uuids
    make(tmp_path, "loop.1", Start.RESUME)  # it is a run like any other


def test_overwrite_removes_the_former_run_and_only_a_run(tmp_path: Path) -> None:
    first, second = make(tmp_path), make(tmp_path, start=Start.OVERWRITE)
    assert first.uuid != second.uuid
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]
    (tmp_path / "photos").mkdir()
    for start in (Start.OVERWRITE, Start.RESTART, Start.RESUME):
        with pytest.raises(RunError, match=r"photos is no run: it has no run\.json"):
            make(tmp_path, "photos", start)
    assert (tmp_path / "photos").is_dir()


def test_resume_goes_on_and_keeps_former_configurations(tmp_path: Path) -> None:
    first = make(tmp_path)
    same, changed = make(tmp_path, start=Start.RESUME), make(tmp_path, start=Start.RESUME, config=OTHER)
    assert first.uuid == same.uuid == changed.uuid
    assert [run.record.session for run in (first, same, changed)] == [1, 2, 3]
    assert (first.resumed, same.resumed) == (False, True)
    assert load_config(changed.config_file) == OTHER
    assert load_config(tmp_path / "loop" / "config.2.yaml") == CONFIG
    assert not (tmp_path / "loop" / "config.1.yaml").exists()


def test_nothing_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run loop to go on with") as caught:
        make(tmp_path, start=Start.RESUME)
    assert "Leave out --resume" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["", ".hidden", "a/b", "../loop", "a b", "x" * 65, "-x"])
def test_names_are_names_of_folders(tmp_path: Path, name: str) -> None:
    with pytest.raises(RunError, match="a run cannot be called"):
        make(tmp_path, name)


def test_one_process_writes_to_a_run(tmp_path: Path) -> None:
    with held(tmp_path) as process:
        for start in (Start.RESUME, Start.RESTART, Start.OVERWRITE):
            with pytest.raises(RunError) as caught:
                make(tmp_path, start=start)
            assert f"is in use by process {process.pid} on " in str(caught.value)
            assert "tmrl-ray stop loop" in str(caught.value)
        assert [run.state for run in runs(tmp_path)] == ["running"]
        process.kill()
        process.wait()
        assert [run.state for run in runs(tmp_path)] == ["dead"]
        assert make(tmp_path, start=Start.RESUME).record.session == 2


def test_of_many_that_start_at_once_one_gets_the_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.runs.held_run", tmp_path, "loop", "new"]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    said = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.readline())
    for process in processes:
        process.kill()
        process.communicate()
    assert said.count("held\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.parametrize("start", [Start.NEW, Start.RESTART, Start.OVERWRITE])
def test_a_run_that_comes_up_meanwhile_is_left_alone(tmp_path: Path, start: Start) -> None:
    others = list[RunDirectory]()

    def come_up(step: int) -> None:
        if step == 4:
            others.append(make(tmp_path))

    with pytest.raises(RunError, match="another process has just made the run loop"):
        RunDirectory.open(tmp_path, "loop", OTHER, start, disk=CountingDisk(come_up))
    assert RunRecord.read(tmp_path / "loop") == others[0].record
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.parametrize("start", [Start.RESTART, Start.OVERWRITE, Start.RESUME])
def test_a_full_disk_at_any_step_leaves_the_run_that_was_there(tmp_path: Path, start: Start) -> None:
    failures = 0
    for step in range(50):
        folder = tmp_path / str(step)
        first = make(folder)
        disk = CountingDisk(full_at(step))
        try:
            with RunDirectory.open(folder, "loop", OTHER, start, disk=disk) as run:
                assert is_locked(run.path)
        except NotSavedError as error:
            failures += 1
            assert "No space left" in str(error)
            found = RunRecord.read(folder / "loop")
            assert found.uuid == first.uuid
            assert start is Start.RESUME or load_config(folder / "loop" / "config.yaml") == CONFIG
            assert not [name for name in os.listdir(folder) if name != "loop"]
            assert not is_locked(folder / "loop")
        if disk.steps <= step:
            break
    assert failures > 7 and disk.steps < 50


def test_what_a_killed_start_left_behind_is_removed_once_nobody_makes_it(tmp_path: Path) -> None:
    old, fresh = tmp_path / ".partial-loop-1", tmp_path / ".partial-loop-2"
    (old / "checkpoints").mkdir(parents=True)
    os.utime(old, (time.time() - 100, time.time() - 100))
    fresh.mkdir()
    make(tmp_path)
    assert not old.exists() and fresh.exists()
    assert [run.name for run in runs(tmp_path)] == ["loop"]


def test_what_was_left_behind_may_be_removed_by_two_at_once(tmp_path: Path) -> None:
    class Late(Disk):
        def remove_tree(self, path: Path) -> None:
            super().remove_tree(path)  # by the other process
            super().remove_tree(path)

    old = tmp_path / ".partial-loop-1"
    old.mkdir()
    os.utime(old, (time.time() - 100, time.time() - 100))
    with RunDirectory.open(tmp_path, "loop", CONFIG, Start.NEW, disk=Late()):
        assert not old.exists()
    with RunDirectory.open(tmp_path, "loop", OTHER, Start.OVERWRITE, disk=Late()) as run:
        assert load_config(run.config_file) == OTHER
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


def test_the_list_tells_how_runs_are(tmp_path: Path) -> None:
    assert runs(tmp_path / "none") == []
    status = RunStatus(clocks=Clocks(1009, 13, 0.25), best_times_s={"loop": 25.5, "hill": 23.0})
    for name, how in (("a", "stopped"), ("b", "finished")):
        with RunDirectory.open(tmp_path, name, CONFIG, Start.NEW) as run:
            run.write_status(status)
            assert summary(run.path).state == "running"
            run.end(how, status)  # type: ignore[arg-type]
    make(tmp_path, "c")
    make(tmp_path, "d")
    (tmp_path / "d" / "run.json").write_text("{")
    (tmp_path / "no run").mkdir()
    found = {run.name: run for run in runs(tmp_path)}
    assert {name: run.state for name, run in found.items()} == {
        "a": "stopped",
        "b": "finished",
        "c": "dead",
        "d": "unreadable",
    }
    assert "does not describe a run" in found["d"].problem
    assert found["a"].status.clocks == status.clocks and found["a"].best_time_s == 23.0
    assert found["a"].status.updated_s == pytest.approx(time.time(), abs=60)
    assert found["c"].best_time_s is None


def test_a_resumed_run_that_is_killed_is_not_said_to_have_stopped(tmp_path: Path) -> None:
    with RunDirectory.open(tmp_path, "loop", CONFIG, Start.NEW) as run:
        run.end("stopped", RunStatus(clocks=Clocks(7, 5, 0.5)))
    make(tmp_path, start=Start.RESUME)
    assert summary(tmp_path / "loop").state == "dead"
    assert summary(tmp_path / "loop").status.clocks == Clocks(7, 5, 0.5)


def test_a_command_without_a_name_means_the_one_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run is there"):
        find_run(tmp_path)
    make(tmp_path, "a")
    assert find_run(tmp_path).name == "a"
    with pytest.raises(RunError, match=r"no run is under way in .*; there are a"):
        find_run(tmp_path, running=True)
    with pytest.raises(RunError, match=r"does not run, it is dead\n.*a/config.yaml --resume"):
        find_run(tmp_path, "a", running=True)
    make(tmp_path, "b")
    with pytest.raises(RunError, match="several runs are there"):
        find_run(tmp_path)
    with held(tmp_path, "c"):
        assert find_run(tmp_path).name == find_run(tmp_path, running=True).name == "c"
        assert find_run(tmp_path, "b").name == "b"
    with pytest.raises(RunError, match=r"there is no run x in .*; there are "):
        find_run(tmp_path, "x")


def test_a_run_of_a_newer_format_is_refused(tmp_path: Path) -> None:
    run = make(tmp_path)
    record = json.loads((run.path / "run.json").read_text())
    (run.path / "run.json").write_text(json.dumps({**record, "format": 2}))
    for start in (Start.RESUME, Start.OVERWRITE):
        with pytest.raises(RunError, match="has format 2, this version of tmrl_ray knows 1"):
            make(tmp_path, start=start)


def test_a_damaged_status_says_what_to_remove(tmp_path: Path) -> None:
    run = make(tmp_path)
    (run.path / "status.json").write_text('{"clocks": {"env_steps": 1, "laps": 2}}')
    with pytest.raises(RunError, match=r"Remove .*status\.json; it is written anew"):
        make(tmp_path, start=Start.RESUME)
