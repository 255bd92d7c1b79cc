"""``tmrl-ray doctor``."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tmrl_ray import __version__, doctor
from tmrl_ray.cli import run
from tmrl_ray.game.process import default_state_dir, recorded_games


def test_doctor_reports_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    findings = {finding["name"]: finding for finding in report["findings"]}
    assert report["healthy"]
    assert findings["tmrl_ray"]["value"].startswith(__version__)
    assert {"python", "numpy", "numba", "cores", "memory", "/dev/shm", "disk", "kernel cache"} <= set(findings)


def test_a_game_that_listens_is_seen_but_not_disturbed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        port = server.getsockname()[1]
        finding = next(each for each in doctor.examine(port) if each.name.startswith("ports"))
        assert f"{port} (" in finding.value
        assert finding.advice.endswith(f"--connect {port}")
        with pytest.raises(TimeoutError):
            server.accept()


def test_games_that_a_killed_run_left_behind_are_found_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    start = (
        "import os, sys; from tmrl_ray.game.launch import Launch; from tmrl_ray.game.process import GameProcess; "
        "sleep = (sys.executable, '-c', 'import time; time.sleep(60)', '{port}'); "
        "GameProcess.start(Launch(command=sleep, port=8499)); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", start], check=True)
    (record,) = recorded_games(default_state_dir())
    assert len(record.members()) == 1
    assert run(["doctor"]) == 0
    assert "port 8499: 1 processes" in capsys.readouterr().out
    assert run(["doctor", "--clean"]) == 0
    assert "left-over games  none" in capsys.readouterr().out
    assert record.members() == []


def test_a_missing_package_is_a_problem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(doctor, "_REQUIRED", ("numpy", "no-such-package"))
    assert run(["doctor"]) == 1
    out = capsys.readouterr().out
    assert "problem  no-such-package" in out
    assert "pip install" in out


def test_a_kernel_cache_that_cannot_be_written_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nowhere")
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: not str(path).startswith("/proc"))
    finding = next(each for each in doctor.examine() if each.name == "kernel cache")
    assert finding.status == "problem"
    assert "NUMBA_CACHE_DIR" in finding.advice


@pytest.mark.skipif(os.name != "posix", reason="files have no modes")
def test_a_token_that_others_may_read_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = tmp_path / "auth_token"
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(token))

    def finding() -> doctor.Finding:
        return next(each for each in doctor.examine() if each.name == "cluster token")

    assert finding().value.startswith("none in")
    token.write_text("secret")
    token.chmod(0o644)
    assert finding().status == "note"
    assert finding().advice.endswith(f"chmod 600 {token}")
    assert "secret" not in str(finding())
    token.chmod(0o600)
    assert finding().status == "ok"
