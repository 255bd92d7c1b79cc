"""``tmrl-ray game calibrate``: what it prints of the figures that ``tests/simulator`` checks."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

from tmrl_ray.cli import run
from tmrl_ray.simulator import calibrate
from tmrl_ray.simulator.calibrate import Row
from tmrl_ray.simulator.tuning import CarTuning


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch) -> list[Row]:
    """The report's rows, to be set by the test."""
    given = [Row("drag", "m/s2", -31.1, -31.0, 1.8), Row("grip", "rad/s", 0.9, 0.95, 0.06)]

    def report(tuning: CarTuning | None = None, figures: Sequence[object] = ()) -> list[Row]:
        return given

    monkeypatch.setattr(calibrate, "report", report)
    return given


def test_residuals_are_printed(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "calibrate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["drag", "m/s2", "-31.100", "-31.000", "+0.100", "1.800"]
    assert any(line.startswith("brake_limit = ") for line in lines)


def test_a_figure_outside_of_its_tolerance_fails(rows: list[Row], capsys: pytest.CaptureFixture[str]) -> None:
    rows.append(Row("yaw", "rad/s", 1.0, 2.0, 0.1))
    assert run(["game", "calibrate", "--json"]) == 1
    figures = json.loads(capsys.readouterr().out)["figures"]
    assert [figure["within"] for figure in figures] == [True, True, False]
    assert figures[-1]["residual"] == 1.0


def test_constants_are_written_and_read_back(rows: list[Row], tmp_path: Path) -> None:
    path = tmp_path / "car.json"
    assert run(["game", "calibrate", "-o", str(path)]) == 0
    assert CarTuning.model_validate_json(path.read_text()) == CarTuning()
    assert run(["game", "calibrate", "--tuning", str(path)]) == 0


def test_a_wrong_constant_is_named(rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "car.json"
    path.write_text('{"brake_limt": 3}')
    assert run(["game", "calibrate", "--tuning", str(path)]) == 2
    assert re.search(r"brake_limt .*: unknown key; did you mean .*brake_limit.*\?", capsys.readouterr().err)
