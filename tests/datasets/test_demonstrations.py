"""A recorded race becomes the very rows that a collector would have sent of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tmrl_ray.config.race import CutOffSettings
from tmrl_ray.datasets.demonstrations import DemonstrationReader
from tmrl_ray.datasets.filming import Film, FilmedGame, FilmSpeed
from tmrl_ray.datasets.folder import RaceWriter, read_race
from tmrl_ray.datasets.race import Race, RaceFacts
from tmrl_ray.errors import DatasetError
from tmrl_ray.experience.chunk import Chunk, ChunkFormat
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.columns import NO_ACTION, HowEnded, Layout
from tmrl_ray.game.interface import GameSettings
from tmrl_ray.racing.actions import COAST, FORWARD
from tmrl_ray.racing.observation_layout import ObservationLayout
from tmrl_ray.racing.reference_line import ReferenceLine, line_of_track
from tmrl_ray.racing.reward import Term
from tmrl_ray.racing.rollout import Decision, Floats, Frame, rollout
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track

TRACK = "generated-train-00"
SIZE = (41, 37)
PERIOD_MS = 50
CRUISE_MPS = 33.0
LAYOUT = ObservationLayout()
FORMAT = ChunkFormat(Layout.of((SIZE[1], SIZE[0]), LAYOUT), history=1, look_ahead=3)


@pytest.fixture(scope="module")
def line() -> ReferenceLine:
    return line_of_track(load_track(TRACK))


class FollowTheLine:
    """Steers towards the way-point 20 m ahead, by the floats alone."""

    def act(self, frame: Frame | None, floats: Floats) -> Decision:
        left, _, forward = floats[LAYOUT.way_point(2)]
        angle = np.arctan2(left, forward)
        kind = 1 if angle > 0.03 else 2 if angle < -0.03 else 0
        return Decision((COAST if floats[LAYOUT.velocity][2] > CRUISE_MPS else FORWARD) + kind)


def film(line: ReferenceLine, root: Path, *, fps: float, race_ms: int) -> tuple[Race, list[Chunk]]:
    """Return a recorded race, and the chunks that a collector sent while it was driven."""
    speed = FilmSpeed.of(fps=fps, period_ms=PERIOD_MS)
    game = EmbeddedGame(GameSettings(frame_size=SIZE, decision_period_ms=speed.step_ms))
    builder = ChunkBuilder(FORMAT, 0, 1)
    chunks: list[Chunk] = []
    with RaceWriter(root, TRACK, "one") as writer:
        reel = Film(line, LAYOUT, speed, writer.add)
        seen = FilmedGame(game, reel)
        seen.load_map(TRACK)
        race = rollout(seen, FollowTheLine(), line, layout=LAYOUT, cut_offs=CutOffSettings(race_ms=race_ms))
        for step in race:
            chunks += builder.add(step)
        chunks += builder.end(race.end)
        writer.commit(reel.race(RaceFacts(map=TRACK, name="one", decision_period_ms=PERIOD_MS)))
    return read_race(root / TRACK / "one"), chunks


@pytest.fixture(scope="module")
def filmed(line: ReferenceLine, tmp_path_factory: pytest.TempPathFactory) -> tuple[Race, list[Chunk]]:
    """A race to the finish, whose time is none of a decision."""
    race, chunks = film(line, tmp_path_factory.mktemp("races"), fps=20, race_ms=100_000)
    assert race.facts.finished and race.facts.race_time_ms and race.facts.race_time_ms % PERIOD_MS
    return race, chunks


def chunks_of(race: Race, line: ReferenceLine, size: tuple[int, int] = SIZE) -> list[Chunk]:
    format = ChunkFormat(Layout.of((size[1], size[0]), LAYOUT), history=1, look_ahead=3)
    reader = DemonstrationReader(line, LAYOUT, period_ms=PERIOD_MS, frame_size=size)
    return list(reader.chunks(race, ChunkBuilder(format, 0, 1)))


def core(chunks: list[Chunk], name: str) -> np.ndarray:
    return np.concatenate([each.columns[name][each.leading : each.leading + each.core] for each in chunks])


def assert_same_rows(shown: list[Chunk], driven: list[Chunk]) -> None:
    assert [(each.leading, each.core, each.trailing) for each in shown] == [
        (each.leading, each.core, each.trailing) for each in driven
    ]
    for one, other in zip(shown, driven, strict=True):
        for name, column in one.columns.items():
            if name in {"floats", "terms", "metres"}:
                np.testing.assert_allclose(column, other.columns[name], rtol=1e-5, atol=2e-5, err_msg=name)
            elif name not in {"td_error", "q_value", "q_max"}:
                np.testing.assert_array_equal(column, other.columns[name], err_msg=name)


def test_rows_and_rewards_are_those_of_training(filmed: tuple[Race, list[Chunk]], line: ReferenceLine) -> None:
    race, driven = filmed
    shown = chunks_of(race, line)
    assert_same_rows(shown, driven)
    terms = core(shown, "terms")
    assert terms[:, Term.FINISHED].sum() == 1
    assert terms[:, Term.ELAPSED_MS].sum() == race.facts.race_time_ms
    assert terms[:, Term.ADVANCED_M].sum() == pytest.approx(line.length_m, abs=1.0)


def test_a_race_that_was_recorded_tick_by_tick_gives_the_same_rows(line: ReferenceLine, tmp_path: Path) -> None:
    race, driven = film(line, tmp_path, fps=100, race_ms=2000)
    assert len(race.entries) == 201 and not race.facts.finished
    assert_same_rows(chunks_of(race, line), driven)


def test_what_is_missing_takes_a_race_apart(filmed: tuple[Race, list[Chunk]], line: ReferenceLine) -> None:
    race, _ = filmed
    gone_ms = 40 * PERIOD_MS
    numbers = [number for number, entry in enumerate(race.entries) if entry.time_ms != gone_ms]
    shown = chunks_of(race.kept(numbers), line)
    ended = core(shown, "how_ended")
    assert set(core(shown, "race_id").tolist()) == {0, 1}
    first = core(shown, "race_id") == 0
    assert first.sum() == 39  # the decision at the moment that is gone, and the one that led to it
    assert set(ended[first].tolist()) <= {HowEnded.NONE, HowEnded.LOST}
    assert ended[first][-1] == HowEnded.LOST and ended[-1] == HowEnded.FINISH
    assert core(shown, "race_time_ms")[39] == gone_ms + PERIOD_MS

    timeline = race.actions.copy()
    timeline[4000 // 10 : 4050 // 10] = NO_ACTION  # left and right together
    assert NO_ACTION not in core(chunks_of(replace(race, timeline=timeline), line), "action")


def test_the_action_is_what_was_held_for_most_of_the_period(
    filmed: tuple[Race, list[Chunk]], line: ReferenceLine
) -> None:
    race, _ = filmed
    timeline = race.actions.copy()
    timeline[100:105] = [4, 7, 7, 7, 4]
    timeline[105:110] = [5, 5, 8, 8, 1]
    actions = core(chunks_of(replace(race, timeline=timeline), line), "action")
    assert actions[20:22].tolist() == [7, 5]


def test_pictures_are_brought_to_the_size_that_is_seen(filmed: tuple[Race, list[Chunk]], line: ReferenceLine) -> None:
    shown = chunks_of(filmed[0], line, (20, 18))
    assert core(shown, "frame").shape[1:] == (18, 20)


def test_a_race_that_cannot_be_shown_is_refused(filmed: tuple[Race, list[Chunk]], line: ReferenceLine) -> None:
    race, _ = filmed
    with pytest.raises(DatasetError, match="says nothing of the car's state"):
        chunks_of(replace(race, states=None), line)
    with pytest.raises(DatasetError, match="not known at any two moments 50 ms apart"):
        chunks_of(race.kept([number for number, entry in enumerate(race.entries) if entry.time_ms % 100 == 0]), line)
