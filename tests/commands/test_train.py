"""``tmrl-ray train``: the plan, a tiny run with what it leaves behind, and what is refused."""

from __future__ import annotations

import re
import socket
import sys
from pathlib import Path

import pytest
import torch

from tests.integration.test_serial import QUICKSTART, TINY
from tmrl_ray.cli import run
from tmrl_ray.runs.run_files import RunStatus


def train(folder: Path, *words: str) -> int:
    return run(["train", "-c", str(QUICKSTART), "--serial", f"run.folder={folder}", *TINY, *words])


def test_the_plan_says_what_it_would_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--dry-run") == 0
    shown = capsys.readouterr().out
    assert "batch_size: 17" in shown
    assert "parameters: " in shown
    assert "loop (616 m)" in shown
    assert "MiB" in shown
    assert list(tmp_path.iterdir()) == []


def test_pictures_on_a_gpu_are_on_the_bill_and_need_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    option = ("learner.pictures_on_device=true", "training.device=auto")
    assert train(tmp_path, "--dry-run", *option) == 0
    assert re.search(r"memory of the GPU for pictures of the experience: \d+\.\d MiB", capsys.readouterr().out)
    if not torch.cuda.is_available():
        assert train(tmp_path, *option) == 2
        assert "learner.pictures_on_device is for a learner on a GPU" in capsys.readouterr().err
        assert list(tmp_path.iterdir()) == []


def test_the_plan_for_a_cluster_says_what_ray_is_asked_for(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ["train", "-c", str(QUICKSTART), "--dry-run", f"run.folder={tmp_path}", *TINY]
    assert run([*plan, "collector.count=2"]) == 0
    shown = capsys.readouterr().out.splitlines()
    total = next(line.split() for line in shown if line.startswith("in sum"))
    assert float(total[2]) <= 2.0, "two collectors must fit two cores"
    assert float(total[4]) == 3, "two collectors and the evaluator play"


def test_a_cluster_that_is_not_there_leaves_no_run_behind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    assert run(["train", "-c", str(QUICKSTART), f"run.folder={tmp_path}", *TINY, "--address", address]) == 2
    assert "no Ray cluster answers at" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_run_is_told_of_kept_and_taken_up_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "training.env_steps=150", "training.report_s=0.1") == 0
    shown = capsys.readouterr().out
    assert f"tensorboard --logdir {tmp_path}" in shown
    assert re.search(r"memory of the experience:\n  frame +\d+\.\d MiB\n(.*\n)+?  total +\d", shown)
    assert "greedy on loop: 0 of 1 finished" in shown
    assert "of starting and compiling" in shown
    assert "saved checkpoint-000001" in shown
    first = RunStatus.read(tmp_path / "quickstart").clocks
    assert train(tmp_path, "training.env_steps=300") == 2
    assert "--resume" in capsys.readouterr().err
    assert train(tmp_path, "training.env_steps=300", "--resume") == 0
    assert "checkpoint-000002" in capsys.readouterr().out
    second = RunStatus.read(tmp_path / "quickstart").clocks
    assert second.env_steps >= 300
    assert second.learner_steps > first.learner_steps


def test_what_means_nothing_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(tmp_path, "--checkpoint", "checkpoint-000001") == 2
    assert "--resume" in capsys.readouterr().err
    assert train(tmp_path, "training.device=nonsense") == 2
    assert "training.device" in capsys.readouterr().err


def test_training_says_what_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "tmrl_ray.training", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    assert train(tmp_path, "--dry-run") == 2
    shown = capsys.readouterr().err
    assert "needs the package torch" in shown and "tmrl_ray[train]" in shown
