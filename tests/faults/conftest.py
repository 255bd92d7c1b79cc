"""Fault rows: how long recovery took, and the table at the end of a run of them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import pytest

from tests.faults.matrix import OUTCOMES, Row, table

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
        """All is well again."""
        self.took(time.monotonic() - self._began_s)

    def took(self, seconds: float) -> None:
        """All was well again so long after a fault. Where a row has several faults the longest counts."""
        self._longest_s = max(seconds, self._longest_s)
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
    rows: dict[int, Row] = {}
    for outcome in OUTCOMES:
        for report in terminalreporter.stats.get(outcome, []):
            match = _ROW.search(report.nodeid)
            if match is None:
                continue
            told = dict(report.user_properties)
            row = rows.setdefault(int(match[1]), Row(int(match[1]), str(told.get("fault", ""))))
            row.outcomes.add(outcome)
            if "recovery_s" in told:
                row.recoveries_s.append(float(told["recovery_s"]))
    if not rows:
        return
    terminalreporter.section("fault matrix")
    for line in table([row for _, row in sorted(rows.items())]):
        terminalreporter.line(line)
