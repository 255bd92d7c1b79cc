"""The folder of a run: made, taken up again, moved aside or removed, each only when it was asked for.

The loop in which it is used::

    with RunDirectory.open(settings.folder, settings.name, config, Start.RESUME) as run:
        store = CheckpointStore(run.checkpoints, ...)
        while training:
            run.write_status(RunStatus(clocks=..., best_times_s=...))
        run.end("stopped", status)

A run without any of the flags is a new one and never touches what is there.
"""

from __future__ import annotations

import errno
import logging
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Self

from tmrl_ray import __version__
from tmrl_ray.config.loading import config_hash, to_yaml
from tmrl_ray.config.settings import Settings
from tmrl_ray.errors import NotSavedError, RunError
from tmrl_ray.runs.disk import PARTIAL_PREFIX, Disk, remove_strays, replace_file
from tmrl_ray.runs.run_files import CONFIG_FILE, LOCK_FILE, RUN_FILE, Ended, RunLock, RunRecord, RunStatus

log = logging.getLogger(__name__)

RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""What a run may be called: it is the name of a folder and a part of the names of actors."""
_BEING_MADE_S = 60.0
"""A folder without a lock is one that is being made, up to this age."""


class Start(StrEnum):
    """What to do with a run of the same name."""

    NEW = "new"
    """There must be none."""
    RESUME = "resume"
    """Go on with it."""
    RESTART = "restart"
    """Move it aside, to its name with a number, and begin anew."""
    OVERWRITE = "overwrite"
    """Remove it and begin anew."""


class RunDirectory:
    """The folder of a run that this process writes to; ``open`` makes one.

    Args:
        path: the folder.
        record: what run it is.
        lock: the right to write there.
        disk: how it is written.
    """

    def __init__(self, path: Path, record: RunRecord, lock: RunLock, disk: Disk) -> None:
        self.path = path
        self.record = record
        """What run it is."""
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.metrics_file = path / "metrics.jsonl"
        self.best = path / "best"
        self.set_aside = path / "set_aside.jsonl"
        """Batches that gave no finite loss, with their rows."""
        self._lock = lock
        self._disk = disk

    @property
    def name(self) -> str:
        """Of the run: that of its folder."""
        return self.path.name

    @property
    def uuid(self) -> str:
        """Of the run."""
        return self.record.uuid

    @property
    def config_file(self) -> Path:
        """The resolved configuration, which ``tmrl-ray train -c`` takes."""
        return self.path / CONFIG_FILE

    @property
    def resumed(self) -> bool:
        """Whether it was there before."""
        return self.record.session > 1

    @classmethod
    def open(  # noqa: PLR0913 - all but four have a default
        cls,
        folder: Path,
        name: str,
        config: Settings,
        start: Start,
        *,
        command: str = "train",
        disk: Disk | None = None,
    ) -> RunDirectory:
        """Make the folder of a run, or take it up again, and keep other processes from writing to it.

        Args:
            folder: of all runs.
            name: of the run.
            config: the resolved configuration, which is kept in the run's folder.
            start: what to do with a run of the same name.
            command: of ``tmrl-ray``, which goes on with it.
            disk: how it is written; None: to the real one.

        Raises:
            RunError: the run is there and should not be, or the other way round; it is in use; or it is no run of
                this program. The message says what to type. Nothing was changed.
            NotSavedError: the folder could not be made.
        """
        disk = Disk() if disk is None else disk
        if not RUN_NAME.fullmatch(name):
            raise RunError(
                f"a run cannot be called {name!r}",
                hint="Use up to 64 letters, digits, dots, dashes and underscores, a letter or a digit first.",
            )
        path = folder / name
        _check_start(path, start)
        with ExitStack() as stack:
            try:
                folder.mkdir(parents=True, exist_ok=True)
                _remove_strays(folder, disk)
                if start is Start.RESUME:
                    return cls._resume(path, config, disk)
                replaces = path.exists()
                if replaces:
                    _check_start(path, start)  # again: it may have come just now
                    RunRecord.read(path)
                    stack.callback(RunLock(path).release)
                return cls._make(path, config, disk, command, aside=_aside(path, start) if replaces else None)
            except OSError as error:
                raise NotSavedError(f"cannot make the folder of a run, {path}: {error}") from error

    @classmethod
    def _resume(cls, path: Path, config: Settings, disk: Disk) -> RunDirectory:
        record, status, lock = RunRecord.read(path), RunStatus.read(path), RunLock(path)
        try:
            remove_strays(disk, path)
            now = replace(record, session=record.session + 1, config_hash=config_hash(config), program=__version__)
            former = path / CONFIG_FILE
            if now.config_hash != record.config_hash and former.exists():
                log.info("the configuration of %s has changed; the former one is kept beside it", path.name)
                replace_file(disk, path / f"config.{record.session}.yaml", former.read_bytes())
            replace_file(disk, former, to_yaml(config).encode())
            now.write(path, disk)
            replace(status, ended=None).write(path, disk)
        except (OSError, NotSavedError):
            lock.release()
            raise
        return cls(path, now, lock, disk)

    @classmethod
    def _make(cls, path: Path, config: Settings, disk: Disk, command: str, *, aside: Path | None) -> RunDirectory:
        """Make the folder beside its place, move the one that is there ``aside``, and put it in its place."""
        record = RunRecord(uuid.uuid4().hex, time.time(), 1, config_hash(config), __version__, command)
        made = _hidden(path)
        disk.make_directory(made)
        lock = RunLock(made)
        try:
            for name in ("checkpoints", "tensorboard", "best"):
                disk.make_directory(made / name)
            disk.write(made / CONFIG_FILE, to_yaml(config).encode())
            record.write(made, disk)
            if aside is not None:
                disk.rename(path, aside)
            disk.rename(made, path)
            disk.sync_directory(path.parent)
        except OSError as error:
            _undo(path, made, aside)
            lock.release()
            if error.errno in {errno.ENOTEMPTY, errno.EEXIST}:
                raise RunError(
                    f"another process has just made the run {path.name} in {path}",
                    hint="Call this one something else: run.name=NAME",
                ) from error
            raise
        if aside is not None:
            _finish(path, aside, disk)
        return cls(path, record, lock, disk)

    def write_status(self, status: RunStatus) -> None:
        """Write down how far the run is, for whoever lists runs.

        Raises:
            NotSavedError: it could not be written, which is no reason to stop.
        """
        replace(status, updated_s=time.time()).write(self.path, self._disk)

    def change_config(self, config: Settings) -> None:
        """Keep another configuration from now on, since settings changed while the run goes on.

        Raises:
            NotSavedError: it could not be written.
        """
        try:
            replace_file(self._disk, self.config_file, to_yaml(config).encode())
            self.record = replace(self.record, config_hash=config_hash(config))
            self.record.write(self.path, self._disk)
        except OSError as error:
            raise NotSavedError(f"cannot write {self.config_file}: {error}", hint="Make room there.") from error

    def end(self, how: Ended, status: RunStatus) -> None:
        """Write down that this session has ended as it should.

        Raises:
            NotSavedError: it could not be written.
        """
        self.write_status(replace(status, ended=how))

    def close(self) -> None:
        """Let other processes write to the run."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def resume_command(path: Path) -> str:
    """Return what to type to go on with the run in ``path``."""
    try:
        command = RunRecord.read(path).command
    except RunError:  # whoever goes on with it is told what is wrong with it
        command = "train"
    return f"tmrl-ray {command} -c {path / CONFIG_FILE} --resume"


def _check_start(path: Path, start: Start) -> None:
    if start is Start.NEW and path.exists():
        raise RunError(
            f"there is a run {path.name} already, in {path}",
            hint=f"To go on with it: {resume_command(path)}\n"
            f"To begin anew, add --restart, which keeps it as {_free_name(path).name}, or --overwrite, which removes "
            "it. Or call the new one something else: run.name=NAME",
        )
    if start is Start.RESUME and not path.exists():
        raise RunError(
            f"there is no run {path.name} to go on with, in {path.parent}",
            hint="Leave out --resume to start it, or list the runs that there are: tmrl-ray runs",
        )


def _free_name(path: Path) -> Path:
    """Return the first name with a number that no run has."""
    number = 1
    while (numbered := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return numbered


def _hidden(path: Path) -> Path:
    return path.with_name(f"{PARTIAL_PREFIX}{path.name}-{uuid.uuid4().hex[:8]}")


def _aside(path: Path, start: Start) -> Path:
    """Return where the run in ``path`` goes that another one replaces."""
    return _free_name(path) if start is Start.RESTART else _hidden(path)


def _undo(path: Path, made: Path, aside: Path | None) -> None:
    """Put everything back after a run could not be put in its place."""
    if not made.exists() and (path / RUN_FILE).exists():
        path.rename(made)
    if aside is not None and aside.exists():
        aside.rename(path)
    shutil.rmtree(made, ignore_errors=True)


def _finish(path: Path, aside: Path, disk: Disk) -> None:
    """Tell where the former run is, or remove it."""
    if not aside.name.startswith(PARTIAL_PREFIX):
        log.info("the former run %s is now %s", path.name, aside.name)
        return
    try:
        disk.remove_tree(aside)
        log.info("the former run %s is removed", path.name)
    except OSError as error:
        log.warning("what is left of the former run, %s, cannot be removed: %s", aside, error)


def _remove_strays(folder: Path, disk: Disk) -> None:
    """Remove what was left of runs whose making or removal was cut short."""
    for stray in _strays(folder):
        with suppress(FileNotFoundError):  # whoever overwrites a run at this moment removes it as well
            disk.remove_tree(stray)
            log.warning("removed %s, which a killed start left behind", stray)


def _strays(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.glob(f"{PARTIAL_PREFIX}*")):
        try:
            if not (path / LOCK_FILE).exists() and time.time() - path.stat().st_mtime < _BEING_MADE_S:
                continue
            lock = RunLock(path)
        except (RunError, OSError):  # in use, or gone in this moment
            continue
        yield path
        lock.release()


def is_run(path: Path) -> bool:
    """Return whether a folder is that of a run, readable or not."""
    return (path / RUN_FILE).is_file()
