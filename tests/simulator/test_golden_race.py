"""The same inputs give the same states and pictures, byte for byte, in every process and after every release."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT
from tests.simulator.golden_race import digests

GOLDEN = (
    "84fe589f0dbbd32597c7c6410c9fdbc117f959e36611c07236af160fc8ef2e97",
    "2d3f2cae6c6348be21d0bc3d7d0fca7567f1ce62b8d382d501b1ff84f741aed0",
)
"""Of the states and of the pictures. Changed them on purpose? ``python -m tests.simulator.golden_race`` prints them."""


def test_a_race_is_the_same_in_another_process_and_as_ever() -> None:
    command = [sys.executable, "-m", "tests.simulator.golden_race"]
    other = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    here = digests()
    assert tuple(other.stdout.split()) == here
    assert here == GOLDEN
