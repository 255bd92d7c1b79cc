"""``tmrl-ray train``: train an agent, on a Ray cluster or in one process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from textwrap import indent
from typing import TYPE_CHECKING

import click

from tmrl_ray.commands.command import ReadableFile, command, needs_training
from tmrl_ray.commands.output import COMPILING, against, clock, explain_delay, note, print_facts

if TYPE_CHECKING:
    from actors.buffer_rings import BufferSetup
    from tmrl_ray.cluster import ClusterRun
    from tmrl_ray.config.run import RunConfig
    from tmrl_ray.control import Control
    from tmrl_ray.overview import Overview, Watch
    from tmrl_ray.ray_session import RaySession
    from tmrl_ray.runs.checkpoint import Checkpoint, CheckpointStore
    from tmrl_ray.runs.rundir import RunDirectory
    from tmrl_ray.serial import SerialRun
    from tmrl_ray.training import Training

_NAMED = 3
"""Items of the memory bill that are named when a run begins: pictures and floats, and then nothing that counts."""


@command(
    examples=[
        "train -c configs/quickstart.yaml",
        "train -c configs/quickstart.yaml collector.count=2 training.minutes=30 run.name=longer",
        "train -c configs/real_game.yaml --address auto",
        "train -c runs/quickstart/config.yaml --resume training.minutes=20",
        "train -c configs/quickstart.yaml --dry-run",
        "train -c configs/quickstart.yaml --serial training.seed=7 run.name=seed-7",
    ]
)
@click.option("-c", "--config", "file", type=ReadableFile, help="Configuration file; the defaults without.")
@click.option("--address", metavar="auto|HOST:PORT", help="Join this Ray cluster; without it one is started here.")
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
    address: str | None,
    serial: bool,
    dry_run: bool,
    start: str | None,
    checkpoint: str | None,
    overrides: tuple[str, ...],
) -> None:
    """Train an agent.

    Ctrl-C brings the run to its end and saves it, so that --resume goes on from there; once more ends it at once.
    While it goes on, tmrl-ray status, scale, pause, set, checkpoint and stop reach it from other terminals.
    """
    from tmrl_ray.config.loading import load_config

    if checkpoint is not None and start != "resume":
        raise click.UsageError("--checkpoint is for --resume only")
    if serial and address is not None:
        raise click.UsageError("--serial uses no cluster: leave out --address")
    config = load_config(file, overrides)
    with needs_training():
        from tmrl_ray.training import Training, device_of

        training = Training.of(config)
        if dry_run:
            _print_plan(training, serial=serial)
            return
        if start != "resume":
            training.check_pretrained()
        if config.learner.pictures_on_device:
            training.pictures_on(device_of(config.training.device))  # before there is a folder of the run
        _train(training, address, start or "new", checkpoint, serial=serial)


def _train(training: Training, address: str | None, start: str, checkpoint: str | None, *, serial: bool) -> None:
    from tmrl_ray.cluster_token import guard
    from tmrl_ray.runs.checkpoint import CheckpointStore, Identity, Retention
    from tmrl_ray.runs.rundir import RunDirectory, Start, resume_command
    from tmrl_ray.service import compile_kernels

    config = training.config
    if config.connection is None:
        with explain_delay(COMPILING):
            compile_kernels()
    with ExitStack() as stack:
        # A cluster that cannot be joined must leave no run behind, and a run that is there already start no cluster.
        session = None if address is None else stack.enter_context(_cluster(training, address))
        run = stack.enter_context(RunDirectory.open(config.run.folder, config.run.name, config, Start(start)))
        store = CheckpointStore(
            run.checkpoints, Identity(run.uuid, training.hashes), retention=Retention(config.training.keep_checkpoints)
        )
        saved = store.load(checkpoint) if run.resumed and (checkpoint or store.names()) else None
        resumed = ", resumed" if run.resumed else ""
        if run.resumed and saved is None:
            resumed += "; it has no checkpoint yet, so that its networks begin anew"
        click.echo(f"run:         {run.path}{resumed}")
        click.echo(f"TensorBoard: tensorboard --logdir {config.run.folder}")
        _print_memory(training, training.buffer_setup(run.uuid, run.path, check=False), largest=_NAMED)
        if serial:
            _in_one_process(training, run, store, saved)
        elif session is not None:
            _on_cluster(training, session, run, store, saved)
        else:
            token = guard()
            with _cluster(training, None) as own:
                _on_cluster(training, own, run, store, saved, token)
        if config.evaluation.video and config.connection is None:
            _film(training, run)
    click.echo(f"go on:       {resume_command(run.path)}{' --serial' if serial else ''}")


def _cluster(training: Training, address: str | None) -> AbstractContextManager[RaySession]:
    from tmrl_ray.cluster import connected

    return connected(training, address)


def _in_one_process(training: Training, run: RunDirectory, store: CheckpointStore, saved: Checkpoint | None) -> None:
    from tmrl_ray.overview import Watch
    from tmrl_ray.serial import SerialRun

    watch = Watch(run.name)
    with SerialRun(training, run, store, saved) as live, _stopped_by_signals(live):
        _show(live, watch, training.config)
        _print_outcome(watch.overview(live), run)


def _on_cluster(  # noqa: PLR0913 - what a run is made of, and where
    training: Training,
    session: RaySession,
    run: RunDirectory,
    store: CheckpointStore,
    saved: Checkpoint | None,
    token: str | None = None,
) -> None:
    from tmrl_ray.cluster import ClusterRun
    from tmrl_ray.control import controlled
    from tmrl_ray.overview import Watch
    from tmrl_ray.runs.cluster_file import CLUSTER_FILE, ClusterPlace

    watch = Watch(run.name)
    place = ClusterPlace(session.address, session.dashboard, str(session.logs), token)
    if session.dashboard is not None:
        asks = f"   (it asks for the token in {run.path / CLUSTER_FILE})" if token else ""
        click.echo(f"dashboard:   {session.dashboard}{asks}")
    click.echo(f"logs:        {session.logs}")
    with (
        ClusterRun(training, run, store, saved) as live,
        controlled(live, run, watch, place) as control,
        _stopped_by_signals(live),
    ):
        _show(live, watch, training.config, control)
        _print_outcome(watch.overview(live), run)


def _show(live: SerialRun | ClusterRun, watch: Watch, config: RunConfig, control: Control | None = None) -> None:
    from tmrl_ray.commands.display import display

    with display(config.training.report_s) as shown:
        for news in live.run():
            watch.take(news, live)
            shown.show(watch.overview(live), news)
            if control is not None:
                control.attend()


def _print_outcome(overview: Overview, run: RunDirectory) -> None:
    """Print what the greedy races came to, and where the best ones are kept."""
    from actors.race_archive import RaceArchive

    archive = RaceArchive(run.best, keep=1)
    if overview.first_finish_minutes is not None:
        click.echo(f"greedy:      first finish after {clock(60 * overview.first_finish_minutes)} of training")
    for name in dict.fromkeys(line.map for line in overview.evaluations):
        inputs = archive.inputs_of_best(name)
        if inputs is None:
            click.echo(f"{name}: no greedy race was finished yet")
            continue
        best_s = archive.best_times_ms(name)[0] / 1000
        click.echo(
            f"{name}: best greedy race {best_s:.2f} s{against(best_s, overview.references_s.get(name))}, {inputs}"
        )


def _film(training: Training, run: RunDirectory) -> None:
    """Film the best races; the run is saved already, so that nothing is lost where that fails."""
    from tmrl_ray.best_films import film_best_races
    from tmrl_ray.errors import InvalidInputError

    try:
        for video in film_best_races(training, run.best):
            click.echo(f"video:       {video}")
    except (OSError, InvalidInputError) as error:
        note(f"no video of the best races: {error}")


@contextmanager
def _stopped_by_signals(live: SerialRun | ClusterRun) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM bring a run to its end, and the second one end it at once."""

    def stop(number: int, frame: object) -> None:
        for each in former:
            signal.signal(each, signal.default_int_handler)
        note("stopping: what was begun is saved; Ctrl-C once more ends at once")
        live.stop()

    former = {each: signal.signal(each, stop) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in former.items():
            signal.signal(each, handler)


def _print_plan(training: Training, *, serial: bool) -> None:
    from tmrl_ray.config.loading import to_yaml
    from tmrl_ray.iqn.network import build_network

    config = training.config
    click.echo(to_yaml(config))
    network = build_network(config.network, training.io, seed=0)
    setup = training.buffer_setup("dry-run", config.run.folder / config.run.name, check=False)
    print_facts(
        {
            "parameters": f"{sum(each.numel() for each in network.parameters()):,}",
            "floats": training.observation.size,
            "maps": ", ".join(f"{each.entry.name} ({each.line.length_m:.0f} m)" for each in training.courses),
            "run": config.run.folder / config.run.name,
        }
    )
    _print_memory(training, setup)
    if not serial:
        _print_resources(training)


def _print_memory(training: Training, setup: BufferSetup, *, largest: int | None = None) -> None:
    from tmrl_ray.experience.memory import MIB

    click.echo(f"memory of the experience:\n{indent(setup.memory_bill().table(largest), '  ')}")
    if training.config.learner.pictures_on_device:
        click.echo(f"memory of the GPU for pictures of the experience: {setup.picture_bytes / MIB:,.1f} MiB")


def _print_resources(training: Training) -> None:
    from tmrl_ray.commands.output import print_table
    from tmrl_ray.reservations import reservations

    click.echo("\nwhat Ray is asked for:")
    rows = reservations(training)
    cells = [[row.actor, row.count, row.cpus, row.gpus, row.games] for row in rows]
    sums = [round(sum(row.count * getattr(row, name) for row in rows), 6) for name in ("cpus", "gpus", "games")]
    print_table(["actor", "how many", "CPUs each", "GPUs each", "games each"], [*cells, ["in sum", None, *sums]])
