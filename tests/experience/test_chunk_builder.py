"""Chunks made of races."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.experience.races import FORMAT, HISTORY, LAYOUT, LOOK_AHEAD, OBSERVATION, How, MadeUpRaces
from tmrl_ray.errors import ChunkError, InvalidInputError
from tmrl_ray.experience.chunk import MAX_CORE_ROWS, Chunk, ChunkFormat
from tmrl_ray.experience.chunk_builder import ChunkBuilder
from tmrl_ray.experience.columns import NO_ACTION, NO_VERSION, UNKNOWN_STEPS, HowEnded, Layout
from tmrl_ray.racing.rollout import Step

HOW = {"finish": HowEnded.FINISH, "cut_off": HowEnded.CUT_OFF, "lost": HowEnded.LOST}


def builder(format: ChunkFormat = FORMAT) -> ChunkBuilder:
    return ChunkBuilder(format, collector=5, incarnation=11)


def chunks_of_race(
    steps: list[Step], races: MadeUpRaces, how: How, flushes: set[int], into: ChunkBuilder
) -> list[Chunk]:
    chunks = []
    for number, step in enumerate(steps):
        chunks += into.add(step, policy_version=number // 100)
        if number in flushes:
            chunks += into.flush()
    return chunks + into.end(races.end(len(steps), how))


@settings(max_examples=40, deadline=None)
@given(
    count=st.one_of(st.integers(1, 12), st.integers(250, 530)),
    how=st.sampled_from(["finish", "cut_off", "lost"]),
    flushes=st.sets(st.integers(0, 530), max_size=5),
    history=st.integers(0, 4),
    look_ahead=st.integers(1, 5),
)
def test_every_step_is_the_core_of_one_chunk_and_has_all_that_it_may_reach(
    count: int, how: How, flushes: set[int], history: int, look_ahead: int
) -> None:
    format = ChunkFormat(LAYOUT, history, look_ahead)
    races = MadeUpRaces(count, format)
    steps = list(races.steps(count))
    chunks = chunks_of_race(steps, races, how, flushes, builder(format))
    assert [chunk.id.sequence for chunk in chunks] == list(range(len(chunks)))
    cores = np.concatenate([chunk.core_of("step_in_race") for chunk in chunks])
    assert cores.tolist() == list(range(count))
    for chunk in chunks:
        chunk.check()
        numbers = chunk.columns["step_in_race"]
        first, last = int(chunk.core_of("step_in_race")[0]), int(chunk.core_of("step_in_race")[-1])
        assert int(numbers[0]) == max(0, first - history)
        assert int(numbers[-1]) == min(count, last + look_ahead)
        assert chunk.ends_race == (int(numbers[-1]) == count)
        for row, number in enumerate(numbers.tolist()):
            if number == count:
                assert chunk.columns["action"][row] == NO_ACTION
                continue
            step = steps[number]
            assert np.array_equal(chunk.columns["frame"][row], step.frame)
            assert np.array_equal(chunk.columns["floats"][row], step.floats)
            assert np.array_equal(chunk.columns["terms"][row], step.terms)
            assert chunk.columns["action"][row] == step.decision.action
            assert chunk.columns["q_value"][row] == step.decision.q_values[step.decision.action]
            assert chunk.columns["metres"][row] == step.metres
            assert chunk.columns["policy_version"][row] == number // 100


def test_the_end_is_known_to_rows_whose_chunk_reaches_it() -> None:
    races, into = MadeUpRaces(), builder()
    first, second = races.race(into, MAX_CORE_ROWS + 7, "cut_off")
    assert (first.columns["steps_to_end"] == UNKNOWN_STEPS).all()
    assert (first.columns["how_ended"] == HowEnded.NONE).all()
    assert second.core == 7
    assert second.columns["steps_to_end"].tolist() == list(range(7 + HISTORY, -1, -1))
    assert (second.columns["how_ended"] == HowEnded.CUT_OFF).all()


def test_an_end_just_beyond_a_full_chunk_is_seen_from_both_chunks() -> None:
    """The first chunk is held back for its look-ahead, and so learns of the end."""
    races, into = MadeUpRaces(), builder()
    first, second = races.race(into, MAX_CORE_ROWS + 2)
    assert (first.core, first.trailing, first.ends_race) == (MAX_CORE_ROWS, LOOK_AHEAD, True)
    assert (second.core, second.trailing, second.ends_race) == (2, 1, True)
    assert first.columns["steps_to_end"][0] == MAX_CORE_ROWS + 2


def test_the_last_row_is_the_final_observation() -> None:
    races, into = MadeUpRaces(), builder()
    for step in races.steps(3):
        into.add(step, policy_version=13)
    end = races.end(3, "lost")
    (chunk,) = into.end(end)
    last = {name: array[-1] for name, array in chunk.columns.items()}
    assert np.array_equal(last["frame"], end.frame)
    assert np.array_equal(last["floats"], end.floats)
    assert (last["action"], last["policy_version"]) == (NO_ACTION, NO_VERSION)
    assert (last["steps_to_end"], last["how_ended"]) == (0, HowEnded.LOST)
    assert np.isnan(last["q_value"])
    assert not last["terms"].any()


def test_races_are_numbered_and_one_without_steps_is_none() -> None:
    races, into = MadeUpRaces(), builder()
    assert races.race(into, 5)[0].race_id == 0
    assert into.end(races.end(0, "lost")) == []
    into.add(races.step())
    into.discard()
    assert into.held_rows == 0
    (chunk,) = races.race(into, 5)
    assert (chunk.race_id, chunk.id.sequence, chunk.core_of("step_in_race")[0]) == (2, 1, 0)


def test_errors_of_all_rows_are_computed_by_who_knows_the_reward() -> None:
    into = ChunkBuilder(FORMAT, 0, 0, td_errors=lambda columns: columns["q_max"] - columns["q_value"])
    (chunk,) = MadeUpRaces().race(into, 5)
    expected = chunk.columns["q_max"] - chunk.columns["q_value"]
    assert np.array_equal(chunk.columns["td_error"], expected, equal_nan=True)


def test_without_a_picture_there_is_no_column_for_it() -> None:
    format = ChunkFormat(Layout.of(None, OBSERVATION), HISTORY, LOOK_AHEAD)
    (chunk,) = MadeUpRaces(format=format).race(builder(format), 5)
    chunk.check()
    assert "frame" not in chunk.columns


def test_a_picture_that_the_layout_does_not_expect_is_refused() -> None:
    with pytest.raises(ChunkError, match=r"picture None and floats .* do not fit"):
        builder().add(without_frame(MadeUpRaces().step()))


def without_frame(step: Step) -> Step:
    return Step(None, step.floats, step.decision, step.terms, step.race_time_ms, step.zone, step.metres)


def test_a_transition_needs_a_row_to_lead_to() -> None:
    with pytest.raises(InvalidInputError, match="look-ahead 0"):
        ChunkFormat(LAYOUT, 0, 0)


@pytest.mark.parametrize(
    ("column", "row", "value", "message"),
    [
        ("race_id", 1, 7, "consecutive steps of one race"),
        ("step_in_race", 2, 9, "consecutive steps of one race"),
        ("action", 0, 12, "an action"),
        ("action", 5, 0, "an action"),
        ("steps_to_end", 3, 1, "disagree about the end"),
        ("how_ended", 0, 4, "disagree about the end"),
        ("floats", 4, np.nan, "floats .* no finite"),
        ("terms", 4, np.inf, "terms .* no finite"),
        ("td_error", 4, -np.inf, "td_error .* infinite"),
    ],
)
def test_rows_that_no_race_gives_are_refused(column: str, row: int, value: float, message: str) -> None:
    (chunk,) = MadeUpRaces().race(builder(), 5)
    chunk.check()
    chunk.columns[column][row] = value
    with pytest.raises(ChunkError, match=message):
        chunk.check()


def test_layouts_are_equal_when_all_that_rows_mean_is() -> None:
    assert Layout.of((64, 64)) == Layout.of((64, 64))
    assert Layout.of((64, 64)) != Layout.of((64, 48))
    assert Layout.of((64, 64)) != Layout.of(None)
    assert Layout.of(None, OBSERVATION) != Layout.of(None)
    assert Layout.of((120, 160)).row_bytes == 19200 + 184 * 4 + 8 * 4 + 2 * 8 + 7 * 4 + 3
