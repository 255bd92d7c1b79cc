"""The benchmarks that start a cluster work: a moment of each. How fast anything is, is not looked at."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("data_path", ["numpy gather", "ours: replay actor and ring", "object store", "remote calls per transition"]),
        ("scale", ["transitions/s", "this machine holds"]),
        ("weights", ["median ms"]),
    ],
)
def test_a_moment_of_it(name: str, told: list[str]) -> None:
    command = [sys.executable, "-m", "tests.bench", name, "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    assert [each for each in told if each not in done.stdout] == []
