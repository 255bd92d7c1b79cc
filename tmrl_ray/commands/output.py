"""What commands print: plain text by default, colours and boxes for a person at a terminal, JSON when asked.

Results go to the standard output stream and can be piped; progress and warnings go to the standard error stream.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

COMPILING = "compiling the simulator, which takes a minute on the first start"


def print_json(value: Any) -> None:
    """Print one JSON document."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table; numbers are aligned to the right, None is an empty cell."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    right = [all(_is_number(row[index]) for row in cells) and bool(cells) for index in range(len(columns))]
    if sys.stdout.isatty():
        _print_rich_table(columns, cells, right)
        return
    widths = [max(len(row[index]) for row in [list(columns), *cells]) for index in range(len(columns))]
    for row in [list(columns), *cells]:
        padded = [
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        ]
        click.echo("  ".join(padded).rstrip())


def print_facts(facts: Mapping[str, Any]) -> None:
    """Print what is known about one thing, a line each."""
    width = max(len(name) for name in facts) + 1
    for name, value in facts.items():
        click.echo(f"{click.style(f'{name}:'.ljust(width), bold=True)} {value}")


def seconds(milliseconds: int | None) -> str:
    """Return a race time as the game shows it, to the hundredth of a second; nothing for None."""
    return "" if milliseconds is None else f"{milliseconds / 1000:.2f} s"


def against(time_s: float, references_s: Mapping[str, float] | None) -> str:
    """Return how far a time is ahead of the fastest reference of its map, or behind, as the end of a sentence."""
    if not references_s:
        return ""
    name, reference_s = min(references_s.items(), key=lambda item: item[1])
    share = (reference_s - time_s) / reference_s
    return f", {abs(share):.1%} {'ahead of' if share >= 0 else 'behind'} {name} ({reference_s:.2f} s)"


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds, or hours, minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def note(message: str) -> None:
    """Tell a person what is going on, without touching the results."""
    click.echo(message, err=True)


@contextmanager
def explain_delay(message: str, after_s: float = 3.0) -> Iterator[None]:
    """Tell a person why nothing happens, if what is done inside takes longer than a moment."""
    timer = threading.Timer(after_s, note, [f"{message} ..."])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def progress(label: str, total: float) -> Iterator[Progress]:
    """Show how far something has come: a moving bar at a terminal, a line at every tenth elsewhere."""
    shown: Progress = _Bar(label, total) if sys.stderr.isatty() else _Lines(label, total)
    try:
        yield shown
    finally:
        shown.close()


class Progress:
    """How far something has come; see :func:`progress`."""

    def __init__(self, label: str, total: float) -> None:
        self._label = label
        self._total = total

    def update(self, done: float, remark: str = "") -> None:
        """Show that ``done`` of the total is reached."""
        raise NotImplementedError

    def close(self) -> None:
        """End the display."""


class _Lines(Progress):
    def __init__(self, label: str, total: float) -> None:
        super().__init__(label, total)
        self._tenths = -1

    def update(self, done: float, remark: str = "") -> None:
        tenths = int(10 * min(done / self._total, 1.0)) if self._total > 0 else 10
        if tenths > self._tenths:
            self._tenths = tenths
            note(f"{self._label}: {10 * tenths:3d} %  {remark}".rstrip())


class _Bar(Progress):
    def __init__(self, label: str, total: float) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        super().__init__(label, total)
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.percentage:>3.0f} %  {task.fields[remark]}"),
            console=Console(stderr=True),
        )
        self._task = self._bar.add_task(label, total=total, remark="")
        self._bar.start()

    def update(self, done: float, remark: str = "") -> None:
        self._bar.update(self._task, completed=min(done, self._total), remark=remark)

    def close(self) -> None:
        self._bar.stop()


def _print_rich_table(columns: Sequence[str], cells: list[list[str]], right: list[bool]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD)
    for column, to_right in zip(columns, right, strict=True):
        table.add_column(column, justify="right" if to_right else "left")
    for row in cells:
        table.add_row(*(Text(cell) for cell in row))  # Text: brackets in a cell are no markup
    Console().print(table)


def _is_number(text: str) -> bool:
    try:
        float(text or "0")
    except ValueError:
        return False
    return True
