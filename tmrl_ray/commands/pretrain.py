"""``tmrl-ray pretrain``: what an encoder and heads learn from recorded races before a run begins with them."""

from __future__ import annotations

import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmrl_ray.commands.command import LazyGroup, ReadableFile, command
from tmrl_ray.commands.output import COMPILING, explain_delay, note, print_facts, print_table, progress

if TYPE_CHECKING:
    from pretrain.loop import EpochReport
    from tmrl_ray.config.pretrain import StageConfig
    from tmrl_ray.pretraining import StageResult, StageRun

_INSTALL = "pip install 'tmrl_ray[train]'"


@click.group(
    cls=LazyGroup,
    subcommands={
        "visual": "tmrl_ray.commands.pretrain:visual",
        "bc": "tmrl_ray.commands.pretrain:clone",
    },
)
def pretrain() -> None:
    """Teach an encoder to see, and clone what an expert did, from recorded races."""


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    options = [
        click.option("-c", "--config", "file", type=ReadableFile, help="Configuration file; the defaults without."),
        click.option("--serial", is_flag=True, help="Everything in this process, without Ray."),
        click.option("--address", metavar="HOST:PORT", help="Run on this Ray cluster; else one is started here."),
        click.option("--submit", is_flag=True, help="Hand the job to the cluster at --address and follow its log."),
        click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing."),
        click.option("--resume", "start", flag_value="resume", help="Go on with the run of this name."),
        click.option("--restart", "start", flag_value="restart", help="Begin anew; the run of this name is kept."),
        click.option("--overwrite", "start", flag_value="overwrite", help="Begin anew; that run is removed."),
        click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]..."),
    ]
    for option in reversed(options):
        function = option(function)
    return function


@command(
    name="visual",
    examples=[
        "pretrain visual -c configs/pretrain/visual.yaml --serial",
        "pretrain visual -c configs/pretrain/visual.yaml --serial task=ae epochs=20 run.name=ae",
        "pretrain visual -c runs/pretrain/vis/config.yaml --resume",
        "pretrain visual -c configs/pretrain/visual.yaml --address 127.0.0.1:6379 job.workers=4",
    ],
)
@_options
def visual(**options: Any) -> None:
    """Teach an encoder from pictures alone (level 0).

    Ctrl-C ends the stage after what it has saved, so that --resume goes on from there.
    """
    _run("visual", **options)


@command(
    name="bc",
    examples=[
        "pretrain bc -c configs/pretrain/bc.yaml --serial",
        "pretrain bc -c configs/pretrain/bc.yaml --serial encoder_init_path=runs/pretrain/vis run.name=cloned",
        "pretrain bc -c configs/pretrain/bc.yaml --address 127.0.0.1:6379 --submit",
    ],
)
@_options
def clone(**options: Any) -> None:
    """Clone what an expert did (level 1).

    Ctrl-C ends the stage after what it has saved, so that --resume goes on from there.
    """
    _run("bc", **options)


def _run(  # noqa: PLR0913 - the options of a command
    stage: str,
    *,
    file: Path | None,
    serial: bool,
    address: str | None,
    submit: bool,
    dry_run: bool,
    start: str | None,
    overrides: Sequence[str],
) -> None:
    from tmrl_ray.config.loading import load_settings, to_yaml
    from tmrl_ray.config.pretrain import BCConfig, VisualConfig

    if serial and (address or submit):
        raise click.UsageError("--serial is without Ray: leave --address and --submit out")
    if submit and address is None:
        raise click.UsageError("--submit needs the cluster: --address HOST:PORT, or --address auto")
    config: StageConfig = (
        load_settings(BCConfig, file, overrides) if stage == "bc" else load_settings(VisualConfig, file, overrides)
    )
    if dry_run:
        click.echo(to_yaml(config))
        return
    if submit:
        assert address is not None
        _submit(stage, config, address, start)
        return
    _train(config, start, serial=serial, address=address)


def _train(config: StageConfig, start: str | None, *, serial: bool, address: str | None) -> None:
    from tmrl_ray.cluster_token import guard
    from tmrl_ray.errors import InvalidInputError

    if not serial and address is None:
        guard()  # before Ray is imported
    try:
        from tmrl_ray.pretraining import StageRun
        from tmrl_ray.runs.rundir import Start
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"Pretraining needs the package {error.name}, which is not installed.", hint=_INSTALL
        ) from error
    with ExitStack() as stack:
        if not serial:
            stack.enter_context(_cluster(config, address))
        bar = stack.enter_context(_Bars())
        run = stack.enter_context(StageRun.open(config, Start(start or "new"), told=bar.decoded))
        _print_start(run)
        if not _show_epochs(run, bar, serial=serial):
            click.echo(f"go on:  {_resume_command(run, serial=serial)}")
            return
        with explain_delay(COMPILING):
            result = run.finish(bar.finished)
        bar.close()
        _print_result(run, result)
        if not serial:
            click.echo(f"announced as number {run.announce()} of {run.run.name}")


def _show_epochs(run: StageRun, bar: _Bars, *, serial: bool) -> bool:
    """Train, and show each epoch; return whether the stage came to its end before Ctrl-C."""
    saved = "which is saved" if serial else "of which Ray saves what it can"
    table, last = _Table(), run.loop.epoch
    with (
        _stopped_by_ctrl_c(saved) as stopped,
        closing(run.train(bar.trained) if serial else run.train_on_ray(bar.trained)) as reports,
    ):
        for report in reports:
            bar.close()
            table.add(report)
            last = report.epoch
            if stopped and last < run.config.epochs and not report.stops:
                click.echo(f"stopped after epoch {last}{'' if serial else ', which may not be saved yet'}")
                return False
    return True


@contextmanager
def _cluster(config: StageConfig, address: str | None) -> Iterator[None]:
    from tmrl_ray.ray_session import joined, started

    if address is not None:
        with joined(address):
            yield
        return
    note("starting Ray on this machine")
    with started(0, _OBJECT_STORE_BYTES):
        yield


_OBJECT_STORE_BYTES = 256 * 2**20
"""Of a cluster of our own: states to go on from, some megabytes each."""


def _submit(stage: str, config: StageConfig, address: str, start: str | None) -> None:
    """Hand the job to a cluster through Ray's job interface, and follow its log until it ends."""
    from tmrl_ray.pretrain_submission import follow, submit

    flags = [f"--{start}"] if start else []
    job, entrypoint = submit(stage, config, address, flags)
    click.echo(f"job:     {job}")
    click.echo(f"runs:    {entrypoint}")
    note("Ctrl-C stops following; the job goes on")
    for text in follow(address, job):
        click.echo(text, nl=False)


class _Bars:
    """One bar at a time: what is being done, and how far it has come."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._label = ""
        self._bar: Any = None

    def __enter__(self) -> _Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decoded(self, done: int, total: int, frames: int) -> None:
        """Show how many races are decoded."""
        self._show("decoding races", done, total, f"{frames:,} frames")

    def trained(self, epoch: int, done: int, total: int) -> None:
        """Show how far an epoch is."""
        if sys.stderr.isatty():  # elsewhere the line of each epoch is enough
            self._show(f"epoch {epoch}", done, total, f"batch {done} of {total}")

    def finished(self, what: str, done: int, total: int) -> None:
        """Show how much of what comes after training is done."""
        self._show(what, done, total, f"{done} of {total}")

    def close(self) -> None:
        """Remove the bar."""
        self._stack.close()
        self._label, self._bar = "", None

    def _show(self, label: str, done: int, total: int, remark: str) -> None:
        if label != self._label:
            self.close()
            self._label, self._bar = label, self._stack.enter_context(progress(label, total))
        self._bar.update(done, remark)


class _Table:
    """A line for each epoch."""

    def __init__(self) -> None:
        self._columns: list[str] = []

    def add(self, report: EpochReport) -> None:
        """Print the line of an epoch."""
        if not self._columns:
            known = ("train_loss", "val_loss", "train_acc", "val_acc", "val_changed_acc", "val_copy_last_acc")
            self._columns = [name for name in known if name in report.figures]
            heads = [name.removesuffix("_acc") + " acc" if name.endswith("_acc") else name for name in self._columns]
            click.echo("epoch  " + "  ".join(f"{head.replace('_', ' '):>13}" for head in heads) + "  samples/s")
        cells = [report.figures.get(name) for name in self._columns]
        shown = "  ".join(f"{'-' if cell is None else format(cell, '.4f'):>13}" for cell in cells)
        speed = report.figures["samples_per_s"] or 0.0
        mark = "  best" if report.best else "  stops: no better one for too long" if report.stops else ""
        click.echo(f"{report.epoch:>5}  {shown}  {speed:>9,.0f}{mark}")


@contextmanager
def _stopped_by_ctrl_c(saved: str) -> Iterator[list[bool]]:
    """Yield a list that gets an item when Ctrl-C is pressed; pressed again, it ends at once."""
    stopped: list[bool] = []

    def stop(number: int, frame: object) -> None:
        signal.signal(number, former)
        note(f"stopping after this epoch, {saved}; Ctrl-C once more ends at once")
        stopped.append(True)

    former = signal.signal(signal.SIGINT, stop)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, former)


def _print_start(run: StageRun) -> None:
    data, loop = run.loop.data, run.loop
    weights = sum(each.numel() for each in loop.stage.parameters())
    facts = {
        "run": f"{run.run.path}{f', resumed after epoch {loop.epoch}' if run.run.resumed else ''}",
        "watch": f"tensorboard --logdir {run.config.run.folder}",
        "train": f"{len(data.train_rows):,} samples of {len(data.train_maps)} maps",
        "validate": f"{len(data.val_rows):,} samples of {len(data.val_maps)} maps" if data.val_maps else "nothing",
        "weights": f"{weights:,}",
    }
    print_facts(facts)


def _print_result(run: StageRun, result: StageResult) -> None:
    rows = [(name, _number(value), _number(result.probe_gains.get(name))) for name, value in result.probes.items()]
    click.echo("")
    print_table(["probe of the best encoder", "value", "more than an untrained one"], rows)
    for name, races in result.races.items():
        click.echo("")
        print_table(
            ["map", f"races of {name}", "finished", "best", "furthest"],
            [
                (
                    each.map,
                    each.races,
                    each.finished,
                    "" if each.best_time_s is None else f"{each.best_time_s:.2f} s",
                    f"{each.furthest:.0%}",
                )
                for each in races
            ],
        )
    click.echo("")
    print_facts(
        {
            "best": f"{result.best}, epoch {result.best_epoch} of {result.epochs}",
            "last": result.last,
            "plots": run.run.path / "plots",
            "begin a run with it": f"tmrl-ray train -c FILE learner.pretrained={shlex.quote(str(run.run.path))}",
        }
    )


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _resume_command(run: StageRun, *, serial: bool) -> str:
    from tmrl_ray.runs.rundir import resume_command

    return f"{resume_command(run.run.path)}{' --serial' if serial else ''}"
