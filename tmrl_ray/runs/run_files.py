"""The small files of a run's folder: what run it is, how far it is, and who writes to it.

::

    <folder>/<name>/
      run.json        what run it is: uuid, configuration's hash, sessions
      config.yaml     the resolved configuration; config.1.yaml ... those of earlier sessions, where it changed
      lock            held by the one process that writes here, let go of by the system when that process dies
      status.json     how far it is, written every few seconds
      checkpoints/    see ``checkpoint``
      tensorboard/    what TensorBoard shows
      metrics.jsonl   the same for programs
      best/           the best races and weights
      set_aside.jsonl batches that gave no finite loss, with their rows; there is none as long as all is well
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

from tmrl_ray.errors import NotSavedError, RunError
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import Disk, replace_file

RUN_FORMAT = 1
RUN_FILE, CONFIG_FILE, LOCK_FILE, STATUS_FILE = "run.json", "config.yaml", "lock", "status.json"
LOCK_PATIENCE_S = 0.5
"""For so long a lock is asked for again: ``is_locked`` of another process may hold it for a moment."""
_LOCK_PAUSE_S = 0.02

Ended = Literal["stopped", "finished"]
"""stopped: because somebody asked for it. finished: by its own settings."""


@dataclass(frozen=True)
class RunRecord:
    """What run a folder belongs to."""

    uuid: str
    """Another run has another one, even if it has the same name."""
    created_s: float
    """Unix time."""
    session: int
    """Counts the starts and resumes, from 1."""
    config_hash: str
    """Of the newest session's configuration."""
    program: str
    """Version of tmrl_ray in the newest session."""
    command: str = "train"
    """Of ``tmrl-ray``, which goes on with it."""
    format: int = RUN_FORMAT

    @classmethod
    def read(cls, directory: Path) -> RunRecord:
        """Read that of the run in ``directory``.

        Raises:
            RunError: there is no run, or one that this program cannot read.
        """
        path = directory / RUN_FILE
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            if fields["format"] != RUN_FORMAT:
                raise RunError(
                    f"{path} has format {fields['format']}, this version of tmrl_ray knows {RUN_FORMAT}",
                    hint="Use the version of tmrl_ray that made the run, or start one with another run.name.",
                )
            return cls(**fields)
        except FileNotFoundError as error:
            raise RunError(
                f"{directory} is no run: it has no {RUN_FILE}", hint="List the runs that there are: tmrl-ray runs"
            ) from error
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} does not describe a run: {error!r}",
                hint=f"Move {directory} out of the way, or start a run with another run.name.",
            ) from error

    def write(self, directory: Path, disk: Disk) -> None:
        """Write it, whole or not at all.

        Raises:
            OSError: it could not be written.
        """
        replace_file(disk, directory / RUN_FILE, _json(asdict(self)))


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """How far a run is."""

    clocks: Clocks = Clocks()
    best_times_s: dict[str, float] = field(default_factory=dict)
    """Best finish time of a whole race, by map."""
    ended: Ended | None = None
    """How its latest session ended; None: it has not, or its process was killed."""
    updated_s: float = 0.0
    """Unix time at which this was written."""

    @classmethod
    def read(cls, directory: Path) -> RunStatus:
        """Read that of the run in ``directory``; a run that has written none yet is at its beginning.

        Raises:
            RunError: the file is damaged.
        """
        path = directory / STATUS_FILE
        try:
            fields = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**fields, "clocks": Clocks(**fields["clocks"])})
        except FileNotFoundError:
            return cls()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} does not say how far a run is: {error!r}", hint=f"Remove {path}; it is written anew."
            ) from error

    def write(self, directory: Path, disk: Disk) -> None:
        """Write it, whole or not at all.

        Raises:
            NotSavedError: it could not be written.
        """
        fields = {**asdict(self), "clocks": self.clocks._asdict()}
        try:
            replace_file(disk, directory / STATUS_FILE, _json(fields))
        except OSError as error:
            raise NotSavedError(f"cannot write {directory / STATUS_FILE}: {error}") from error


class RunLock:
    """The right to write to a run: held until released, or until its process dies, however it dies."""

    def __init__(self, directory: Path) -> None:
        """Take it.

        Raises:
            RunError: another process has it; the message says which.
        """
        path = directory / LOCK_FILE
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        patience_s = time.monotonic() + LOCK_PATIENCE_S
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            if time.monotonic() > patience_s:
                os.close(descriptor)
                raise RunError(
                    f"the run {directory.name} in {directory} is in use{_holder(path)}",
                    hint=f"Stop it first: tmrl-ray stop {directory.name}",
                )
            time.sleep(_LOCK_PAUSE_S)
        me = psutil.Process()
        words = {"pid": me.pid, "create_time": me.create_time(), "host": socket.gethostname()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, _json(words), 0)
        self._descriptor: int | None = descriptor

    def release(self) -> None:
        """Let go of it; again does nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def is_locked(directory: Path) -> bool:
    """Return whether a process has the right to write to the run in ``directory``."""
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # nobody ever locked it, or it is gone, or it is not ours to look into
        return False
    try:
        return not _try_lock(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _holder(path: Path) -> str:
    """Return who holds a lock, as the end of a sentence; nothing where that cannot be read."""
    try:
        words = json.loads(path.read_text(encoding="utf-8"))
        started = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(words["create_time"]))
        return f" by process {words['pid']} on {words['host']}, started {started}"
    except (OSError, ValueError, KeyError, TypeError):
        return ""


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
