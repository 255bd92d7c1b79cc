"""Makes caches of recorded races, and notices when one is stale or damaged and makes it anew.

The loop in which it is used::

    cache = prepare_cache(root, directory, CacheSettings())
    split = cache.split(val_fraction=0.1, seed=42)

A cache is known by a key over its recipe and the content of every file of every race. To read all of them each time
would take as long as to build the cache; so names, sizes and times of the files are compared first, and the content
only if these differ.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tmrl_ray.config.dataset import CacheSettings
from tmrl_ray.datasets.cache import Floats, Frames, RaceArrays, RaceCache
from tmrl_ray.datasets.cache_files import CACHE_FORMAT, CacheIndex, CacheWriter, open_cache, read_index, write_signature
from tmrl_ray.datasets.folder import find_races, read_facts, read_race
from tmrl_ray.datasets.race import Race
from tmrl_ray.datasets.states import floats_at
from tmrl_ray.errors import DatasetError, InvalidInputError, NotSavedError
from tmrl_ray.experience.columns import NO_ACTION
from tmrl_ray.racing.observation_layout import ObservationLayout

log = logging.getLogger(__name__)

RACES_PER_WORKER = 8
"""Fewer are read in this process: a worker takes a second to start."""
Told = Callable[[int, int, int], None]
"""Is told of races that are read, of all races, and of frames."""


def prepare_cache(
    root: Path,
    directory: Path,
    settings: CacheSettings,
    *,
    workers: int | None = None,
    in_ram: bool = False,
    told: Told | None = None,
) -> RaceCache:
    """Open the cache of a dataset, after building it if it is not there, stale or damaged.

    Args:
        root: of the dataset; see ``folder``.
        directory: of the cache, which belongs to it: what is there is replaced.
        settings: what to make of the races.
        workers: processes that read races; None: one for each CPU, fewer for few races; 0: this one only.
        in_ram: see :func:`~tmrl_ray.datasets.cache_files.open_cache`.
        told: of progress.

    Raises:
        DatasetError: a race cannot be used, or the cache does not fit into memory.
        NotSavedError: the cache could not be written.
    """
    folders = _chosen(find_races(root, settings.maps), settings)
    with _alone(directory):
        cache = _prepare(root, directory, settings, folders, workers, told)
    _check_complete(cache, folders, settings)
    return open_cache(directory, in_ram=True) if in_ram else cache


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    """Wait until no other process prepares this cache: the second one finds it ready."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with (directory.parent / f".{directory.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _prepare(
    root: Path,
    directory: Path,
    settings: CacheSettings,
    folders: list[Path],
    workers: int | None,
    told: Told | None,
) -> RaceCache:
    signature = _signature(folders)
    try:
        return _open_fresh(root, directory, settings, folders, signature)
    except DatasetError as error:
        reason = error.args[0]
    if directory.exists() and any(directory.iterdir()) and not (directory / "cache.json").exists():
        raise DatasetError(f"{directory} is no cache, and something is in it", hint="Give another folder.")
    log.info("building the cache %s: %s", directory, reason)
    try:
        _build(root, directory, settings, folders, signature, workers, told)
    except OSError as error:
        raise NotSavedError(f"the cache {directory} was not written: {error}", hint="Make room there.") from error
    return open_cache(directory)


def arrays_of(race: Race, settings: CacheSettings) -> RaceArrays:
    """Return a recorded race as the arrays of a cache.

    Raises:
        DatasetError: pictures are missing or cannot be read, or the race lacks what the settings ask for.
    """
    times_ms = race.times_ms
    if len(times_ms) == 0 or (np.diff(times_ms) <= 0).any():
        what = "there is no frame" if len(times_ms) == 0 else "the times of its frames do not rise"
        raise DatasetError(f"race {race.label}: {what}", hint=_SEE)
    actions, floats = None, None
    if settings.actions:
        with _allowed("actions", settings):
            actions = race.actions
    if settings.floats:
        with _allowed("floats", settings):
            floats = _floats(race, settings)
    interval_ms = race.interval_ms
    return RaceArrays(
        map=race.facts.map,
        name=race.facts.name,
        frames=_frames(race, settings.frame_size),
        times_ms=times_ms.astype(np.int32),
        actions=np.full(1, NO_ACTION, np.uint8) if actions is None else actions,
        floats=floats,
        metres=_metres(race, times_ms),
        finished=bool(race.facts.finished),
        interval_ms=None if interval_ms is None else max(1, round(interval_ms)),
    )


_SEE = "To see and repair all defects: tmrl-ray dataset validate, tmrl-ray dataset repair"
_WITHOUT_FLOATS = "or do without floats: use_floats: false in a stage, floats=false in tmrl-ray dataset cache"


@contextmanager
def _allowed(what: Literal["floats", "actions"], settings: CacheSettings) -> Iterator[None]:
    """Pass over that a race does not give something, where the settings allow that."""
    try:
        yield
    except DatasetError:
        if what not in settings.may_lack:
            raise


def _floats(race: Race, settings: CacheSettings) -> Floats:
    """Return the floats of a race.

    Raises:
        DatasetError: it does not give them.
    """
    layout = ObservationLayout(settings.observation)
    if race.states is None:
        raise DatasetError(
            f"race {race.label} says nothing of the car's state, of which the floats are made",
            hint=f"Leave such races out, {_WITHOUT_FLOATS}",
        )
    recorded = race.facts.layout_hash
    if recorded is not None and not layout.differs_in_history_only(recorded):
        raise DatasetError(
            f"race {race.label} was recorded for another observation (layout {recorded[:12]}, "
            f"wanted {layout.hash[:12]})",
            hint=f"Set observation as it was for the recording, {_WITHOUT_FLOATS}",
        )
    try:
        return floats_at(race.states, race.actions, race.times_ms, layout, period_ms=settings.decision_period_ms)
    except InvalidInputError as error:
        raise DatasetError(f"race {race.label}: {error.args[0]}", hint=error.hint) from error


def _check_complete(cache: RaceCache, folders: Sequence[Path], settings: CacheSettings) -> None:
    """Say how many races lack what they may lack; a cache is also used by those to whom they may not.

    Raises:
        DatasetError: a race does not give what it must.
    """
    lack_floats = [np.isnan(cache.floats[race.first_row : race.end_row, :1]).all() for race in cache.races]
    lack_actions = [(cache.actions[r.first_tick : r.first_tick + r.ticks] == NO_ACTION).all() for r in cache.races]
    ways: tuple[tuple[Literal["floats", "actions"], list[np.bool_], Callable[[Race], object]], ...] = (
        ("floats", lack_floats if settings.floats else [], lambda race: _floats(race, settings)),
        ("actions", lack_actions if settings.actions else [], lambda race: race.actions),
    )
    for what, lack, read in ways:
        numbers = np.flatnonzero(lack)
        for number in numbers.tolist():
            try:
                read(read_race(folders[number]))
            except DatasetError as error:
                if what not in settings.may_lack:
                    raise
                log.warning("%d of %d races are kept without %s: %s", len(numbers), len(folders), what, error.args[0])
                break


def _frames(race: Race, size: tuple[int, int]) -> Frames:
    width, height = size
    frames = np.empty((len(race.entries), height, width), np.uint8)
    for row in range(len(frames)):
        frame = race.frame(row)
        if frame.shape != (height, width):  # the area average, as the game draws a smaller picture
            frame = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BOX))
        frames[row] = frame
    return frames


def _metres(race: Race, times_ms: NDArray[np.int64]) -> Floats | None:
    if race.states is None:
        return None
    rows = race.states.rows_at(times_ms)
    return np.where(rows >= 0, race.states.metres[rows, 0], np.nan).astype(np.float32)


def _chosen(folders: list[Path], settings: CacheSettings) -> list[Path]:
    if not settings.finished_only:
        return folders
    chosen = [folder for folder in folders if read_facts(folder).finished is not False]
    if not chosen:
        raise DatasetError(
            f"none of {len(folders)} races reached the finish", hint="To use such races: finished_only=false"
        )
    if len(chosen) < len(folders):
        log.warning(
            "%d of %d races are left out, for they did not reach the finish; to use them: finished_only=false",
            len(folders) - len(chosen),
            len(folders),
        )
    return chosen


def cache_name(root: Path, settings: CacheSettings) -> str:
    """Return what to call the folder of a cache, which no other dataset or recipe has."""
    told = [str(root.resolve()), _recipe(settings), settings.finished_only, settings.maps]
    return f"{root.resolve().name}-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]}"


def _recipe(settings: CacheSettings) -> dict[str, object]:
    return {"cache": CACHE_FORMAT, "layout": ObservationLayout(settings.observation).hash} | settings.model_dump(
        mode="json", exclude={"maps", "may_lack", "observation", "finished_only"}
    )


def _key(recipe: dict[str, object], content: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps([recipe, sorted(content.items())]).encode()).hexdigest()


def _open_fresh(
    root: Path, directory: Path, settings: CacheSettings, folders: Sequence[Path], signature: str
) -> RaceCache:
    """Open a cache.

    Raises:
        DatasetError: it is not there, damaged or stale, so that it must be built.
    """
    index = read_index(directory)
    if index.recipe != _recipe(settings):
        raise DatasetError("it was made by another recipe")
    if index.signature != signature:
        if index.content != {_name(root, folder): content_digest(folder) for folder in folders}:
            raise DatasetError("other races are wanted, or they have changed")
        write_signature(directory, signature)
    return open_cache(directory)


def _build(  # noqa: PLR0913, PLR0917 - all that prepare_cache was given, and what it found
    root: Path,
    directory: Path,
    settings: CacheSettings,
    folders: list[Path],
    signature: str,
    workers: int | None,
    told: Told | None,
) -> None:
    width, height = settings.frame_size
    floats = ObservationLayout(settings.observation).size if settings.floats else 0
    content = {}
    with CacheWriter(directory, (height, width), floats) as writer:
        for number, (folder, (arrays, digest)) in enumerate(
            zip(folders, _read_all(folders, settings, workers), strict=True), start=1
        ):
            writer.add(arrays)
            content[_name(root, folder)] = digest
            if told is not None:
                told(number, len(folders), writer.frames)
        recipe = _recipe(settings)
        writer.commit(CacheIndex(_key(recipe, content), recipe, content, signature))


def _read_all(
    folders: Sequence[Path], settings: CacheSettings, workers: int | None
) -> Iterator[tuple[RaceArrays, str]]:
    """Yield the races in their order, read by several processes, never many more than are written."""
    if workers is None:
        workers = min(os.cpu_count() or 1, len(folders) // RACES_PER_WORKER)
    if workers < 2:
        yield from (_read(folder, settings) for folder in folders)
        return
    waiting: deque[Future[tuple[RaceArrays, str]]] = deque()
    todo = iter(folders)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        try:
            waiting.extend(pool.submit(_read, folder, settings) for folder in islice(todo, 2 * workers))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(pool.submit(_read, folder, settings) for folder in islice(todo, 1))
        finally:
            pool.shutdown(cancel_futures=True)


def _read(folder: Path, settings: CacheSettings) -> tuple[RaceArrays, str]:
    digest = content_digest(folder)
    return arrays_of(read_race(folder), settings), digest


def content_digest(folder: Path) -> str:
    """Return a digest of the names and bytes of all files of a race."""
    digest = hashlib.blake2b(digest_size=16)
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        data = Path(entry.path).read_bytes()
        digest.update(f"{entry.name}\n{len(data)}\n".encode())
        digest.update(data)
    return digest.hexdigest()


def _signature(folders: Sequence[Path]) -> str:
    """Return a digest of names, sizes and times of all files."""
    digest = hashlib.blake2b(digest_size=16)
    for folder in folders:
        for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
            stat = entry.stat()
            digest.update(
                f"{folder.parent.name}/{folder.name}/{entry.name} {stat.st_size} {stat.st_mtime_ns}\n".encode()
            )
    return digest.hexdigest()


def _name(root: Path, folder: Path) -> str:
    return folder.relative_to(root).as_posix()
