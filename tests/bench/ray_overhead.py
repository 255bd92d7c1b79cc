"""What Ray costs a run on this machine: ``python -m tests.bench ray_overhead [--help]``.

The quickstart is trained for a while in one process (``--serial``) and on a Ray cluster, in turn, by the command that
people type. Told are the medians of env steps and updates a second from the first update on, and the processor time
of all processes for a thousand env steps: on a machine that others use too, that is the figure to trust. Evaluations
are left out.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
KINDS = {"in one process": ["--serial"], "on Ray": []}
LOOK_S = 0.5
"""Between two looks at the processor time."""
GIVE_UP_S = 600.0


class Rates(NamedTuple):
    """How fast a run was."""

    env_steps: float
    """A second."""
    updates: float
    """A second."""
    cpu_s: float
    """Of all processes, for a thousand env steps."""
    start_s: float
    """From the command to the first update."""


def cpu_seconds(process: psutil.Process, seen: dict[int, float]) -> float:
    """Return the processor time of a process and all below it, those that have ended included."""
    try:
        for each in (process, *process.children(recursive=True)):
            times = each.cpu_times()
            seen[each.pid] = times.user + times.system
    except psutil.NoSuchProcess:
        pass  # it ended while we looked: what was seen of it before counts
    return sum(seen.values())


def train(options: Sequence[str], folder: Path, seconds: float) -> Rates:
    """Train for so many seconds and return how fast that was."""
    command = [
        *(sys.executable, "-m", "tmrl_ray.cli", "train", "-c", str(CONFIG), *options),
        *(f"run.folder={folder}", "run.name=bench", f"training.minutes={seconds / 60}", "training.metrics_s=1.0"),
        "evaluation.every_s=100000.0",
    ]
    began_s, seen, cpu = time.time(), {}, []
    log = folder / "log"
    with log.open("w") as output, subprocess.Popen(command, stdout=output, stderr=output) as process:
        try:
            while process.poll() is None and time.time() < began_s + seconds + GIVE_UP_S:
                cpu.append((time.time(), cpu_seconds(psutil.Process(process.pid), seen)))
                time.sleep(LOOK_S)
        finally:
            process.terminate()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{log.read_text()[-2000:]}")
    lines = (json.loads(line) for line in (folder / "bench" / "metrics.jsonl").read_text().splitlines())
    rows = [line for line in lines if line.get("learner_steps")]
    if len(rows) < 2 or rows[0]["env_steps"] == rows[-1]["env_steps"]:
        raise SystemExit(f"{' '.join(command)}: {seconds:g} s are too short, it has hardly begun to learn")
    first, last = rows[0], rows[-1]
    took_s = last["time_s"] - first["time_s"]
    env_steps, updates = (last[name] - first[name] for name in ("env_steps", "learner_steps"))
    times, used = np.array(cpu).T
    cpu_s = float(np.diff(np.interp([first["time_s"], last["time_s"]], times, used))[0])
    return Rates(env_steps / took_s, updates / took_s, 1000 * cpu_s / env_steps, first["time_s"] - began_s)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="of each run, its start included")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--smoke", action="store_true", help="one short run of each, to see that it works")
    chosen = parser.parse_args(arguments)
    if chosen.smoke:
        chosen.seconds, chosen.rounds = 40.0, 1
    rates: dict[str, list[Rates]] = {kind: [] for kind in KINDS}
    print("                 env steps/s   updates/s   CPU s/1000 env steps   start s")
    for _ in range(chosen.rounds):
        for kind, options in KINDS.items():
            with tempfile.TemporaryDirectory() as folder:
                rates[kind].append(train(options, Path(folder), chosen.seconds))
            tell(kind, rates[kind][-1])
    print(f"medians of {chosen.rounds} interleaved runs of {chosen.seconds:g} s")
    for kind, each in rates.items():
        tell(kind, Rates(*(statistics.median(column) for column in zip(*each, strict=True))))


def tell(kind: str, rates: Rates) -> None:
    """Print a line."""
    print(
        f"{kind:<15} {rates.env_steps:>12.1f} {rates.updates:>11.2f} {rates.cpu_s:>22.1f} {rates.start_s:>9.1f}",
        flush=True,
    )


if __name__ == "__main__":
    main()
