"""Generated tracks: the same from the same arguments, drivable, harder when asked for."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from tmrl_ray.errors import TrackError
from tmrl_ray.simulator.generator import generate
from tmrl_ray.simulator.library import TRACKS, build, generated_spec, held_out_tracks, load_track, training_tracks
from tmrl_ray.simulator.segment_track import lay_segments
from tmrl_ray.simulator.track_file import Curve, Gap
from tmrl_ray.simulator.track_source import format_track, parse_track


def test_the_same_arguments_give_the_same_track() -> None:
    texts = [format_track(generate(seed, 700, 0.83)) for seed in (11, 11, 13)]
    assert texts[0] == texts[1] != texts[2]
    assert parse_track(texts[0], "again") == generate(11, 700, 0.83)


def test_generated_tracks_are_frozen() -> None:
    digest = hashlib.sha256()
    for name in (*training_tracks(), *held_out_tracks()):
        digest.update(format_track(generated_spec(name)).encode())
    assert digest.hexdigest() == "e87390ff9e67ca93acc080630750eee66a3bb0a972fd778698c60a1d4c6b1eee"


def test_there_are_40_for_training_and_10_others() -> None:
    assert len(training_tracks()) == 40
    assert len(held_out_tracks()) == 10
    texts = {format_track(generated_spec(name)).partition("\n")[2] for name in (*training_tracks(), *held_out_tracks())}
    assert len(texts) == 50


@pytest.mark.parametrize("name", [*training_tracks()[::9], *held_out_tracks()[::4]])
def test_some_named_tracks_can_be_built(name: str) -> None:
    assert load_track(name).name == name


@pytest.mark.slow
def test_all_named_tracks_can_be_built() -> None:
    for name in (*training_tracks(), *held_out_tracks()):
        build(generated_spec(name), TRACKS)


@pytest.mark.parametrize(
    ("seed", "length_m", "difficulty"), [(3, 211, 0.0), (5, 997, 0.53), (7, 2503, 1.0), (17, 5003, 0.7)]
)
def test_lengths_are_about_those_asked_for(seed: int, length_m: float, difficulty: float) -> None:
    layout = lay_segments(generate(seed, length_m, difficulty))
    assert (layout.finish - layout.spawn) * 0.5 == pytest.approx(length_m, abs=250)
    if length_m > 900:
        assert len(layout.checkpoints) > length_m / 500


def test_difficulty_makes_roads_narrower_and_bends_tighter() -> None:
    easy = [generate(seed, 900, 0.0) for seed in range(5)]
    hard = [generate(seed, 900, 1.0) for seed in range(5)]

    def tightest(specs: list) -> float:
        return float(np.mean([min(s.radius for s in spec.segments if isinstance(s, Curve)) for spec in specs]))

    assert max(spec.road.width for spec in hard) < min(spec.road.width for spec in easy)
    assert tightest(hard) < 0.7 * tightest(easy)
    assert not any(isinstance(s, Gap) for spec in easy for s in spec.segments)


def test_roads_keep_apart() -> None:
    for seed in (2, 19):
        spec = generate(seed, 1500, 0.6)
        points = lay_segments(spec).points[::8, [0, 2]]
        apart = np.sqrt(((points[:, None] - points[None]) ** 2).sum(axis=2))
        between = np.abs(np.arange(len(points))[:, None] - np.arange(len(points))[None]) * 4.0
        assert apart[between > 100].min() > spec.road.width


@pytest.mark.parametrize("arguments", [(-1, 500, 0.5), (1, 100, 0.5), (1, 500, 1.5), (1, 9000, 0.5)])
def test_arguments_out_of_range_are_refused(arguments: tuple) -> None:
    with pytest.raises(TrackError, match="seed must be 0 or above, length 200 to 6000 m, difficulty 0 to 1"):
        generate(*arguments)
