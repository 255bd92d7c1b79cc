"""A cache on a disk: its arrays as raw files that are memory-mapped, and ``cache.json``, which says what they are.

::

    cache.json     format, key, recipe, content of the source, the races, and shape and checksum of each array
    frames.bin  floats.bin  metres.bin  times_ms.bin  actions.bin      see ``RaceCache``

It is written whole or not at all. Whoever opens it checks the size and the checksum of each array.
"""

from __future__ import annotations

import json
import math
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
import psutil
from numpy.typing import NDArray

from tmrl_ray.datasets.cache import RaceArrays, RaceCache, RaceRange
from tmrl_ray.errors import DatasetError
from tmrl_ray.runs.disk import PARTIAL_PREFIX, Disk

CACHE_FORMAT = 1
INDEX = "cache.json"
ARRAYS = {"frames": "|u1", "floats": "<f4", "metres": "<f4", "times_ms": "<i4", "actions": "|u1"}
RAM_SHARE = 0.8
"""Of the memory that is free, what a cache may take: training needs some too."""
_CHECK_BYTES = 1 << 24


class CacheIndex(NamedTuple):
    """What ``cache.json`` says, but for the arrays."""

    key: str
    recipe: Mapping[str, Any]
    """What it was made by, as JSON values."""
    content: Mapping[str, str]
    """Digest of each race of the source, by its folder below the root."""
    signature: str
    """Of names, sizes and times of all files of the source: as long as it is the same, so is the content."""


class CacheWriter:
    """Writes a cache, race after race.

    Args:
        directory: where; a cache that is there is replaced when the new one is complete.
        frame_shape: (H, W).
        floats: how many there are.
    """

    def __init__(self, directory: Path, frame_shape: tuple[int, int], floats: int) -> None:
        self._directory = directory
        self._partial = directory.with_name(f"{PARTIAL_PREFIX}{directory.name}")
        self._shapes = {"frames": frame_shape, "floats": (floats,), "metres": (), "times_ms": (), "actions": ()}
        self._files: dict[str, BinaryIO] = {}
        self._checksums = dict.fromkeys(ARRAYS, 0)
        self._lengths = dict.fromkeys(ARRAYS, 0)
        self._races: list[RaceRange] = []

    def __enter__(self) -> Self:
        shutil.rmtree(self._partial, ignore_errors=True)
        self._partial.mkdir(parents=True)
        self._files = {name: (self._partial / f"{name}.bin").open("wb") for name in ARRAYS}
        return self

    def __exit__(self, *_: object) -> None:
        for file in self._files.values():
            file.close()
        shutil.rmtree(self._partial, ignore_errors=True)

    @property
    def frames(self) -> int:
        """How many were added."""
        return self._lengths["frames"]

    def add(self, race: RaceArrays) -> None:
        """Add a race with all that the cache has."""
        rows, ticks = self._lengths["frames"], self._lengths["actions"]
        for name, dtype in ARRAYS.items():
            array = getattr(race, name)
            if array is None:
                array = np.full((len(race.frames), *self._shapes[name]), np.nan)
            data = np.ascontiguousarray(array, dtype)
            if data.shape[1:] != self._shapes[name]:
                raise ValueError(f"race {race.map}/{race.name}: {name} are {data.shape[1:]}, not {self._shapes[name]}")
            self._files[name].write(data.data)
            self._checksums[name] = zlib.crc32(data.data, self._checksums[name])
            self._lengths[name] += len(data)
        interval_ms = race.usual_interval_ms
        self._races.append(
            RaceRange(race.map, race.name, rows, len(race.frames), ticks, len(race.actions), interval_ms, race.finished)
        )

    def commit(self, index: CacheIndex) -> None:
        """Make what was added the cache of the directory."""
        disk = Disk()
        for file in self._files.values():
            file.close()
        arrays = {
            name: {"shape": [self._lengths[name], *self._shapes[name]], "crc32": self._checksums[name]}
            for name in ARRAYS
        }
        disk.write(self._partial / INDEX, _index_bytes(index, arrays, self._races))
        former = self._directory.with_name(f"{PARTIAL_PREFIX}{self._directory.name}.former")
        shutil.rmtree(former, ignore_errors=True)
        if self._directory.exists():
            disk.rename(self._directory, former)
        disk.rename(self._partial, self._directory)
        disk.sync_directory(self._directory.parent)
        shutil.rmtree(former, ignore_errors=True)


def read_index(directory: Path) -> CacheIndex:
    """Return what a cache was made of.

    Raises:
        DatasetError: it is damaged, or of another format.
    """
    read = _read(directory)
    return CacheIndex(read["key"], read["recipe"], read["content"], read["signature"])


def write_signature(directory: Path, signature: str) -> None:
    """Note that files of the source have other times, and the same content."""
    read = _read(directory)
    index = CacheIndex(read["key"], read["recipe"], read["content"], signature)
    races = [RaceRange(**race) for race in read["races"]]
    partial = directory / f"{PARTIAL_PREFIX}{INDEX}"
    disk = Disk()
    disk.write(partial, _index_bytes(index, read["arrays"], races))
    disk.rename(partial, directory / INDEX)


def open_cache(directory: Path, *, in_ram: bool = False) -> RaceCache:
    """Open a cache, memory-mapped or read into memory, after checking that it is whole.

    Args:
        directory: of the cache.
        in_ram: read it into memory, which is faster where rows are drawn by chance from a slow disk.

    Raises:
        DatasetError: there is none, it is damaged or of another format, or it does not fit into memory.
    """
    read = _read(directory)
    if in_ram:
        _check_fits(directory, sum(_bytes_of(name, each["shape"]) for name, each in read["arrays"].items()))
    arrays = {name: _open(directory, name, read["arrays"][name], in_ram=in_ram) for name in ARRAYS}
    races = tuple(RaceRange(**race) for race in read["races"])
    return RaceCache(**arrays, races=races, key=read["key"])


def _index_bytes(index: CacheIndex, arrays: Mapping[str, Any], races: list[RaceRange]) -> bytes:
    described = {"format": CACHE_FORMAT, **index._asdict(), "arrays": arrays, "races": [asdict(race) for race in races]}
    return json.dumps(described, indent=1).encode()


def _read(directory: Path) -> dict[str, Any]:
    path = directory / INDEX
    if not path.exists():
        raise DatasetError(f"{directory}: no cache is there", hint="Make one: tmrl-ray dataset cache --help")
    try:
        read: dict[str, Any] = json.loads(path.read_bytes())
        version, keys = read["format"], set(read)
    except (ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} is damaged: {error}") from error
    if version != CACHE_FORMAT:
        raise DatasetError(f"{path} has format {version}, this program reads {CACHE_FORMAT}")
    if missing := {*CacheIndex._fields, "arrays", "races"} - keys:
        raise DatasetError(f"{path} is damaged: it has no {', '.join(sorted(missing))}")
    return read


def _open(directory: Path, name: str, described: Mapping[str, Any], *, in_ram: bool) -> NDArray[Any]:
    path, shape = directory / f"{name}.bin", tuple(described["shape"])
    size = _bytes_of(name, shape)
    if not path.exists() or path.stat().st_size != size:
        there = path.stat().st_size if path.exists() else "no"
        raise DatasetError(f"{path} is damaged: it has {there} bytes, not {size}")
    if size == 0:
        return np.empty(shape, ARRAYS[name])
    mapped = np.memmap(path, ARRAYS[name], "r", shape=shape)
    data = mapped.reshape(-1).view(np.uint8)
    checksum = 0
    for start in range(0, size, _CHECK_BYTES):
        checksum = zlib.crc32(data[start : start + _CHECK_BYTES].tobytes(), checksum)
    if checksum != described["crc32"]:
        raise DatasetError(f"{path} is damaged: its checksum is another one")
    return np.array(mapped) if in_ram else mapped


def _bytes_of(name: str, shape: Any) -> int:
    size: int = np.dtype(ARRAYS[name]).itemsize * math.prod(shape)
    return size


def _check_fits(directory: Path, size: int) -> None:
    memory = psutil.virtual_memory()
    if size > RAM_SHARE * memory.available:
        raise DatasetError(
            f"the cache {directory} takes {_gib(size)}; {_gib(memory.available)} of {_gib(memory.total)} of memory are "
            f"free, of which a cache may take {RAM_SHARE:.0%}",
            hint="Leave it on the disk, where it is memory-mapped.",
        )


def _gib(size: float) -> str:
    return f"{size / 2**30:.2f} GiB"
