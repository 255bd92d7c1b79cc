"""``tmrl-ray eval``: greedy races with what a run has learned."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from tmrl_ray.commands.command import OutputFile, command, json_option, needs_training
from tmrl_ray.commands.output import COMPILING, against, explain_delay, note, print_json, print_table, seconds
from tmrl_ray.commands.reach import folder_option

if TYPE_CHECKING:
    from actors.evaluation import Evaluation
    from actors.race_archive import RaceArchive
    from tmrl_ray.training import Training


@command(
    name="eval",
    examples=[
        "eval quickstart",
        "eval quickstart --races 20 --weights newest --json",
        "eval quickstart --track hairpin --video hairpin.mp4",
    ],
)
@click.argument("run", required=False)
@click.option("--track", metavar="NAME|FILE", help="Where to drive, instead of on the run's own maps.")
@click.option("--races", type=click.IntRange(min=1), help="Races on each map; as in the run's configuration without.")
@click.option(
    "--weights",
    "which",
    type=click.Choice(["best", "newest"]),
    default="best",
    show_default=True,
    help="Those of the best evaluation, or of the newest checkpoint.",
)
@click.option("--video", type=OutputFile, metavar="FILE.mp4", help="Film the best race, with FILE.png and FILE.txt.")
@folder_option
@json_option
def evaluate(  # noqa: PLR0913 - the options of a command
    run: str | None,
    track: str | None,
    races: int | None,
    which: Literal["best", "newest"],
    video: Path | None,
    folder: Path,
    as_json: bool,
) -> None:
    """Drive greedy races with what a run has learned.

    Works from the run's files, in this process, whether the run goes on or has ended. A run with a real game must have
    ended, or there must be another game. Without RUN: the only one that there is.
    """
    from tmrl_ray.config.loading import load_config
    from tmrl_ray.runs.run_list import find_run
    from tmrl_ray.service import compile_kernels
    from tmrl_ray.simulator.film import check_film

    found = find_run(folder, run)
    overrides = [] if track is None else [f"maps=[{{name: {Path(track).stem}, map: {track}}}]"]
    if races is not None:
        overrides.append(f"evaluation.races={races}")
    config = load_config(found.path / "config.yaml", overrides)
    if video is not None:
        check_film(video.with_suffix(".png"), video)
    with needs_training(), tempfile.TemporaryDirectory() as scratch:
        from actors.race_archive import RaceArchive
        from tmrl_ray.training import Training

        if config.connection is None:
            with explain_delay(COMPILING):
                compile_kernels()
        training, archive = Training.of(config), RaceArchive(Path(scratch), keep=1)
        evaluation = _drive(training, found.path, which, archive)
        if as_json:
            print_json(_report(found.name, evaluation))
        else:
            _print(training, evaluation)
        if video is not None:
            _film(training, archive, video)


def _drive(training: Training, run: Path, which: str, archive: RaceArchive) -> Evaluation:
    from actors.evaluator import Evaluator
    from tmrl_ray.kept_weights import best_weights, newest_weights

    weights = best_weights(run) if which == "best" else None
    if weights is None:
        weights = newest_weights(run, training)
    config = training.config
    settings = config.evaluation.replace(alarm=False)
    evaluator = Evaluator(settings, training.driving(), training.game_keeper(), archive, run_seed=config.training.seed)
    try:
        return evaluator.evaluate(weights)
    finally:
        evaluator.close()


def _print(training: Training, evaluation: Evaluation) -> None:
    print_table(
        ["race", "map", "end", "time", "reached"],
        [
            [
                number,
                race.map,
                race.how if race.cut_off is None else {"stuck": "no progress", "time": "out of time"}[race.cut_off],
                seconds(race.finish_time_ms),
                f"{race.furthest_share:.0%}",
            ]
            for number, race in enumerate(evaluation.reports, start=1)
        ],
    )
    for result in evaluation.results:
        best = "" if result.best_time_s is None else f", best {result.best_time_s:.2f} s"
        ahead = "" if result.best_time_s is None else against(result.best_time_s, training.references_s.get(result.map))
        click.echo(f"{result.map}: {result.finished} of {result.races} finished{best}{ahead}")


def _film(training: Training, archive: RaceArchive, video: Path) -> None:
    """Film the best race of all maps, and write down its inputs."""
    from tmrl_ray.best_films import film_inputs
    from tmrl_ray.errors import InvalidInputError

    if training.config.connection is not None:
        raise InvalidInputError(
            "only races in the simulator can be filmed", hint="The inputs file in the run's best/ replays in the game."
        )
    driven = [(archive.inputs_of_best(course.entry.name), course.entry.map) for course in training.courses]
    inputs, track = next(((path, name) for path, name in driven if path is not None), (None, ""))
    if inputs is None:
        note("no race was finished: there is nothing to film")
        raise click.exceptions.Exit(1)
    kept = video.with_suffix(".txt")
    video.parent.mkdir(parents=True, exist_ok=True)
    kept.write_bytes(inputs.read_bytes())
    film_inputs(training, inputs, track, video)
    note(f"video:    {video}\npictures: {video.with_suffix('.png')}\ninputs:   {kept}")


def _report(run: str, evaluation: Evaluation) -> dict[str, Any]:
    return {
        "run": run,
        "policy_version": evaluation.version,
        "maps": [
            {
                "map": result.map,
                "races": result.races,
                "finished": result.finished,
                "finish_rate_interval": list(result.finish_rate_interval),
                "best_time_s": result.best_time_s,
                "mean_time_s": result.mean_time_s,
                "finish_times_s": [
                    race.finish_time_ms / 1000
                    for race in evaluation.reports
                    if race.map == result.map and race.finish_time_ms is not None
                ],
            }
            for result in evaluation.results
        ],
    }
