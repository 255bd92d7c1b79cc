"""Caches of recorded races: what is in them, and when they are built anew."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from tests.datasets import wild
from tmrl_ray.config.dataset import CacheSettings
from tmrl_ray.config.race import ObservationSettings
from tmrl_ray.datasets.cache import RaceCache
from tmrl_ray.datasets.cache_build import arrays_of, prepare_cache
from tmrl_ray.datasets.cache_files import open_cache
from tmrl_ray.datasets.folder import find_races, read_race
from tmrl_ray.errors import DatasetError

SETTINGS = CacheSettings(frame_size=(24, 16), finished_only=False)


@pytest.fixture
def root(recorded: Path, tmp_path: Path) -> Path:
    """A copy of the recorded races, to be changed."""
    return Path(shutil.copytree(recorded, tmp_path / "races"))


def prepare(root: Path, settings: CacheSettings = SETTINGS, **options: int) -> tuple[RaceCache, bool]:
    """Return the cache, and whether it was built now."""
    told: list[int] = []
    cache = prepare_cache(
        root, root.parent / "cache", settings, told=lambda *progress: told.append(progress[0]), **options
    )
    return cache, bool(told)


def test_a_cache_holds_the_races_in_their_order(root: Path) -> None:
    cache, built = prepare(root)
    assert built
    expected = RaceCache.of([arrays_of(read_race(folder), SETTINGS) for folder in find_races(root)])
    for name in ("frames", "floats", "metres", "times_ms", "actions"):
        np.testing.assert_array_equal(getattr(cache, name), getattr(expected, name))
        assert isinstance(getattr(cache, name), np.memmap)
    assert cache.races == expected.races
    assert cache.frames.dtype == np.uint8
    assert np.isfinite(cache.floats).all()
    assert [race.finished for race in cache.races] == [True, True, False]


def test_processes_build_the_same_cache(root: Path) -> None:
    alone, _ = prepare(root)
    files = {path.name: path.read_bytes() for path in (root.parent / "cache").iterdir()}
    shutil.rmtree(root.parent / "cache")
    several, built = prepare(root, workers=2)
    assert built
    assert several.key == alone.key
    assert {path.name: path.read_bytes() for path in (root.parent / "cache").iterdir()} == files


def test_a_cache_is_used_again_while_nothing_has_changed(root: Path) -> None:
    first, _ = prepare(root)
    second, built = prepare(root)
    assert not built
    for path in root.rglob("*.png"):
        os.utime(path, ns=(1, 1))  # copied to another disk, say
    third, built = prepare(root)
    assert not built
    assert first.key == second.key == third.key


def test_two_processes_that_need_the_same_cache_build_it_once(root: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: prepare(root), range(2)))
    assert sorted(built for _, built in results) == [False, True]
    assert results[0][0].key == results[1][0].key


def change_label(root: Path) -> None:
    """Change one action, so that neither the number nor the size of any file does."""
    path = next(root.glob("*/*/manifest.json"))
    manifest = json.loads(path.read_bytes())
    manifest["actions"][5] = (manifest["actions"][5] + 1) % 10
    path.write_text(json.dumps(manifest, separators=(",", ":")))


def add_race(root: Path) -> None:
    shutil.copytree(next(root.glob("loop/*")), root / "loop" / "another")


@pytest.mark.parametrize("change", [change_label, add_race])
def test_races_that_change_make_another_cache(root: Path, change: Callable[[Path], None]) -> None:
    before, _ = prepare(root)
    change(root)
    after, built = prepare(root)
    assert built
    assert after.key != before.key


@pytest.mark.parametrize(
    "settings",
    [
        SETTINGS.replace(frame_size=(12, 8)),
        SETTINGS.replace(decision_period_ms=100),
        SETTINGS.replace(floats=False),
        SETTINGS.replace(finished_only=True),
        SETTINGS.replace(maps=("loop",)),
    ],
)
def test_another_recipe_makes_another_cache(root: Path, settings: CacheSettings) -> None:
    before, _ = prepare(root)
    after, built = prepare(root, settings)
    assert built
    assert after.key != before.key
    width, height = settings.frame_size
    assert after.frames.shape[1:] == (height, width)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-3])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
@pytest.mark.parametrize("file", ["frames.bin", "actions.bin"])
def test_a_damaged_cache_is_noticed_and_built_anew(root: Path, damage: Callable[[Path], None], file: str) -> None:
    frames = prepare(root)[0].frames.copy()
    damage(root.parent / "cache" / file)
    with pytest.raises(DatasetError, match="damaged"):
        open_cache(root.parent / "cache")
    after, built = prepare(root)
    assert built
    np.testing.assert_array_equal(after.frames, frames)


def test_a_damaged_index_is_noticed(root: Path) -> None:
    prepare(root)
    cut(root.parent / "cache" / "cache.json")
    with pytest.raises(DatasetError, match=r"cache\.json is damaged"):
        open_cache(root.parent / "cache")
    assert prepare(root)[1]


def test_a_folder_that_is_no_cache_is_left_alone(root: Path) -> None:
    (root.parent / "cache").mkdir()
    (root.parent / "cache" / "thesis.tex").write_text("years of work")
    with pytest.raises(DatasetError, match="is no cache"):
        prepare(root)
    assert (root.parent / "cache" / "thesis.tex").exists()


def test_a_cache_that_does_not_fit_into_memory_is_refused_with_the_numbers(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, _ = prepare(root)
    loaded = open_cache(root.parent / "cache", in_ram=True)
    assert not isinstance(loaded.frames, np.memmap)
    np.testing.assert_array_equal(loaded.frames, cache.frames)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=cache.frames.nbytes, total=2**30))
    with pytest.raises(DatasetError, match=r"takes 0\.00 GiB; 0\.00 GiB of 1\.00 GiB of memory are free"):
        open_cache(root.parent / "cache", in_ram=True)


def test_races_that_lack_something_stop_the_build_and_leave_no_cache(root: Path) -> None:
    sorted(root.rglob("*.png"))[7].unlink()
    with pytest.raises(DatasetError, match="picture frame_00007_350ms.png cannot be read") as error:
        prepare(root)
    assert "dataset repair" in (error.value.hint or "")
    assert not (root.parent / "cache").exists()
    with pytest.raises(DatasetError, match="for another observation"):
        prepare(root, SETTINGS.replace(observation=ObservationSettings(way_points=20)))


def test_races_that_were_not_finished_are_left_out_unless_asked_for(
    root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, _ = prepare(root, SETTINGS.replace(finished_only=True))
    assert cache.maps == ("generated-train-00",)
    assert caplog.messages[0].startswith("1 of 3 races are left out, for they did not reach the finish")
    shutil.rmtree(root / "generated-train-00")
    with pytest.raises(DatasetError, match="none of 1 races reached the finish"):
        prepare(root, SETTINGS.replace(finished_only=True))


def test_races_of_other_tools_become_arrays_too(tmp_path: Path) -> None:
    wild.write(tmp_path / "races" / "4711" / "one", wild.manifest(), metadata=wild.METADATA)
    cache, _ = prepare(tmp_path / "races", CacheSettings(frame_size=wild.SIZE))
    assert cache.floats.shape == (13, 184)
    assert np.isnan(cache.metres).all()
    ends = cache.window_ends(stack=3, with_floats=True)
    assert ends.tolist() == list(range(2, 13))
    assert cache.labels(ends, [-10, 0, 40]).tolist() == [
        [wild.held(10 * row + shift) for shift in (-1, 0, 4)] for row in range(2, 13)
    ]
