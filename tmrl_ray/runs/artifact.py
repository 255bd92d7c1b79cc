"""Artifacts: what a pretraining stage hands to the learner, written whole or not at all, and read back only if whole.

::

    best/
      encoder.safetensors              tensors by their names in ``IQN.state_dict()``, a file for each part
      advantage_head@0ms.safetensors   a head for each time offset that it was trained for
      meta.json                        where they come from, their shapes, what proves the files

A stage keeps two in the folder of its run, ``best`` and ``last``; whoever names that folder means the best::

    artifact = Artifact(origin, {PartKey("encoder"): {"encoder.0.weight": ...}, PartKey("advantage_head", 0): {...}})
    artifact.write(run / BEST)
    artifact = Artifact.read(run)

The names of the tensors are free to a stage that trains more than the network has; what the learner takes over is
worked out where it is taken over.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt, ValidationError
from safetensors import SafetensorError

from tmrl_ray import __version__
from tmrl_ray.config.settings import Settings
from tmrl_ray.errors import ArtifactError, NotSavedError, RunError
from tmrl_ray.runs.checkpoint_files import ArrayLike, decode_arrays, encode_arrays, sha256_of
from tmrl_ray.runs.disk import PARTIAL_PREFIX, Disk, remove_directory

ARTIFACT_FORMAT = 1
META_FILE = "meta.json"
BEST, LAST = "best", "last"
"""The artifacts of a stage: of its epoch with the lowest validation loss, and of the last one."""
_FILE_NAME = re.compile(r"(?P<part>[a-z][a-z0-9_]*)(@(?P<offset_ms>-?\d+)ms)?\.safetensors")
_AGAIN = "Run the stage that wrote it again, or name another artifact."

Arrays = Mapping[str, ArrayLike]


class PartKey(NamedTuple):
    """What a file of an artifact holds."""

    part: str
    """A part of the network as ``tmrl_ray.iqn.network.PARTS`` names it, or a name of the stage's own."""
    offset_ms: int | None = None
    """A head that tells what is pressed so much later; None: there is one only, and it has no offset."""

    @property
    def file(self) -> str:
        """Its name."""
        offset = "" if self.offset_ms is None else f"@{self.offset_ms}ms"
        return f"{self.part}{offset}.safetensors"

    @classmethod
    def of_file(cls, name: str) -> PartKey:
        """Return what a file of this name holds.

        Raises:
            ValueError: it is no name of one.
        """
        match = _FILE_NAME.fullmatch(name)
        if match is None:
            raise ValueError(f"{name!r} is not called like a part of an artifact")
        offset_ms = match["offset_ms"]
        return cls(match["part"], None if offset_ms is None else int(offset_ms))


class Origin(Settings):
    """Where an artifact comes from, as the stage that trained it says."""

    stage: Literal["visual", "bc"]
    """Which stage."""
    task: str
    """What was trained: ae, vae, simclr, ... or the mode of cloning."""
    run: str
    """Name of the stage's run."""
    frame_size: tuple[PositiveInt, PositiveInt] | None = None
    """Width and height of the pictures in pixels; None: it sees none."""
    frame_stack: PositiveInt = 1
    """Pictures that are seen at once."""
    stack_mode: Literal["channel", "concat"] = "channel"
    """channel: they are channels of one picture. concat: each has features of its own."""
    frame_normalization: Literal["01", "iqn"] | None = None
    """01: pixels / 255. iqn: (pixels - 128) / 128, as the network has it. None: not known."""
    observation: str | None = None
    """``ObservationLayout.hash`` of the floats; None: it sees none, or not known."""
    decision_period_ms: PositiveInt | None = None
    """Between two actions of the history that it sees; None: it sees none, or not known."""
    data_fingerprint: str | None = None
    """Of the data and the recipe of its labels; None: not known."""
    n_train: NonNegativeInt | None = None
    """Samples that it was trained on; None: not known."""
    n_val: NonNegativeInt | None = None
    """Samples that it was only measured on; None: not known."""
    seed: int | None = None
    """Of the stage; None: not known."""
    epochs_trained: NonNegativeInt
    """Epochs that were really trained."""
    epoch: NonNegativeInt
    """The epoch that these weights are of, from 1."""
    best_epoch: NonNegativeInt | None = None
    """The epoch with the lowest validation loss; None: not known."""
    metrics: dict[str, float | None] = {}
    """Of that epoch, by name; None where there is no number."""
    settings: dict[str, Any] = {}
    """The stage's settings, JSON-able."""
    code_version: str = __version__
    """Of the program that trained it."""
    created_s: float | None = None
    """Unix time; None: when it is written."""


class _File(Settings):
    bytes: NonNegativeInt
    sha256: str


class _Meta(Settings):
    """What meta.json says."""

    format: int
    origin: Origin
    architecture_hash: str
    shapes: dict[str, dict[str, tuple[NonNegativeInt, ...]]]
    files: dict[str, _File]


@dataclass(frozen=True, eq=False)
class Artifact:
    """Pretrained weights, and where they come from."""

    origin: Origin
    parts: Mapping[PartKey, Arrays]
    """Tensors on the CPU by name, part by part."""
    source: Path | None = None
    """Where it was read from."""

    @property
    def shapes(self) -> dict[str, dict[str, tuple[int, ...]]]:
        """The shape of each tensor, by file and name."""
        return {
            key.file: {name: tuple(np.shape(np.asarray(array))) for name, array in sorted(arrays.items())}
            for key, arrays in sorted(self.parts.items(), key=lambda each: each[0].file)
        }

    @property
    def architecture_hash(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of all names and shapes."""
        told = [f"{file} {name}:{shape}" for file, named in self.shapes.items() for name, shape in named.items()]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:16]

    def offsets_ms(self, part: str) -> tuple[int, ...]:
        """Return the time offsets for which there are heads of this name, in rising order."""
        return tuple(sorted(key.offset_ms for key in self.parts if key.part == part and key.offset_ms is not None))

    def write(self, directory: Path, *, replace: bool = False, disk: Disk | None = None) -> None:
        """Write it and wait until it is on the disk; a process that dies meanwhile leaves nothing that looks whole.

        Args:
            directory: becomes the artifact.
            replace: over the one that may be there.
            disk: how it is written; None: to the real one.

        Raises:
            RunError: there is something of that name, and it is not to be replaced.
            NotSavedError: it could not be written.
            ValueError: a part has no tensors, or some that cannot be kept.
        """
        disk = disk or Disk()
        if directory.exists() and not replace:
            raise RunError(f"{directory} is there already", hint="Name the run of the stage differently.")
        partial = directory.with_name(f"{PARTIAL_PREFIX}new-{directory.name}")
        contents = self._contents()
        try:
            directory.parent.mkdir(parents=True, exist_ok=True)
            if partial.exists():
                disk.remove_tree(partial)
            disk.make_directory(partial)
            for name, data in contents.items():
                disk.write(partial / name, data)
            disk.sync_directory(partial)
            if directory.exists():
                remove_directory(disk, directory)
            disk.rename(partial, directory)
            disk.sync_directory(directory.parent)
        except OSError as error:
            raise NotSavedError(f"the artifact {directory} was not written: {error}") from error

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read an artifact, or the best one of the run of a stage.

        Raises:
            ArtifactError: there is none, or it is not what was written.
        """
        if not (directory / META_FILE).exists() and (directory / BEST / META_FILE).exists():
            directory = directory / BEST
        meta = _read_meta(directory / META_FILE)
        parts = {}
        for name, proof in meta.files.items():
            try:
                key = PartKey.of_file(name)
            except ValueError as error:
                raise ArtifactError(f"{directory / META_FILE} is damaged: {error}", hint=_AGAIN) from error
            parts[key] = _read_part(directory / name, proof)
        artifact = cls(meta.origin, parts, directory)
        if artifact.architecture_hash != meta.architecture_hash:
            raise ArtifactError(
                f"{directory} has the architecture {artifact.architecture_hash}, "
                f"its {META_FILE} says {meta.architecture_hash}",
                hint=_AGAIN,
            )
        return artifact

    def _contents(self) -> dict[str, bytes]:
        """Return the contents of each file, meta.json last."""
        if not self.parts or not all(self.parts.values()):
            raise ValueError("an artifact has at least one part, and each part at least one tensor")
        contents = {key.file: encode_arrays(key.file, arrays) for key, arrays in self.parts.items()}
        for name in contents:
            PartKey.of_file(name)
        created_s = time.time() if self.origin.created_s is None else self.origin.created_s
        meta = _Meta(
            format=ARTIFACT_FORMAT,
            origin=self.origin.replace(created_s=created_s),
            architecture_hash=self.architecture_hash,
            shapes=self.shapes,
            files={
                name: _File(bytes=len(data), sha256=hashlib.sha256(data).hexdigest()) for name, data in contents.items()
            },
        )
        contents[META_FILE] = (meta.model_dump_json(indent=1) + "\n").encode()
        return contents


def _read_meta(path: Path) -> _Meta:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ArtifactError(
            f"{path.parent} is no artifact: it has no {META_FILE}",
            hint="Name the folder of a finished stage's run, or the best or last folder in it.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", hint=_AGAIN) from error
    try:
        stated = json.loads(text)
        if isinstance(stated, dict) and stated.get("format") != ARTIFACT_FORMAT:
            raise ArtifactError(
                f"{path.parent} has the format {stated.get('format')}, this version knows {ARTIFACT_FORMAT}",
                hint="Use the version of tmrl_ray that wrote it.",
            )
        return _Meta.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise ArtifactError(f"{path} is damaged: {where}: {first['msg']}", hint=_AGAIN) from error
    except ValueError as error:
        raise ArtifactError(f"{path} is damaged: {error}", hint=_AGAIN) from error


def _read_part(path: Path, proof: _File) -> dict[str, NDArray[Any]]:
    try:
        size = path.stat().st_size
        if size != proof.bytes:
            raise ArtifactError(f"{path} is damaged: {size:,} bytes, not {proof.bytes:,}", hint=_AGAIN)
        if sha256_of(path) != proof.sha256:
            raise ArtifactError(f"{path} is damaged: its SHA-256 is not the one that was written", hint=_AGAIN)
        return decode_arrays(path.read_bytes())
    except FileNotFoundError as error:
        raise ArtifactError(f"{path} is missing", hint=_AGAIN) from error
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} cannot be read: {error}", hint=_AGAIN) from error
