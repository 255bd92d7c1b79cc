"""The same inputs give the same states and pictures, byte for byte, in every process and after every release."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT
from tests.simulator.golden_race import digests

GOLDEN = (
    "4d4d4eac032018d2598ec042f7d25cee75ce5a5d32e1d8622e10a71ff481c3a9",
    "d773af39c84a24b89154fbddcc212c0a1962530fbc7f21596da3049c1bc02c26",
)
"""Of the states and of the pictures. Changed them on purpose? ``python -m tests.simulator.golden_race`` prints them."""


def test_a_race_is_the_same_in_another_process_and_as_ever() -> None:
    command = [sys.executable, "-m", "tests.simulator.golden_race"]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    here = digests()
    assert tuple(other.stdout.split()) == here
    assert here == GOLDEN
