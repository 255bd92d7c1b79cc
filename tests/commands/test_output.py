"""What commands print where nobody looks at a terminal."""

from __future__ import annotations

import pytest

from tmrl_ray.commands.output import print_table, progress


def test_a_table_is_plain_and_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "length"], [["oval", 5], ["hairpin", 1100.5], ["long", None]])
    assert capsys.readouterr().out == "name     length\noval          5\nhairpin  1100.5\nlong\n"


def test_an_empty_table_has_its_columns(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", "length"], [])
    assert capsys.readouterr().out == "name  length\n"


def test_progress_is_a_line_at_every_tenth_beside_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("driving", 7) as shown:
        for done in range(8):
            shown.update(done, f"{done} m")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines()[0] == "driving:   0 %  0 m"
    assert err.splitlines()[-1] == "driving: 100 %  7 m"
    assert len(err.splitlines()) == 8
