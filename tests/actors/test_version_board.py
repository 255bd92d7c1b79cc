"""The newest version beside the ring: seen by others, and 0 where there is nothing to see."""

from __future__ import annotations

from pathlib import Path

from actors.version_board import FILE, VersionBoard


def test_what_one_writes_others_see(tmp_path: Path) -> None:
    mine, other = VersionBoard(tmp_path), VersionBoard(tmp_path)
    assert other.newest() == 0
    mine.write(2**40 + 7)
    assert other.newest() == 2**40 + 7


def test_where_no_ring_is_nothing_is_seen_and_nothing_made(tmp_path: Path) -> None:
    board = VersionBoard(tmp_path / "gone")
    board.write(3)
    assert board.newest() == 0
    assert list(tmp_path.iterdir()) == []


def test_half_a_number_is_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"1234567")
    assert VersionBoard(tmp_path).newest() == 0
