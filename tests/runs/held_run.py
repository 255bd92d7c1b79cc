"""``python -m tests.runs.held_run FOLDER NAME START`` opens a run, says so, and keeps it until it is killed."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import RunError
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.run_files import RunStatus
from tmrl_ray.runs.rundir import RunDirectory, Start


def main() -> None:
    folder, name, start = Path(sys.argv[1]), sys.argv[2], Start(sys.argv[3])
    try:
        run = RunDirectory.open(folder, name, RunConfig(), start)
    except RunError as error:
        sys.stdout.write(f"refused: {error}\n")
        return
    run.write_status(RunStatus(clocks=Clocks(1009, 13, 0.5), best_times_s={"loop": 23.25}))
    sys.stdout.write("held\n")
    sys.stdout.flush()
    time.sleep(60)


if __name__ == "__main__":
    main()
