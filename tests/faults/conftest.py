"""Fault rows: how long recovery took, and the table at the end of a run of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

_ROW = re.compile(r"test_row_(\d+)")


class Recovery:
    """A stopwatch: starts with the fault, stops when the row's demands are met."""

    def __init__(self, record_property: Callable[[str, object], None]) -> None:
        self._record_property = record_property
        self._longest_s = self._began_s = 0.0

    def begin(self) -> None:
        """The fault strikes now."""
        self._began_s = time.monotonic()

    def end(self) -> None:
        """All is well again. Where a row has several faults the longest counts."""
        self._longest_s = max(time.monotonic() - self._began_s, self._longest_s)
        self._record_property("recovery_s", self._longest_s)


@pytest.fixture
def recovery(record_property: Callable[[str, object], None]) -> Recovery:
    """Times the recovery of a row, for the table."""
    return Recovery(record_property)


@pytest.fixture(autouse=True)
def _named(request: pytest.FixtureRequest, record_property: Callable[[str, object], None]) -> None:
    record_property("fault", (request.function.__doc__ or "").strip().partition("\n")[0])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what became of each row."""
    rows: dict[int, tuple[str, set[str], list[float]]] = {}
    for outcome in ("passed", "failed", "error", "skipped"):
        for report in terminalreporter.stats.get(outcome, []):
            match = _ROW.search(report.nodeid)
            if match is None:
                continue
            told = dict(report.user_properties)
            fault, outcomes, seconds = rows.setdefault(int(match[1]), (told.get("fault", ""), set(), []))
            outcomes.add(outcome)
            if "recovery_s" in told:
                seconds.append(float(told["recovery_s"]))
    if not rows:
        return
    terminalreporter.section("fault matrix")
    terminalreporter.line("row  result   recovery  fault")
    for number, (fault, outcomes, seconds) in sorted(rows.items()):
        worst = next(name for name in ("failed", "error", "skipped", "passed") if name in outcomes)
        took = f"{max(seconds):.1f} s" if seconds else "-"
        terminalreporter.line(f"{number:>3}  {worst:<7}  {took:>8}  {fault}")
