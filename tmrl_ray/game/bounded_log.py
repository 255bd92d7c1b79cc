"""What a game prints, kept in two files of bounded size: the current one and the one before."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import IO

MAX_BYTES = 1_000_000
"""Size of one of the two files: some ten thousand lines."""
_CHUNK_BYTES = 8192


class BoundedLog:
    """Copies a pipe to ``path`` in a thread of its own; a full file replaces ``path`` + ``.1``.

    Args:
        path: the log file; what is there already is moved aside first.
        pipe: where to read; closed at its end.
        max_bytes: size of one file.
    """

    def __init__(self, path: Path, pipe: IO[bytes], max_bytes: int = MAX_BYTES) -> None:
        self.path = path
        self._pipe = pipe
        self._max_bytes = max_bytes
        self._turn()
        self._thread = threading.Thread(target=self._copy, name=f"log {path.name}", daemon=True)
        self._thread.start()

    def tail(self, max_bytes: int = 2000) -> str:
        """Return the end of the current file, whole lines of at most so many bytes."""
        with self.path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(size - max_bytes, 0))
            data = file.read()
        text = data.decode(errors="replace")
        return text if size <= max_bytes else text.partition("\n")[2]

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the pipe, which comes when nobody holds its other end any more."""
        self._thread.join(timeout_s)

    def _turn(self) -> None:
        if self.path.exists():
            self.path.replace(self.path.with_name(self.path.name + ".1"))
        self.path.touch()

    def _copy(self) -> None:
        with self._pipe:
            while self._copy_one_file():
                self._turn()

    def _copy_one_file(self) -> bool:
        """Fill one file; return whether there may be more."""
        with self.path.open("ab", buffering=0) as file:
            size = 0
            while size < self._max_bytes:
                data = self._pipe.read1(min(_CHUNK_BYTES, self._max_bytes - size))  # type: ignore[attr-defined]
                if not data:
                    return False
                file.write(data)
                size += len(data)
        return True
