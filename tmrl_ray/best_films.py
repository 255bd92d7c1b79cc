"""Films of a run's best races: driven once more in the simulator, when nobody trains any more.

A film takes seconds of a processor, which training would miss; so races are kept as inputs while a run goes on, and
filmed at its end. Races of the real game are watched there: its inputs files replay.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from actors.race_archive import RaceArchive, film_race
from tmrl_ray.service import load_tuning
from tmrl_ray.simulator.film import FilmSettings
from tmrl_ray.simulator.library import load_track
from tmrl_ray.training import Training

SETTINGS = FilmSettings(size=(480, 360))


def film_inputs(
    training: Training, inputs: Path, map_name: str, video: Path, settings: FilmSettings = SETTINGS
) -> None:
    """Film a race of a run, with a sheet of pictures beside the video.

    Args:
        training: of the run.
        inputs: of the race.
        map_name: on which it was driven, as the game knows it.
        video: where to write it.
        settings: of the film.
    """
    film_race(
        inputs, load_track(map_name), video, settings=settings, tuning=load_tuning(training.config.simulator.tuning)
    )


def film_best_races(training: Training, best: Path, settings: FilmSettings = SETTINGS) -> Iterator[Path]:
    """Film the best race of each map beside its inputs, unless that is done, and yield each video.

    Args:
        training: of the run.
        best: folder of its best races.
        settings: of the films.
    """
    archive = RaceArchive(best, keep=1)
    maps = {course.entry.name: course.entry.map for course in reversed(training.courses)}
    for name, map_name in maps.items():
        inputs = archive.inputs_of_best(name)
        if inputs is None or inputs.with_suffix(".png").exists():  # the sheet is written last
            continue
        video = inputs.with_suffix(".mp4")
        film_inputs(training, inputs, map_name, video, settings)
        yield video
