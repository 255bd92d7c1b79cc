"""Checkpoints: all that a run needs to go on, written whole or not at all, and read back only if it is exactly that.

A checkpoint is made in a folder with a hidden name: its files, each waited for; then DONE, with what proves them; then
the folder gets its name, in one step. A process that dies at any point leaves the checkpoint before it, and a stray
that the next start removes. What is damaged, or belongs to another run or network, is refused with the reason and the
command to type: nothing ever starts afresh by itself.
"""

from __future__ import annotations

import json
import logging
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tmrl_ray.errors import CheckpointError, NotSavedError
from tmrl_ray.runs.checkpoint_files import (
    PART_NAME,
    KeptFile,
    Part,
    Proof,
    decode_arrays,
    encode_arrays,
    encode_values,
    file_of_part,
)
from tmrl_ray.runs.clocks import Clocks
from tmrl_ray.runs.disk import PARTIAL_PREFIX, Disk, remove_directory, remove_strays
from tmrl_ray.runs.rundir import resume_command

log = logging.getLogger(__name__)

HEAD_FILE, DONE_FILE = "checkpoint.json", "DONE"
_NAME = re.compile(r"checkpoint-(\d{6,})")


@dataclass(frozen=True)
class Identity:
    """What a checkpoint must belong to."""

    run: str
    """Uuid of the run."""
    hashes: Mapping[str, str]
    """By what is hashed, for example ``network`` and ``layout``: without it the state means nothing."""


@dataclass(frozen=True)
class Retention:
    """Which checkpoints are kept."""

    last: int = 3
    """So many of the newest."""
    every: int | None = None
    """And each one whose number is a multiple of this; None: no more."""
    best: bool = True
    """And the one with the lowest score."""

    def kept(self, heads: Mapping[int, CheckpointHead | None]) -> set[int]:
        """Return the numbers that are kept, given those there are; None stands for an unreadable one."""
        numbers = sorted(heads)
        kept = set(numbers[-max(self.last, 1) :])
        if self.every is not None:
            kept |= {number for number in numbers if number % self.every == 0}
        scores = {number: head.score for number, head in heads.items() if head and head.score is not None}
        if self.best and scores:
            kept.add(min(scores, key=lambda number: (scores[number], -number)))
        return kept


@dataclass(frozen=True)
class CheckpointHead:
    """What is known of a checkpoint without reading its parts."""

    name: str
    number: int
    created_s: float
    """Unix time."""
    clocks: Clocks
    score: float | None
    """What it is compared by, the lower the better: the mean finish time of the latest evaluation, for example."""
    run: str
    hashes: Mapping[str, str]
    parts: Mapping[str, Mapping[str, Any]]
    """By part, which files it brought along, with size and SHA-256."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that was read and found whole."""

    head: CheckpointHead
    parts: Mapping[str, Part]


class CheckpointStore:
    """The checkpoints of one run; one process writes them, from any thread.

    The loop in which it is used::

        store = CheckpointStore(run.checkpoints, Identity(run.uuid, {"network": ..., "layout": ...}))
        if run.resumed and store.names():
            checkpoint = store.load()
        ...
        try:
            store.save({"learner": Part(values, tensors), ...}, clocks)
        except NotSavedError as error:
            log.error("%s", error)       # and go on: the checkpoint before it is whole

    Args:
        directory: of the checkpoints, ``<run>/checkpoints``; is made if it is not there. What a killed process left
            half written is removed.
        identity: what they belong to.
        retention: which are kept.
        disk: how they are written; None: to the real one.
        writes: False: another process writes them, and nothing is made or removed here.

    Raises:
        NotSavedError: the folder cannot be made or cleared up.
    """

    def __init__(
        self,
        directory: Path,
        identity: Identity,
        *,
        retention: Retention | None = None,
        disk: Disk | None = None,
        writes: bool = True,
    ) -> None:
        self.directory = directory
        self.identity = identity
        """What they belong to."""
        self._retention = Retention() if retention is None else retention
        self._disk = Disk() if disk is None else disk
        self._saving = threading.Lock()
        if not writes:
            return
        try:
            directory.mkdir(parents=True, exist_ok=True)
            for stray in remove_strays(self._disk, directory):
                log.warning("removed %s, which a killed process left half written", stray)
        except OSError as error:
            raise NotSavedError(f"cannot make or clear up {directory}: {error}") from error

    def names(self) -> list[str]:
        """Return the names of the checkpoints, oldest first."""
        return [path.name for _, path in sorted(self._numbered().items())]

    def latest(self) -> CheckpointHead | None:
        """Return what is known of the newest checkpoint; None: there is none.

        Raises:
            CheckpointError: there is one, and it cannot be read.
        """
        names = self.names()
        return self.head(names[-1]) if names else None

    def save(self, parts: Mapping[str, Part], clocks: Clocks, *, score: float | None = None) -> CheckpointHead:
        """Write a checkpoint, wait until it is on the disk, and remove those that are no longer kept.

        Args:
            parts: the state of each component, by its name. Arrays must not change meanwhile.
            clocks: how far the run is.
            score: what it is compared by, lower is better; None: it is no candidate for the best.

        Raises:
            NotSavedError: it could not be written, to a full disk for example. Nothing of it is left, the ones before
                it are whole, and saving may be tried again.
            ValueError: a part has something that cannot be kept.
        """
        with self._saving:
            number = max(self._numbered(), default=0) + 1
            head = CheckpointHead(
                name=f"checkpoint-{number:06}",
                number=number,
                created_s=time.time(),
                clocks=clocks,
                score=score,
                run=self.identity.run,
                hashes=dict(self.identity.hashes),
                parts={name: {"files": _describe(part.files)} for name, part in parts.items()},
            )
            contents, kept = _contents(head, parts)
            partial = self.directory / f"{PARTIAL_PREFIX}{head.name}"
            try:
                self._write(partial, contents, kept)
                self._disk.rename(partial, self.directory / head.name)
                self._disk.sync_directory(self.directory)
            except OSError as error:
                self._give_up(partial, self.directory / head.name)
                raise NotSavedError(
                    f"the checkpoint {head.name} was not saved in {self.directory}: {error}",
                    hint=f"Make room on that disk; {_bytes(contents)} bytes are needed.",
                ) from error
            self._remove_old()
        return head

    def head(self, name: str) -> CheckpointHead:
        """Return what is known of a checkpoint, without reading its parts.

        Raises:
            CheckpointError: there is no such checkpoint, or it cannot be read.
        """
        directory = self.directory / name
        if not directory.is_dir():
            known = self.names()
            raise CheckpointError(
                f"there is no checkpoint {name} in {self.directory}",
                hint=f"There are {', '.join(known)}." if known else self._begin_anew(),
            )
        hint = self._way_out(name)
        proof = Proof.read(directory / DONE_FILE, hint=hint)
        return _decode_head(name, proof.read_file(directory, HEAD_FILE, hint=hint), hint=hint)

    def load(self, name: str | None = None) -> Checkpoint:
        """Read a checkpoint and see that it is whole and belongs here.

        Args:
            name: of the checkpoint; None: the newest one.

        Raises:
            CheckpointError: there is none, it is damaged, of a newer format, or of another run or network. The
                message says what to type.
        """
        if name is None:
            names = self.names()
            if not names:
                raise CheckpointError(f"there is no checkpoint in {self.directory}", hint=self._begin_anew())
            name = names[-1]
        head = self.head(name)
        self._check(head)
        directory, hint = self.directory / name, self._way_out(name)
        proof = Proof.read(directory / DONE_FILE, hint=hint)
        parts = {}
        for part, description in head.parts.items():
            values = json.loads(proof.read_file(directory, f"{part}.json", hint=hint))
            arrays = decode_arrays(proof.read_file(directory, f"{part}.safetensors", hint=hint))
            files = {
                file: KeptFile(directory / file_of_part(part, file), *proven)
                for file, proven in description["files"].items()
            }
            parts[part] = Part(values, arrays, files)
        return Checkpoint(head, parts)

    def _check(self, head: CheckpointHead) -> None:
        """See that a checkpoint belongs here."""
        if head.run != self.identity.run:
            raise CheckpointError(
                f"{head.name} in {self.directory} is of another run: {head.run}, not {self.identity.run}",
                hint=self._way_out(head.name),
            )
        for what, mine in self.identity.hashes.items():
            theirs = head.hashes.get(what, "none")
            if theirs != mine:
                raise CheckpointError(
                    f"{head.name} in {self.directory} has another {what}: {theirs[:12]}, not {mine[:12]}",
                    hint="Take back what was changed in the configuration since. " + self._begin_anew(),
                )

    def _write(self, partial: Path, contents: Mapping[str, bytes], kept: Mapping[str, KeptFile]) -> None:
        self._disk.make_directory(partial)
        for name, data in contents.items():
            self._disk.write(partial / name, data)
        for name, file in kept.items():
            self._disk.link(file.path, partial / name)
        self._disk.write(partial / DONE_FILE, Proof.of(contents).encode())
        self._disk.sync_directory(partial)

    def _give_up(self, *paths: Path) -> None:
        """Remove what was written so far, which may be what filled the disk."""
        for path in paths:
            try:
                if path.exists():
                    self._disk.remove_tree(path)
            except OSError as error:
                log.warning("%s is left over: %s", path, error)

    def _remove_old(self) -> None:
        numbered = self._numbered()
        kept = self._retention.kept({number: self._readable_head(path.name) for number, path in numbered.items()})
        for number in sorted(numbered.keys() - kept):
            try:
                remove_directory(self._disk, numbered[number])
            except OSError as error:
                log.warning("%s is no longer needed and cannot be removed: %s", numbered[number], error)

    def _readable_head(self, name: str) -> CheckpointHead | None:
        try:
            return self.head(name)
        except CheckpointError:
            return None

    def _numbered(self) -> dict[int, Path]:
        matches = ((_NAME.fullmatch(path.name), path) for path in self.directory.glob("checkpoint-*"))
        return {int(match[1]): path for match, path in matches if match}

    def _way_out(self, name: str) -> str:
        """Return what to type instead of loading ``name``."""
        older = [each for each in self.names() if each < name]
        if not older:
            return self._begin_anew()
        command = resume_command(self.directory.parent)
        return f"Go on from an older one: {command} --checkpoint {older[-1]}\n{self._begin_anew()}"

    def _begin_anew(self) -> str:
        return "To begin anew, replace --resume by --restart; this run is kept under another name."


def _describe(files: Mapping[str, KeptFile]) -> dict[str, tuple[int, str]]:
    return {name: (file.size_bytes, file.sha256) for name, file in files.items()}


def _contents(head: CheckpointHead, parts: Mapping[str, Part]) -> tuple[dict[str, bytes], dict[str, KeptFile]]:
    """Return the contents of a checkpoint's own files, and the files that come along, each by name."""
    contents, kept = dict[str, bytes](), dict[str, KeptFile]()
    for name, part in parts.items():
        if not PART_NAME.fullmatch(name) or name == HEAD_FILE.removesuffix(".json"):
            raise ValueError(f"a part of a checkpoint cannot be called {name!r}")
        contents[f"{name}.json"] = encode_values(name, part.values)
        contents[f"{name}.safetensors"] = encode_arrays(name, part.arrays)
        kept |= {file_of_part(name, file): each for file, each in part.files.items()}
    fields = {
        "created_s": head.created_s,
        "clocks": head.clocks._asdict(),
        "score": head.score,
        "run": head.run,
        "hashes": head.hashes,
        "parts": head.parts,
    }
    contents[HEAD_FILE] = encode_values("checkpoint", fields)
    return contents, kept


def _decode_head(name: str, data: bytes, *, hint: str) -> CheckpointHead:
    match = _NAME.fullmatch(name)
    if match is None:
        raise CheckpointError(f"{name} is not the name of a checkpoint", hint=hint)
    try:
        fields = json.loads(data)
        return CheckpointHead(
            name=name,
            number=int(match[1]),
            created_s=fields["created_s"],
            clocks=Clocks(**fields["clocks"]),
            score=fields["score"],
            run=fields["run"],
            hashes=fields["hashes"],
            parts=fields["parts"],
        )
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{name} has a {HEAD_FILE} that cannot be read: {error!r}", hint=hint) from error


def _bytes(contents: Mapping[str, bytes]) -> str:
    return f"{sum(map(len, contents.values())):,}"
