"""``tmrl-ray record``: races of a driver as data, in the simulator or in games that listen somewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmrl_ray.commands.command import Directory, ReadableFile, command, host_and_port, json_option, picture_size
from tmrl_ray.commands.output import COMPILING, explain_delay, note, print_facts, print_json, progress

if TYPE_CHECKING:
    from tmrl_ray.config.run import RunConfig
    from tmrl_ray.recording import RaceJob, RecordedRace, RecordPlan


@command(
    examples=[
        "record --tracks generated-train --races 5 --out data/human",
        "record --tracks loop,hairpin --driver pursuit --races 1 --fps 100 --serial",
        "record --driver trained --run runs/quickstart --races 10",
        "record --tracks hairpin --driver inputs --file best/hairpin-14.23.txt --races 1",
        "record -c configs/real_game.yaml --driver replay --file A01.Replay.Gbx --races 1",
    ]
)
@click.option("--out", type=Directory, default=Path("data/races"), show_default=True, help="Root of the dataset.")
@click.option(
    "--tracks", metavar="NAME,...", help="Tracks, or generated-train, generated-held-out, shipped, generated-*."
)
@click.option("--driver", type=click.Choice(["pursuit", "human", "trained", "inputs", "replay"]), default="human",
              show_default=True, help="Who drives.")  # fmt: skip
@click.option("--file", "source", type=ReadableFile, help="Of inputs and replay; of trained: the weights.")
@click.option("--run", type=Directory, help="Of trained: a run; its best evaluated weights and its configuration.")
@click.option("--races", type=click.IntRange(min=1), default=20, show_default=True, help="On each track.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the drivers.")
@click.option("--fps", type=click.FloatRange(0, 100, min_open=True), default=20.0, show_default=True,
              help="Pictures per second of race time.")  # fmt: skip
@click.option("--size", type=picture_size, metavar="WxH", help="Of the pictures; else as configured.")
@click.option("--connect", type=host_and_port, metavar="HOST:PORT", help="Record this game; further ones listen on the "
              "ports after it.")  # fmt: skip
@click.option("--workers", type=click.IntRange(min=1), help="Games at once; else one for each CPU.")
@click.option("--address", metavar="HOST:PORT", help="Use this Ray cluster; else one is started here.")
@click.option("--serial", is_flag=True, help="One game, in this process, without Ray.")
@click.option("-c", "--config", "file", type=ReadableFile, help="Configuration file; without --tracks, its maps.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@json_option
def record(  # noqa: PLR0913 - the options of a command
    out: Path,
    tracks: str | None,
    driver: str,
    source: Path | None,
    run: Path | None,
    races: int,
    seed: int,
    fps: float,
    size: tuple[int, int] | None,
    connect: tuple[str, int] | None,
    workers: int | None,
    address: str | None,
    serial: bool,
    file: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Record races as data.

    The game stands still for each picture, so that every one has the tick that it says. Races that are there already
    are kept, those that were begun are driven again: to go on after an interruption, type the same again. Races that
    are not finished are kept too, and marked.
    """
    from tmrl_ray.config.dataset import RecordSettings
    from tmrl_ray.config.loading import load_config
    from tmrl_ray.recording import RecordPlan, each_map_once, entries_of

    if run is not None:
        if driver != "trained" or source is not None:
            raise click.UsageError("--run goes with --driver trained, and not with --file")
        from tmrl_ray.kept_weights import best_weights_file

        source, file = best_weights_file(run), file or run / "config.yaml"
    options = [f"game.frame_size=[{size[0]},{size[1]}]"] if size else []
    if connect is not None:
        options += [f"connection.host={connect[0]}", f"connection.port={connect[1]}"]
    config = load_config(file, [*overrides, *options])
    settings = RecordSettings.model_validate({"driver": driver, "races": races, "seed": seed, "fps": fps})
    maps = each_map_once(config.maps) if tracks is None else entries_of(tracks)
    plan = RecordPlan(config, settings, out, maps, source)
    jobs = plan.jobs()
    wanted = len(plan.all_jobs())
    if len(jobs) < wanted:
        note(f"{wanted - len(jobs)} of {wanted} races are there already")
    with _progress_of(plan, jobs, config, workers, address, serial) as recorded:
        done = _show(recorded, wanted, wanted - len(jobs))
    _report(plan, done, as_json)


@contextmanager
def _progress_of(  # noqa: PLR0913 - how to record, as the options say
    plan: RecordPlan, jobs: list[RaceJob], config: RunConfig, workers: int | None, address: str | None, serial: bool
) -> Iterator[Iterator[RecordedRace]]:
    from tmrl_ray.recording import record_serially
    from tmrl_ray.service import compile_kernels

    if jobs and config.connection is None and address is None:
        with explain_delay(COMPILING):
            compile_kernels()
    if serial or not jobs:
        yield record_serially(plan, jobs)
        return
    from tmrl_ray.cluster_token import guard
    from tmrl_ray.errors import InvalidInputError

    if address is None:
        guard()  # before Ray is imported
    try:
        from tmrl_ray.ray_session import joined, started
        from tmrl_ray.recording_tasks import OBJECT_STORE_BYTES, cpus, record_on_ray
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"recording in parallel needs the package {error.name}, which is not installed",
            hint="pip install 'tmrl_ray[train]', or record with --serial",
        ) from error
    own = started(0, OBJECT_STORE_BYTES, include_dashboard=False)
    with own if address is None else joined(address):
        yield record_on_ray(plan, jobs, workers=workers or cpus())


def _show(recorded: Iterator[RecordedRace], wanted: int, there: int) -> list[RecordedRace]:
    done: list[RecordedRace] = []
    with progress("recording", wanted) as shown:
        shown.update(there)
        for race in recorded:
            done.append(race)
            how = f"finished in {race.race_time_ms / 1000:.2f} s" if race.finished else "not finished"
            shown.update(there + len(done), f"{race.map}/{race.name} {how}")
    return done


def _report(plan: RecordPlan, done: list[RecordedRace], as_json: bool) -> None:
    races, finished = len(plan.all_jobs()), sum(race.finished for race in done)
    frames = sum(race.frames for race in done)
    if as_json:
        recorded = [race._asdict() for race in done]
        print_json({"root": str(plan.root), "races": races, "frames": frames, "recorded": recorded})
        return
    print_facts(
        {
            "dataset": plan.root,
            "races": f"{races}, {len(done)} of them recorded now, {finished} of these finished",
            "frames": f"{frames} recorded now",
            "look at it": f"tmrl-ray dataset info {plan.root} --sheet sheet.png",
            "check it": f"tmrl-ray dataset validate {plan.root}",
        }
    )
