"""What runs do to files, step by step: each is a point at which a process may die or a disk be full.

A seam: tests put in one that fails, or kills its process, at any of the steps.
"""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

PARTIAL_PREFIX = ".partial-"
"""Of what is being written or removed. Whoever finds it later may remove it."""


class Disk:
    """The real thing. Every method may raise OSError."""

    def make_directory(self, path: Path) -> None:
        """Make a folder, which must not be there."""
        path.mkdir()

    def write(self, path: Path, data: bytes) -> None:
        """Write a file and wait until it is on the disk."""
        with path.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())

    def link(self, source: Path, target: Path) -> None:
        """Give a file a second name, which keeps its contents when the first one is removed."""
        target.hardlink_to(source)

    def rename(self, source: Path, target: Path) -> None:
        """Rename a file or a folder, in one step."""
        source.rename(target)

    def sync_directory(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk."""
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def remove_tree(self, path: Path) -> None:
        """Remove a folder and all that is in it."""
        shutil.rmtree(path)


def replace_file(disk: Disk, path: Path, data: bytes) -> None:
    """Write a file, whole or not at all, over the one that may be there.

    Raises:
        OSError: it could not be written; the one that was there still is.
    """
    partial = path.with_name(f"{PARTIAL_PREFIX}{path.name}")
    disk.write(partial, data)
    disk.rename(partial, path)
    disk.sync_directory(path.parent)


def append(path: Path, data: bytes) -> int:
    """Append to a file, which is made if it is not there, all of ``data`` or nothing; return the size after it.

    Raises:
        OSError: it could not be appended.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
    try:
        size = os.fstat(descriptor).st_size
        written = os.write(descriptor, data)
        if written < len(data):  # the disk is full: leave no half of it before what comes later
            os.ftruncate(descriptor, size)
            raise OSError(errno.ENOSPC, f"only {written} of {len(data)} bytes could be written", str(path))
        return size + written
    finally:
        os.close(descriptor)


def remove_directory(disk: Disk, path: Path) -> None:
    """Remove a folder so that a crash half-way leaves none that looks whole.

    Raises:
        OSError: it could not be removed.
    """
    condemned = path.with_name(f"{PARTIAL_PREFIX}{path.name}")
    if condemned.exists():
        disk.remove_tree(condemned)
    disk.rename(path, condemned)
    disk.remove_tree(condemned)


def remove_strays(disk: Disk, directory: Path) -> list[Path]:
    """Remove what a killed process was writing in ``directory`` and return it.

    Raises:
        OSError: it could not be removed.
    """
    strays = sorted(directory.glob(f"{PARTIAL_PREFIX}*"))
    for stray in strays:
        if stray.is_dir():
            disk.remove_tree(stray)
        else:
            stray.unlink()
    return strays
