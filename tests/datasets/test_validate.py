"""Each defect is found, and repaired where it can be, into a new dataset that has it no more."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from tests.datasets import wild
from tmrl_ray.datasets.folder import read_race
from tmrl_ray.datasets.race import Race
from tmrl_ray.datasets.repair import repair_into
from tmrl_ray.datasets.validate import REPAIRS, Kind, validate_folder
from tmrl_ray.errors import DatasetError

Manifest = dict[str, Any]


def frame(folder: Path, step: int) -> Path:
    return folder / f"frame_{step:05d}_{100 * step}ms.jpeg"


def remove_frames(folder: Path, manifest: Manifest) -> None:
    frame(folder, 4).unlink()
    frame(folder, 5).unlink()


def damage_frame(folder: Path, manifest: Manifest) -> None:
    frame(folder, 4).write_bytes(frame(folder, 4).read_bytes()[:100])


def other_size(folder: Path, manifest: Manifest) -> None:
    from PIL import Image

    Image.new("L", (7, 5)).save(frame(folder, 4))


def forget_entry(folder: Path, manifest: Manifest) -> None:
    del manifest["entries"][4]


def other_name(folder: Path, manifest: Manifest) -> None:
    manifest["entries"][4]["time_ms"] = 390


def between_ticks(folder: Path, manifest: Manifest) -> None:
    manifest["entries"][4] |= {"time_ms": 403, "file": "frame_00004_403ms.jpeg"}
    frame(folder, 4).rename(folder / "frame_00004_403ms.jpeg")


def disorder(folder: Path, manifest: Manifest) -> None:
    entries = manifest["entries"]
    entries[4], entries[5] = entries[5], entries[4]
    entries.append(dict(entries[7]))


def unknown_action(folder: Path, manifest: Manifest) -> None:
    manifest["entries"][4]["action_idx"] = 12
    manifest["actions"][40:41] = [-1]


def other_keys(folder: Path, manifest: Manifest) -> None:
    manifest["entries"][4]["action_idx"] = (manifest["entries"][4]["action_idx"] + 1) % 12


def late_timeline(folder: Path, manifest: Manifest) -> None:
    manifest["actions"] = [0] * 4 + manifest["actions"][:-4]


def one_wrong_label(folder: Path, manifest: Manifest) -> None:
    manifest["entries"][4] |= {"action_idx": 6, "inputs": {"brake": True}}


def short_timeline(folder: Path, manifest: Manifest) -> None:
    del manifest["actions"][60:]


def not_finite(folder: Path, manifest: Manifest) -> None:
    manifest["meta"][4]["margin"] = float("nan")


def no_rotation(folder: Path, manifest: Manifest) -> None:
    manifest["meta"][4]["orientation_flat"] = [0.0] * 9


def cars_frame(folder: Path, manifest: Manifest) -> None:
    for each in manifest["meta"]:
        each["velocity"] = [0.0, 0.0, 20.0]


def off_course(folder: Path, manifest: Manifest) -> None:
    for each in manifest["meta"]:
        each["velocity"] = [0.0, 35.0, 0.0]


def forget_state(folder: Path, manifest: Manifest) -> None:
    del manifest["meta"][4]


class Case(NamedTuple):
    damage: Callable[[Path, Manifest], None]
    kinds: set[Kind]
    rows: tuple[int, ...] = (4,)
    entries: int = 13
    """After the repair."""


CASES = [
    Case(remove_frames, {Kind.MISSING_PICTURE}, (4, 5), 11),
    Case(damage_frame, {Kind.DAMAGED_PICTURE}, (4,), 12),
    Case(other_size, {Kind.OTHER_SIZE}, (4,), 12),
    Case(forget_entry, {Kind.STRAY_PICTURE, Kind.JUMP}, (), 12),
    Case(other_name, {Kind.OTHER_NAME, Kind.NO_STATE}, (4,), 12),
    Case(between_ticks, {Kind.OFF_TICK, Kind.NO_STATE}, (4,), 12),
    Case(disorder, {Kind.DISORDER, Kind.JUMP}, (5, 13), 13),
    Case(unknown_action, {Kind.UNKNOWN_ACTION}),
    Case(other_keys, {Kind.OTHER_KEYS, Kind.OUT_OF_STEP}),
    Case(late_timeline, {Kind.OUT_OF_STEP}, ()),
    Case(one_wrong_label, {Kind.OUT_OF_STEP}),
    Case(short_timeline, {Kind.SHORT_TIMELINE}, ()),
    Case(not_finite, {Kind.NOT_FINITE}),
    Case(no_rotation, {Kind.NO_ROTATION}),
    Case(cars_frame, {Kind.WRONG_FRAME}, ()),
    Case(off_course, {Kind.OFF_COURSE}, ()),
    Case(forget_state, {Kind.NO_STATE}),
]


def damaged(root: Path, damage: Callable[[Path, Manifest], None]) -> Path:
    folder = wild.write(root / "4711" / "one", None, metadata=wild.METADATA)
    manifest = wild.manifest()
    damage(folder, manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def found_in(folder: Path) -> tuple[Race, dict[Kind, Any]]:
    """Return a race and its defects, but for the finish, which no race of other tools has."""
    race, defects = validate_folder(folder)
    assert race is not None
    kinds = [defect.kind for defect in defects]
    assert len(set(kinds)) == len(kinds)
    return race, {defect.kind: defect for defect in defects if defect.kind is not Kind.NO_FINISH}


def test_a_race_without_defects_has_none(tmp_path: Path, recorded: Path) -> None:
    folder = wild.write(tmp_path / "4711" / "one", wild.manifest(), metadata=wild.METADATA)
    race, found = found_in(folder)
    assert found == {}
    assert [defect.kind for defect in validate_folder(folder)[1]] == [Kind.NO_FINISH]
    for ours in recorded.glob("*/*"):
        assert validate_folder(ours)[1] == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.damage.__name__)
def test_each_defect_is_found_and_repaired(tmp_path: Path, case: Case) -> None:
    folder = damaged(tmp_path / "old", case.damage)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    race, found = found_in(folder)
    assert set(found) == case.kinds
    if case.rows:
        assert any(defect.rows == case.rows for defect in found.values())
    repaired = repair_into(race, validate_folder(folder)[1], tmp_path / "new")
    again, remaining = found_in(repaired)
    assert not any(kind in REPAIRS for kind in remaining), remaining
    assert len(again.entries) == case.entries
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_repaired_labels_and_states_are_the_right_ones(tmp_path: Path) -> None:
    right = read_race(wild.write(tmp_path / "right" / "4711" / "one", wild.manifest(), metadata=wild.METADATA))
    for damage in (late_timeline, one_wrong_label, other_keys, cars_frame):
        folder = damaged(tmp_path / damage.__name__, damage)
        race, defects = validate_folder(folder)
        assert race is not None
        again = read_race(repair_into(race, defects, tmp_path / damage.__name__ / "new"))
        assert [entry.action for entry in again.entries] == [entry.action for entry in right.entries]
        known = again.actions != 255
        assert (again.actions == right.actions)[known].all()
        assert known.sum() == 126 if damage is late_timeline else known.all()
        assert again.states is not None and right.states is not None
        np.testing.assert_allclose(again.states.velocity, right.states.velocity, atol=1e-5)


def test_the_message_says_by_how_much_actions_are_out_of_step(tmp_path: Path) -> None:
    _, found = found_in(damaged(tmp_path, late_timeline))
    assert found[Kind.OUT_OF_STEP].shift_ticks == -4
    assert "moved by -40 ms the timeline has all but 0 of them right" in found[Kind.OUT_OF_STEP].what


def test_files_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    folder = wild.write(tmp_path / "4711" / "one", None)
    _, found = found_in(folder)
    assert set(found) == {Kind.NO_METADATA, Kind.NO_MANIFEST, Kind.NO_ACTIONS, Kind.NO_STATE}
    (folder / "manifest.json").write_text("{")
    race, defects = validate_folder(folder)
    assert race is None
    assert [defect.kind for defect in defects] == [Kind.UNREADABLE]


def test_a_race_of_which_nothing_is_left_is_no_race(tmp_path: Path) -> None:
    folder = wild.write(tmp_path / "4711" / "one", wild.manifest(), metadata=wild.METADATA)
    for picture in folder.glob("*.jpeg"):
        picture.unlink()
    race, defects = validate_folder(folder)
    assert race is not None
    with pytest.raises(DatasetError, match="no frame is left of 13"):
        repair_into(race, defects, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_recordings_of_ours_are_checked_as_strictly(tmp_path: Path, recorded: Path) -> None:
    folder = tmp_path / "generated-train-00" / "one"
    shutil.copytree(next(recorded.glob("generated-train-00/*")), folder)
    sorted(folder.glob("*.png"))[-1].unlink()
    manifest = json.loads((folder / "manifest.json").read_bytes())
    manifest["meta"][11]["velocity"][1] = None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    _, found = found_in(folder)
    assert set(found) == {Kind.MISSING_PICTURE, Kind.NOT_FINITE}
