"""The same inputs give the same states and pictures, byte for byte, in every process and after every release."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT
from tests.simulator.golden_race import digests

GOLDEN = (
    "4d4d4eac032018d2598ec042f7d25cee75ce5a5d32e1d8622e10a71ff481c3a9",
    "61539905d59655ffd571b6b64762cdd8e581e817bc06fc163a439472022740be",
)
"""Of the states and of the pictures. Changed them on purpose? ``python -m tests.simulator.golden_race`` prints them."""


def test_a_race_is_the_same_in_another_process_and_as_ever() -> None:
    command = [sys.executable, "-m", "tests.simulator.golden_race"]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    here = digests()
    assert tuple(other.stdout.split()) == here
    assert here == GOLDEN
