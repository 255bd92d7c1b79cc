"""What ``tmrl-ray train`` shows while it trains: a table that stays in place on a terminal, lines elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from tmrl_ray.commands.output import clock

if TYPE_CHECKING:
    from rich.live import Live as RichLive

    from tmrl_ray.overview import Overview
    from tmrl_ray.serial import News

REFRESH_S = 0.5
"""Between two pictures of the table: often enough to be alive, seldom enough to be read."""


class Display:
    """Shows how a run is; see :func:`display`."""

    def show(self, overview: Overview, news: News) -> None:
        """Show it, and what happened since the last call."""
        raise NotImplementedError


@contextmanager
def display(report_s: float) -> Iterator[Display]:
    """Yield a display for the standard output stream.

    Args:
        report_s: time between two lines, where no terminal is.
    """
    if not sys.stdout.isatty():
        yield _Lines(report_s)
        return
    from rich.console import Console
    from rich.live import Live

    console = Console()
    with Live(console=console, auto_refresh=False, transient=False) as live, _messages_above(live):
        yield _Table(live)


class _Table(Display):
    def __init__(self, live: RichLive) -> None:
        self._live = live
        self._shown_s = 0.0

    def show(self, overview: Overview, news: News) -> None:
        from tmrl_ray.commands.overview_table import OverviewTable

        if time.monotonic() - self._shown_s >= REFRESH_S or overview.state in {"stopping", "ended"}:
            self._shown_s = time.monotonic()
            self._live.update(OverviewTable(overview), refresh=True)


class _Lines(Display):
    def __init__(self, report_s: float) -> None:
        self._report_s = report_s
        self._line_s = time.monotonic()
        self._said_start = False

    def show(self, overview: Overview, news: News) -> None:
        at = f"{clock(60 * overview.minutes):>8}"
        if not self._said_start and overview.start_up_s is not None:
            self._said_start = True
            click.echo(f"{at}  driving, after {overview.start_up_s:.0f} s of starting and compiling")
        if news.evaluation is not None:
            for result in overview.evaluations[-len(news.evaluation.results) :]:
                best = "" if result.best_time_s is None else f", best {result.best_time_s:.2f} s"
                click.echo(
                    f"{at}  greedy on {result.map}: {result.finished} of {result.races} finished{best}, "
                    f"reached {result.share:.0%}"
                )
        if news.saved is not None:
            click.echo(f"{at}  saved {news.saved.name}")
        if time.monotonic() - self._line_s >= self._report_s or overview.state in {"stopping", "ended"}:
            self._line_s = time.monotonic()
            click.echo(f"{at}  {_line(overview)}")


def _line(overview: Overview) -> str:
    running = sum(line.state == "running" for line in overview.collectors)
    best = ", ".join(f"{name} {time_s:.2f} s" for name, time_s in overview.best_times_s.items())
    words = [
        f"{overview.env_steps:,} decisions ({overview.env_steps_per_s:.0f}/s)",
        f"{overview.learner_steps:,} updates ({overview.learner_steps_per_s:.1f}/s)",
        f"{overview.finished} of {overview.races} races finished",
        f"{running} collectors",
    ]
    if overview.state != "training":
        words.insert(0, overview.state)
    return ", ".join([*words, f"best: {best}"] if best else words)


@contextmanager
def _messages_above(live: RichLive) -> Iterator[None]:
    """Print what is logged above the table, which handlers of their own would tear apart."""
    from rich.logging import RichHandler

    root = logging.getLogger()
    handlers, ours = root.handlers[:], RichHandler(console=live.console, show_path=False, markup=False)
    root.handlers[:] = [ours]
    try:
        yield
    finally:
        root.handlers[:] = handlers
