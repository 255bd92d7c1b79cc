"""What lies in the folder of one checkpoint, and how its parts become bytes and come back.

::

    checkpoint-000012/
      checkpoint.json        run, hashes, clocks, score, parts
      learner.safetensors    arrays of the part "learner"
      learner.json           its other values
      replay.<name>          a file that the part "replay" brought along, sharing its bytes with the original
      DONE                   format; size and SHA-256 of all of these but the ones brought along; written last

No pickle: arrays are safetensors, everything else is JSON.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.errors import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT_FORMAT = 1

Array = NDArray[Any]
PART_NAME = re.compile(r"[a-z][a-z0-9_]*")
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_CHUNK_BYTES = 1 << 20


class ArrayLike(Protocol):
    """A numpy array, or a torch tensor on the CPU."""

    def __array__(self, dtype: Any = None, /) -> Array:
        """Return it as an array."""


@dataclass(frozen=True)
class KeptFile:
    """A file that is complete and never changes, with what proves it."""

    path: Path
    size_bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> KeptFile:
        """Return the proof of a file as it is now; reads all of it."""
        return cls(path, path.stat().st_size, sha256_of(path))

    def is_whole(self) -> bool:
        """Return whether it still is what it was; reads all of it."""
        try:
            return self.path.stat().st_size == self.size_bytes and sha256_of(self.path) == self.sha256
        except OSError:
            return False


@dataclass(frozen=True, eq=False)
class Part:
    """The state of one component."""

    values: Mapping[str, Any] = field(default_factory=dict)
    """What is JSON: its keys are strings, its numbers finite."""
    arrays: Mapping[str, ArrayLike] = field(default_factory=dict)
    """Numbers in arrays, by name."""
    files: Mapping[str, KeptFile] = field(default_factory=dict)
    """Files that come along without being copied: what was written since the last checkpoint costs, nothing else does.
    They must be on the same file system. Whoever reads them checks them (``KeptFile.is_whole``), so that one damaged
    file costs only itself."""

    def tensors(self) -> dict[str, Tensor]:
        """Return the arrays as torch tensors on the CPU."""
        import torch  # a second to import, and collectors' hosts may not have it

        return {name: torch.from_numpy(np.asarray(array)) for name, array in self.arrays.items()}


def encode_arrays(part: str, arrays: Mapping[str, ArrayLike]) -> bytes:
    """Return arrays as safetensors.

    Raises:
        ValueError: one of them is no array of numbers.
    """
    from safetensors.numpy import save

    plain: dict[str, Array] = {}
    for name, array in arrays.items():
        plain[name] = np.asarray(array, order="C")
        if plain[name].dtype.kind not in "biuf":
            raise ValueError(f"{part}: the array {name} has type {plain[name].dtype}, which is not kept")
    return save(plain)


def decode_arrays(data: bytes) -> dict[str, Array]:
    """Return the arrays of safetensors, each with memory of its own.

    Raises:
        SafetensorError: the bytes are something else.
    """
    from safetensors.numpy import load

    return {name: np.array(array) for name, array in load(data).items()}


def encode_values(part: str, values: Mapping[str, Any]) -> bytes:
    """Return values as JSON.

    Raises:
        ValueError: they would not come back as they are.
    """
    _check_values(values, part)
    return (json.dumps(values, indent=1, allow_nan=False) + "\n").encode()


def _check_values(value: Any, where: str) -> None:
    """Refuse what JSON would change without a word, or not take at all."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ValueError(f"{where}: the key {key!r} is no string")
            _check_values(inner, f"{where}.{key}")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_values(inner, f"{where}.{index}")
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where}: {value} is not finite; write None if there is no number")
    elif not (value is None or isinstance(value, bool | int | float | str)):
        raise ValueError(f"{where}: {type(value).__name__} is neither JSON nor an array")


def file_of_part(part: str, name: str) -> str:
    """Return what a file that ``part`` brings along is called in a checkpoint.

    Raises:
        ValueError: the name cannot be one.
    """
    if not _FILE_NAME.fullmatch(name) or name in {"json", "safetensors"}:
        raise ValueError(f"{part}: a file cannot be called {name!r}")
    return f"{part}.{name}"


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@dataclass(frozen=True)
class Proof:
    """What DONE says: the size and SHA-256 of each file, without which a checkpoint is none."""

    files: Mapping[str, tuple[int, str]]

    @classmethod
    def of(cls, contents: Mapping[str, bytes]) -> Proof:
        """Return the proof of files with these ``contents``."""
        return cls({name: (len(data), hashlib.sha256(data).hexdigest()) for name, data in contents.items()})

    @classmethod
    def read(cls, path: Path, *, hint: str) -> Proof:
        """Read a DONE.

        Raises:
            CheckpointError: it is not there, damaged, or of another format.
        """
        try:
            stated = json.loads(path.read_text(encoding="utf-8"))
            if stated["format"] != CHECKPOINT_FORMAT:
                raise CheckpointError(
                    f"{path.parent} has format {stated['format']}, this version of tmrl_ray knows {CHECKPOINT_FORMAT}",
                    hint=f"Use the version of tmrl_ray that wrote it.\n{hint}",
                )
            return cls({name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in stated["files"].items()})
        except FileNotFoundError as error:
            raise CheckpointError(f"{path.parent} is not whole: it has no {path.name}", hint=hint) from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{path} is damaged: {error!r}", hint=hint) from error

    def encode(self) -> bytes:
        """Return what is written."""
        files = {name: {"bytes": size, "sha256": digest} for name, (size, digest) in self.files.items()}
        return (json.dumps({"format": CHECKPOINT_FORMAT, "files": files}, indent=1) + "\n").encode()

    def read_file(self, directory: Path, name: str, *, hint: str) -> bytes:
        """Return a file's contents.

        Raises:
            CheckpointError: they are not what was written.
        """
        path = directory / name
        if name not in self.files:
            raise CheckpointError(f"{path} is not among the files that {directory.name} was made of", hint=hint)
        size, digest = self.files[name]
        try:
            if os.stat(path).st_size != size:
                raise CheckpointError(f"{path} is damaged: {os.stat(path).st_size:,} bytes, not {size:,}", hint=hint)
            data = path.read_bytes()
        except OSError as error:
            raise CheckpointError(f"{path} cannot be read: {error}", hint=hint) from error
        if hashlib.sha256(data).hexdigest() != digest:
            raise CheckpointError(f"{path} is damaged: its SHA-256 is not the one that was written", hint=hint)
        return data
