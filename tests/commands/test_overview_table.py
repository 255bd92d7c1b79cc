"""The table of a run is as long as its terminal has room for, and in a file as long as it gets."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from tmrl_ray.commands.overview_table import OverviewTable
from tmrl_ray.overview import CollectorLine, EvaluationLine, Overview, RaceLine

MAP = "s_curves"
RACE = RaceLine(collector=3, map=MAP, how="stuck", finish_time_s=None, share=0.61, from_start_line=False)
EVALUATION = EvaluationLine(
    minutes=2.5, version=17, map=MAP, races=5, finished=4, best_time_s=13.37, mean_time_s=13.9, share=1.0
)


def overview(collectors: int) -> Overview:
    """Return a run with as much to tell as a run can have; its last collector is in trouble."""
    good = CollectorLine(
        number=0, state="running", doing="racing", restarts=0, env_steps=101, policy_version=23, reason=""
    )
    lines = [replace(good, number=number) for number in range(collectors - 1)]
    lines.append(
        replace(good, number=collectors - 1, state="quarantined", restarts=7, reason="the game ended with signal 11")
    )
    return Overview(
        run="night",
        state="training",
        start_up_s=11.0,
        minutes=3.25,
        of_minutes=6.0,
        of_env_steps=None,
        env_steps=123_457,
        learner_steps=7_919,
        env_steps_per_s=661.0,
        learner_steps_per_s=40.9,
        samples_per_insert=7.98,
        wanted_samples_per_insert=8.0,
        rows=49_999,
        window_rows=50_000,
        policy_version=989,
        learner_restarts=1,
        epsilon=0.03,
        races=401,
        finished=211,
        best_times_s={MAP: 12.9},
        references_s={MAP: {"pursuit": 13.75}},
        first_finish_minutes=0.7,
        collectors=tuple(lines),
        latest_races=(RACE,) * 5,
        evaluations=(EVALUATION,) * 5,
        checkpoint="checkpoint-000123457",
        checkpoint_age_s=31.0,
    )


def shown(run: Overview, *, width: int, height: int, is_terminal: bool = True) -> list[str]:
    """Return the lines of its table on a terminal of that size."""
    file = io.StringIO()
    Console(file=file, width=width, height=height, force_terminal=is_terminal, color_system=None).print(
        OverviewTable(run)
    )
    return file.getvalue().splitlines()


@pytest.mark.parametrize("size", [(80, 24), (80, 40), (100, 30), (160, 24)])
@pytest.mark.parametrize("collectors", [1, 13])
def test_the_table_fits_the_terminal(size: tuple[int, int], collectors: int) -> None:
    width, height = size
    lines = shown(overview(collectors), width=width, height=height)
    assert len(lines) < height
    text = "\n".join(lines)
    for what in ("night", "3:15 of 6:00", "123,457", "7,919", "13.37 s", "quarantined", "61%"):
        assert what in text
    assert ("and" in text and "more" in text) == (collectors == 13)


def test_a_larger_terminal_shows_more() -> None:
    small, large = (shown(overview(13), width=80, height=height) for height in (24, 60))
    assert sum("the track" in line for line in small) == 1
    assert sum("the track" in line for line in large) == 5
    assert "samples per row" not in "\n".join(small)
    assert "samples per row" in "\n".join(large)


def test_a_file_gets_everything() -> None:
    lines = shown(overview(5), width=80, height=24, is_terminal=False)
    assert len(lines) > 24
    assert sum("racing" in line for line in lines) == 4
