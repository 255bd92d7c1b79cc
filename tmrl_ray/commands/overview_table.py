"""An overview of a run as a table that fits its terminal, from 80 columns and 24 rows on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from tmrl_ray.commands.output import clock

if TYPE_CHECKING:
    from tmrl_ray.overview import CollectorLine, EvaluationLine, Overview, RaceLine

GOOD, BAD, DIM = "green", "red", "dim"
LENGTHS = (8, 5, 3, 2, 1)
"""How many races, evaluations and collectors may be shown: as many of them as leave the table within the terminal."""


class OverviewTable:
    """All that is shown of a run: two tables beside each other where there is room, else below each other."""

    def __init__(self, overview: Overview) -> None:
        self._overview = overview

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the longest table that the terminal has room for; elsewhere, as in a file, the longest of all."""
        for length in LENGTHS:
            table = _of_length(self._overview, length)
            if (
                not console.is_terminal
                or len(console.render_lines(table, options.update(height=None))) < console.height
            ):
                break
        yield table


def _of_length(overview: Overview, length: int) -> RenderableType:
    pairs = [
        [_evaluations(overview, length), _figures(overview, is_short=length == LENGTHS[-1])],
        [_races(overview, length), _collectors(overview, length)],
    ]
    return Group(_headline(overview), *(Columns(pair, padding=(0, 2)) for pair in pairs))


def versus(time_s: float, references_s: dict[str, float]) -> Text:
    """Return how far a time is ahead of the fastest reference of its map, or behind."""
    if not references_s:
        return Text("-", DIM)
    reference_s = min(references_s.values())
    share = (reference_s - time_s) / reference_s
    return Text(f"{abs(share):.1%} {'ahead' if share >= 0 else 'behind'}", GOOD if share >= 0 else "yellow")


def _headline(overview: Overview) -> RenderableType:
    line = Table.grid(padding=(0, 2))
    line.add_column(no_wrap=True)
    line.add_column(width=20)
    line.add_column(no_wrap=True)
    name = Text.assemble(
        (overview.run, "bold"), "  ", (overview.state, "cyan" if overview.state == "training" else "yellow")
    )
    if overview.start_up_s is None:
        line.add_row(name, Text(), Text("starting the actors, loading the tracks, compiling", DIM))
        return line
    done, total, text = _extent(overview)
    bar = ProgressBar(total=total, completed=done, width=20) if total else Text()
    line.add_row(name, bar, Text.assemble(text, (f"   started in {overview.start_up_s:.0f} s", DIM)))
    return line


def _extent(overview: Overview) -> tuple[float, float | None, str]:
    """Return how far the run is, of how much, and both as a text."""
    if overview.of_minutes is not None:
        text = f"{clock(60 * overview.minutes)} of {clock(60 * overview.of_minutes)}"
        return min(overview.minutes, overview.of_minutes), overview.of_minutes, text
    if overview.of_env_steps is not None:
        text = f"{overview.env_steps:,} of {overview.of_env_steps:,} decisions"
        return min(overview.env_steps, overview.of_env_steps), overview.of_env_steps, text
    return 0.0, None, clock(60 * overview.minutes)


def _table(*columns: tuple[str, bool]) -> Table:
    table = Table(
        box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False, pad_edge=False, header_style="bold", min_width=36
    )
    for name, is_number in columns:
        table.add_column(name, justify="right" if is_number else "left", no_wrap=True)
    return table


def _evaluations(overview: Overview, length: int) -> RenderableType:
    names = {name for references_s in overview.references_s.values() for name in references_s}
    against = f"vs {names.pop()}" if len(names) == 1 else ""
    table = _table(("greedy", True), ("map", False), ("finished", True), ("best", True), (against, False))
    for line in overview.evaluations[-length:]:
        table.add_row(*_evaluation(line, dict(overview.references_s.get(line.map, {}))))
    if not overview.evaluations:
        table.add_row(Text("none yet", DIM), "", "", "", "")
    return table


def _evaluation(line: EvaluationLine, references_s: dict[str, float]) -> tuple[RenderableType, ...]:
    rate = Text(f"{line.finished} of {line.races}", GOOD if line.finished == line.races else "")
    if line.best_time_s is None:
        return clock(60 * line.minutes), line.map, rate, Text("-", DIM), Text(f"at {line.share:.0%}", DIM)
    return clock(60 * line.minutes), line.map, rate, f"{line.best_time_s:.2f} s", versus(line.best_time_s, references_s)


def _races(overview: Overview, length: int) -> RenderableType:
    table = _table(("race of", True), ("map", False), ("from", False), ("end", False), ("reached", True))
    for race in overview.latest_races[-length:]:
        table.add_row(*_race(race))
    if not overview.latest_races:
        table.add_row(Text("none yet", DIM), "", "", "", "")
    return table


def _race(race: RaceLine) -> tuple[RenderableType, ...]:
    if race.finish_time_s is not None:
        end = Text(f"{race.finish_time_s:.2f} s", GOOD)
    else:
        words = {"finish": "finished", "stuck": "no progress", "time": "out of time", "lost": "game lost"}
        end = Text(words.get(race.how, race.how), GOOD if race.how == "finish" else BAD if race.how == "lost" else DIM)
    start = "the line" if race.from_start_line else "the track"
    return str(race.collector), race.map, Text(start, DIM), end, f"{race.share:.0%}"


def _figures(overview: Overview, *, is_short: bool) -> RenderableType:
    table = _table(("", False), ("so far", True), ("now", True))
    table.add_row("decisions", f"{overview.env_steps:,}", f"{overview.env_steps_per_s:.0f}/s")
    table.add_row("updates", f"{overview.learner_steps:,}", f"{overview.learner_steps_per_s:.1f}/s")
    if not is_short:
        table.add_row("samples per row", _number(overview.samples_per_insert), Text(_of(overview), DIM))
        table.add_row("experience", f"{overview.rows:,}", Text(f"of {overview.window_rows:,}", DIM))
    restarts = Text(f"{overview.learner_restarts} restarts", BAD) if overview.learner_restarts else Text()
    table.add_row("policy version", f"{overview.policy_version:,}", restarts)
    table.add_row("races finished", f"{overview.finished:,}", Text(f"of {overview.races:,}", DIM))
    if overview.epsilon is not None and not is_short:
        table.add_row("exploring", f"{overview.epsilon:.0%}", "")
    if overview.checkpoint is not None:
        age = f"{clock(overview.checkpoint_age_s or 0.0)} ago"
        table.add_row("checkpoint", overview.checkpoint.removeprefix("checkpoint-"), Text(age, DIM))
    return table


def _of(overview: Overview) -> str:
    wanted = overview.wanted_samples_per_insert
    return "no limit" if wanted is None else f"of {wanted:g}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _collectors(overview: Overview, length: int) -> RenderableType:
    table = _table(("collector", True), ("", False), ("restarts", True), ("policy", True))
    in_order = sorted(overview.collectors, key=lambda line: (line.state == "running", line.number))
    for line in in_order[:length]:
        table.add_row(*_collector(line))
        if line.state in {"quarantined", "backing_off"} and line.reason:
            table.add_row("", Text(line.reason[:20], DIM), "", "")
    if len(in_order) > length:
        table.add_row("", Text(f"and {len(in_order) - length} more", DIM), "", "")
    return table


def _collector(line: CollectorLine) -> tuple[RenderableType, ...]:
    state = line.doing if line.state == "running" and line.doing else line.state.replace("_", " ")
    style = {"quarantined": BAD, "backing_off": "yellow", "running": ""}.get(line.state, DIM)
    return (
        str(line.number),
        Text(state, style),
        Text(str(line.restarts), BAD if line.restarts else DIM),
        str(line.policy_version),
    )
