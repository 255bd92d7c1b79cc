"""``tmrl-ray train``: train an agent, in one process."""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmrl_ray.commands.command import ReadableFile, command
from tmrl_ray.commands.output import COMPILING, explain_delay, note, print_facts

if TYPE_CHECKING:
    from tmrl_ray.config.run import RunConfig
    from tmrl_ray.runs.rundir import RunDirectory
    from tmrl_ray.serial import News, SerialRun
    from tmrl_ray.training import Training


@command(
    examples=[
        "train -c configs/quickstart.yaml --serial",
        "train -c configs/quickstart.yaml --serial training.minutes=6 run.name=first",
        "train -c configs/quickstart.yaml --serial --dry-run",
        "train -c runs/quickstart/config.yaml --serial --resume",
    ]
)
@click.option("-c", "--config", "file", type=ReadableFile, help="Configuration file; the defaults without.")
@click.option("--serial", is_flag=True, help="Everything in this process, on one loop, without Ray.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
@click.option("--resume", "start", flag_value="resume", help="Go on with the run of this name.")
@click.option(
    "--restart", "start", flag_value="restart", help="Begin anew; the run of this name is kept under another."
)
@click.option("--overwrite", "start", flag_value="overwrite", help="Begin anew; the run of this name is removed.")
@click.option("--checkpoint", metavar="NAME", help="With --resume: go on from this one and not from the newest.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def train(  # noqa: PLR0913 - the options of a command
    file: Path | None,
    serial: bool,
    dry_run: bool,
    start: str | None,
    checkpoint: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Train an agent.

    Ctrl-C brings the run to its end and saves it, so that --resume goes on from there; once more ends it at once.
    """
    from tmrl_ray.config.loading import load_config
    from tmrl_ray.errors import InvalidInputError
    from tmrl_ray.runs.rundir import RunDirectory, Start, resume_command
    from tmrl_ray.service import compile_kernels

    try:
        from tmrl_ray.runs.checkpoint import CheckpointStore, Identity, Retention
        from tmrl_ray.serial import SerialRun
        from tmrl_ray.training import Training
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"Training needs the package {error.name}, which is not installed.", hint="pip install 'tmrl_ray[train]'"
        ) from error
    if not serial:
        raise click.UsageError("say --serial: this version trains in one process only")
    if checkpoint is not None and start != "resume":
        raise click.UsageError("--checkpoint is for --resume only")
    config = load_config(file, overrides)
    training = Training.of(config)
    if dry_run:
        _print_plan(training)
        return
    if config.connection is None:
        with explain_delay(COMPILING):
            compile_kernels()
    with RunDirectory.open(config.run.folder, config.run.name, config, Start(start or "new")) as run:
        store = CheckpointStore(
            run.checkpoints, Identity(run.uuid, training.hashes), retention=Retention(config.training.keep_checkpoints)
        )
        saved = store.load(checkpoint) if run.resumed and (checkpoint or store.names()) else None
        _print_start(run, config)
        with SerialRun(training, run, store, saved) as live, _stopped_by_ctrl_c(live):
            _show(live, config)
    click.echo(f"go on:  {resume_command(run.path)} --serial")


@contextmanager
def _stopped_by_ctrl_c(live: SerialRun) -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        signal.signal(number, former)
        note("stopping: what was begun is saved; Ctrl-C once more ends at once")
        live.stop()

    former = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, former)


def _show(live: SerialRun, config: RunConfig) -> None:
    """Tell of the run, a line every few seconds."""
    lines = _Lines(live, config.training.report_s)
    for news in live.run():
        lines.add(news)
    lines.close()


class _Lines:
    """Lines about a run: what its races, learner and evaluations did since the line before."""

    def __init__(self, live: SerialRun, every_s: float) -> None:
        self._live = live
        self._every_s = every_s
        self._began_s = self._last_s = time.monotonic()
        self._steps = self._updates = 0
        self._races: deque[str] = deque()
        self._finished = 0
        self._epsilon = 1.0
        self._best_ms: int | None = None
        click.echo("    time  env steps    /s  updates   /s   races  finished  exploring    best")

    def add(self, news: News) -> None:
        """Take in the news, and print a line if it is time to."""
        for race in news.races:
            self._races.append(race.how)
            self._finished += race.how == "finish"
            self._epsilon = race.epsilon
            if race.finish_time_ms is not None:
                self._best_ms = min(race.finish_time_ms, self._best_ms or race.finish_time_ms)
        now_s = time.monotonic()
        if now_s - self._last_s >= self._every_s:
            self._line(now_s)
        if news.evaluation is not None:
            for result in news.evaluation.results:
                best = "-" if result.best_time_s is None else f"{result.best_time_s:.2f} s"
                furthest = max(each.furthest_share for each in news.evaluation.reports if each.map == result.map)
                click.echo(
                    f"{self._time(now_s)}  greedy on {result.map}: {result.finished} of {result.races} finished, "
                    f"best {best}, furthest {furthest:.0%} of the line"
                )
        if news.saved is not None:
            click.echo(f"{self._time(now_s)}  saved {news.saved.name}")

    def close(self) -> None:
        """Print the last line."""
        self._line(time.monotonic())

    def _line(self, now_s: float) -> None:
        clocks, passed_s = self._live.records.clocks, max(now_s - self._last_s, 1e-3)
        steps, updates = clocks.env_steps - self._steps, clocks.learner_steps - self._updates
        best = "-" if self._best_ms is None else f"{self._best_ms / 1000:.2f} s"
        click.echo(
            f"{self._time(now_s)}  {clocks.env_steps:>9,}  {steps / passed_s:>4.0f}  {clocks.learner_steps:>7,}  "
            f"{updates / passed_s:>3.0f}  {len(self._races):>6}  {self._finished:>8}  "
            f"{self._epsilon:>9.0%}  {best:>8}"
        )
        self._steps, self._updates, self._last_s = clocks.env_steps, clocks.learner_steps, now_s
        self._races.clear()
        self._finished, self._best_ms = 0, None

    def _time(self, now_s: float) -> str:
        minutes, seconds = divmod(int(now_s - self._began_s), 60)
        return f"{minutes:>5}:{seconds:02}"


def _print_start(run: RunDirectory, config: RunConfig) -> None:
    click.echo(f"run:     {run.path}{', resumed' if run.resumed else ''}")
    click.echo(f"watch:   tensorboard --logdir {config.run.folder}")


def _print_plan(training: Training) -> None:
    from tmrl_ray.config.loading import to_yaml
    from tmrl_ray.iqn.network import build_network

    config = training.config
    click.echo(to_yaml(config))
    network = build_network(config.network, training.io, seed=0)
    bill = training.buffer_setup("dry-run", config.run.folder / config.run.name, check=False).memory_bill()
    print_facts(
        {
            "parameters": f"{sum(each.numel() for each in network.parameters()):,}",
            "floats": training.observation.size,
            "maps": ", ".join(f"{each.entry.name} ({each.line.length_m:.0f} m)" for each in training.courses),
            "run": config.run.folder / config.run.name,
        }
    )
    click.echo(f"memory of the experience:\n{bill.table()}")
