"""The table of the fault matrix says which row failed, and which took longer than it may."""

from __future__ import annotations

from tests.faults.matrix import Row, table


def test_a_row_that_took_longer_than_it_may_is_told() -> None:
    rows = [
        Row(4, "a collector is killed", {"passed"}, [3.0, 11.26, 5.0]),
        Row(5, "it fails at each start", {"passed", "failed"}, [700.0]),
        Row(10, "the buffer is killed", {"passed"}, [2.96]),
        Row(42, "nothing", {"passed"}),
    ]
    assert [row.is_over for row in rows] == [True, False, False, False]
    header, *lines, last = table(rows)
    assert header.split() == ["row", "result", "recovery", "bound", "fault"]
    assert lines[0].split() == ["4", "passed", "11.3", "s", "10", "s", "over", "a", "collector", "is", "killed"]
    assert lines[1].split()[:4] == ["5", "failed", "700.0", "s"]
    assert "over" not in lines[1] + lines[2] + lines[3]
    assert lines[3].split() == ["42", "passed", "-", "-", "nothing"]
    assert {line.index(row.fault) for line, row in zip(lines, rows, strict=True)} == {header.index("fault")}
    assert last == "over their bound: rows 4"
    assert table(rows[1:])[-1] == "no row took longer than its bound"
