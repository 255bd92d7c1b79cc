"""Metrics as lines of JSON, for programs: one row a line, beside the clocks and the number of the session.

A resumed run appends. Its rows may repeat env steps that the killed session had reached beyond the checkpoint; whoever
reads the file with ``read_rows`` sees each env step once, as the newest session saw it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import append
from tmrl_ray.runs.distribution import Distribution
from tmrl_ray.runs.meter import Value
from tmrl_ray.runs.recorder import Row

log = logging.getLogger(__name__)

MOST_BYTES = 256 * 2**20
"""A file that has become larger becomes the one before (``metrics.1.jsonl``), in the place of that which was."""


class JsonLinesSink:
    """Appends rows to a file.

    Args:
        path: of the file.
        session: number of the run's session, from 1.
        env_steps: at which the session begins.
        most_bytes: size at which another file is begun; the one before is kept, older ones are not.

    Raises:
        OSError: the file cannot be written.
    """

    name = "json"

    def __init__(self, path: Path, *, session: int = 1, env_steps: int = 0, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._session = session
        self._most_bytes = most_bytes
        self._begin_line()
        self._append({"session": session, "from_env_steps": env_steps})

    def write(self, row: Row) -> None:
        """Append a row."""
        values = {name: _encode(value) for name, value in row.values.items()}
        self._append({"session": self._session, **row.clocks._asdict(), "time_s": row.time_s, "values": values})

    def close(self) -> None:
        """Do nothing: each row is written at once."""

    def _append(self, record: dict[str, Any]) -> None:
        line = (json.dumps(record, separators=(",", ":"), allow_nan=False) + "\n").encode()
        if append(self._path, line) > self._most_bytes:
            self._path.replace(former_file(self._path))

    def _begin_line(self) -> None:
        """End a line that a killed process left half written."""
        try:
            with self._path.open("rb+") as file:
                if file.seek(0, os.SEEK_END) and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n":
                    file.write(b"\n")
        except FileNotFoundError:
            return


@dataclass(frozen=True)
class RecordedRow:
    """A row that was read."""

    session: int
    clocks: Clocks
    time_s: float
    values: dict[str, Any]
    """Numbers and texts; of a histogram its ``Distribution.summary``."""


def former_file(path: Path) -> Path:
    """Return where rows are that no longer fitted into the file at ``path``."""
    return path.with_name(f"{path.stem}.1{path.suffix}")


def read_rows(path: Path) -> list[RecordedRow]:
    """Return the rows of a run in the order of env steps, those left out that a later session has overtaken.

    Lines that cannot be read, since a process was killed or a disk was full in their midst, are left out.
    """
    rows: list[RecordedRow] = []
    for record in _records(path):
        if "from_env_steps" in record:
            while rows and rows[-1].clocks.env_steps > record["from_env_steps"]:
                rows.pop()
        else:
            rows.append(_decode(record))
    return rows


def _records(path: Path) -> Iterator[dict[str, Any]]:
    for file in (former_file(path), path):
        if not file.exists():
            continue
        with file.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    record = json.loads(line)
                except ValueError:
                    log.warning("%s:%d is no row and is left out", file, number)
                    continue
                yield record


def _decode(record: dict[str, Any]) -> RecordedRow:
    clocks = Clocks(*(record[name] for name in Clocks._fields))
    return RecordedRow(record["session"], clocks, record["time_s"], record["values"])


def _encode(value: Value) -> Any:
    return value.summary() if isinstance(value, Distribution) else value
