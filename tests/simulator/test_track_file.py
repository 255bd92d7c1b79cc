"""Track files: what they may say, and what is said about those that are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator import track_file
from tmrl_ray.simulator.library import TRACKS
from tmrl_ray.simulator.track_file import Curve, Gap, Loop, Straight
from tmrl_ray.simulator.track_source import format_track, parse_track, read_track_file

WRONG = [
    ("segments: [{straight: -3}]", "f.yaml:2: segments.0.straight = -3: must be a number above 0, at most 5000"),
    ("segments: [{curve: up, radius: 9, angle: 5}]", 'segments.0.curve = "up": must be left or right'),
    ("segments: [{curve: left, angle: 5}]", "segments.0.radius: required but not given; must be a number of at least"),
    ("segments: [{straight: 9, bnk: 3}]", "segments.0.bnk: unknown key; keys here: width, left, right, material"),
    ("segments: [chekpoint]", 'segments.0 = "chekpoint": must be one of checkpoint, finish, or a mapping with one'),
    ("segments: [{strait: 4}]", "with one of the keys straight, curve, gap, loop"),
    ("segments: 5", "segments = 5: must be a list, each item one of checkpoint, finish"),
    ("segments: [{straight: 4, slope: 1, climb: 2}]", "segments.0: give slope or climb, not both"),
    ("segments: [{straight: .inf}]", "segments.0.straight = Infinity"),
    ("segments: [{straight: 4, material: lava}]", 'material = "lava": must be null or asphalt, concrete,'),
    (
        "segments:\n  - straight: 4\n  - {straight: 4, shoulder: {width: 3, material: lava}}",
        'f.yaml:4: segments.1.shoulder.material = "lava": must be asphalt, concrete,',
    ),
    ("road: {width: 2}\nsegments: [finish]", "f.yaml:2: road.width = 2: must be a number of at least 4, at most 60"),
    ("segments: [finish]\nline: {file: a.npy}", "give either segments or line"),
    ("line: {file: a.npy}\nlaps: 3", "laps: only with segments, not with line"),
    ("line: {file: a.npy, gaps: [{from: 3}]}", "line.gaps.0.to: required but not given; must be a number above 0"),
    ("line: {file: a.npy, gaps: [{from: 3, to: 5, until: 6}]}", "line.gaps.0.until: unknown key; keys here: from, to"),
    ("line: {file: a.npy, checkpoints: [{at: x}]}", 'line.checkpoints.0.at = "x": must be a number of at least 0'),
    ("line: {file: a.npy, checkpoints: [{by: 3}]}", "must be a mapping with one of the keys at, near"),
    ("segments: [{straight: 4, label: a}, {straight: 4, label: a}]", "label a is given to more than one segment"),
    ("segments: [{straight: 4}]\nbranches: [{name: b, side: left, leaves: a, joins: b, segments: [{gap: 1}]}]",
     "branches.0.segments.0.gap = 1: must be a number of at least 2, at most 300"),
    ("segments: [", "f.yaml:3: "),
    ("segments: [finish]\nsegments: [finish]", "given twice"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_a_wrong_file_is_told_what_is_wrong_where(text: str, message: str) -> None:
    with pytest.raises(TrackError) as caught:
        parse_track(f"name: test\n{text}\n", "f.yaml")
    assert message in str(caught.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    text = "name: test\nroad: {width: 2, height: 3}\nsegments:\n  - straight: 0\n  - nothing\n"
    with pytest.raises(TrackError) as caught:
        parse_track(text, "f.yaml")
    assert [line.split(":")[1] for line in str(caught.value).splitlines()] == ["2", "2", "4", "5"]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TrackError, match="nowhere.yaml: cannot be read: No such file"):
        read_track_file(tmp_path / "nowhere.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TrackError, match="binary.yaml: cannot be read: not UTF-8 text"):
        read_track_file(tmp_path / "binary.yaml")
    with pytest.raises(TrackError, match="must be a mapping"):
        parse_track("- 3", "f.yaml")


def test_kinds_of_segments() -> None:
    text = """
    name: test
    segments:
      - straight: 11
      - {curve: right, radius: 13, angle: 17, bank: 5}
      - checkpoint
      - {gap: 7, drop: 1}
      - {loop: 19, shift: 23}
      - finish
    """
    spec = parse_track(text, "f.yaml")
    assert [type(segment) for segment in spec.segments] == [Straight, Curve, str, Gap, Loop, str]
    assert spec.segments[1].bank == 5
    assert spec.road.width == 16


@pytest.mark.parametrize("path", sorted(TRACKS.glob("[a-fh-z]*.yaml")), ids=lambda path: path.stem)
def test_a_written_track_reads_back_to_the_same(path: Path) -> None:
    spec = read_track_file(path)
    assert spec.name == path.stem
    assert parse_track(format_track(spec), "again") == spec


def test_every_setting_has_a_docstring_under_it() -> None:
    text = Path(track_file.__file__).read_text(encoding="utf-8")
    source = text[text.index("class Shoulder") :].splitlines()
    fields = 0
    for number, line in enumerate(source[:-1]):
        name, colon, rest = line.strip().partition(": ")
        if line.startswith("    ") and not line.startswith("     ") and colon and name.isidentifier() and rest:
            if name in ("return", "raise"):
                continue
            fields += 1
            assert source[number + 1].strip().startswith('"""'), line
    assert fields > 50
