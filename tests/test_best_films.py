"""The best race of each map is filmed beside its inputs, once, and goes when better races take its place."""

from __future__ import annotations

from pathlib import Path

import av

from actors.race_archive import RaceArchive, RaceRecording
from tests.actors.fakes import OneActionPolicy
from tests.racing.fake_game import FakeGame, line_from, straight_line
from tmrl_ray.best_films import film_best_races
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.race import MapEntry
from tmrl_ray.config.run import RunConfig
from tmrl_ray.racing.rollout import rollout
from tmrl_ray.simulator.film import FilmSettings
from tmrl_ray.training import Training

CONFIG = RunConfig(
    game=GameSettings(frame_size=None),
    network=NetworkSettings(float_hidden=11, head_hidden=13, quantile_embedding=7),
    maps=(MapEntry(name="slippery", map="ice"), MapEntry(name="round", map="oval")),
)
COARSE = FilmSettings(size=(64, 48), period_ms=1000)
FULL_GAS = "0.00-40.00 press up\n"


def test_the_best_race_of_each_map_is_filmed_once(tmp_path: Path) -> None:
    for name in ("slippery-27.34.txt", "slippery-28.50.txt"):
        (tmp_path / name).write_text(FULL_GAS)
    training = Training.of(CONFIG)
    assert list(film_best_races(training, tmp_path, COARSE)) == [tmp_path / "slippery-27.34.mp4"]
    with av.open(str(tmp_path / "slippery-27.34.mp4")) as film:
        assert sum(1 for _ in film.decode(video=0)) == 29, "a picture a second, and that of the finish"
    assert (tmp_path / "slippery-27.34.png").stat().st_size > 1000
    assert list(film_best_races(training, tmp_path, COARSE)) == []


def test_a_race_that_is_kept_no_longer_takes_its_film_along(tmp_path: Path) -> None:
    line = line_from(straight_line())
    driven, recording = rollout(FakeGame(line), OneActionPolicy(), line), RaceRecording(50)
    for step in driven:
        assert driven.moment is not None
        recording.add(step, driven.moment)
    archive = RaceArchive(tmp_path, keep=1)
    archive.offer_race("toy", 9000, recording, 1)
    for suffix in (".mp4", ".png"):
        (tmp_path / f"toy-9.00{suffix}").touch()
    archive.offer_race("toy", 8000, recording, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy-8.00.npz", "toy-8.00.txt"]
