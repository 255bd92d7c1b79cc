"""Every benchmark, each in a process of its own: ``python -m tests.bench [NAME ...] [OPTIONS FOR ALL OF THEM]``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the benchmarks that are named, or all, and return how many failed."""
    every = sorted(
        path.stem for path in Path(__file__).parent.glob("*.py") if not path.stem.startswith(("__", "test_"))
    )
    first_option = next((at for at, each in enumerate(arguments) if each.startswith("-")), len(arguments))
    names, options = arguments[:first_option], arguments[first_option:]
    unknown = set(names) - set(every)
    if unknown:
        print(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(every)}", file=sys.stderr)
        return 2
    failed = 0
    for name in names or every:
        print(f"\n== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"tests.bench.{name}", *options], check=False).returncode != 0
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
