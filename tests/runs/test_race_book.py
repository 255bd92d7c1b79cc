"""What reports of races, and the learner's figures, become: only names that are declared."""

from __future__ import annotations

import json
from dataclasses import replace
from math import nan

import pytest

from actors.race_report import RaceReport
from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.race_book import RaceBook, kind_of

RACE = RaceReport(
    collector=3,
    incarnation=1,
    race_id=7,
    map="A01",
    exploration=False,
    stored=True,
    epsilon=0.1,
    first_version=5,
    last_version=5,
    from_start_line=True,
    how="finish",
    cut_off=None,
    finish_time_ms=25_000,
    race_time_ms=25_000,
    split_times_ms=(11_000, 25_000),
    steps=500,
    metres=555.0,
    furthest_share=1.0,
    wall_s=3.0,
    waited_s=1.0,
    time_ratio=8.0,
    greedy_share=0.75,
    mean_q=0.5,
    mean_action_gap=0.25,
    start_q=nan,
    stage_ms={},
)
STUCK = replace(RACE, how="cut_off", cut_off="stuck", finish_time_ms=None, race_time_ms=9_000, split_times_ms=())


def test_a_finished_race_is_told_whole() -> None:
    book = RaceBook({"A01": {"author": 20.0, "pursuit": 25.0}})
    values = book.add(RACE)
    assert values == {
        "race/finish_time_s/A01/greedy": 25.0,
        "race/robust_finish_time_s/A01/greedy": 25.0,
        "race/best_time_s/A01/greedy": 25.0,
        "race/time_s/A01/greedy": 25.0,
        "race/finished/A01/greedy": 1.0,
        "race/finish_rate/A01/greedy": 1.0,
        "race/medal_ratio/A01/greedy/author": 1.25,
        "race/medal_ratio/A01/greedy/pursuit": 1.0,
        "race/split_s/A01/greedy/1": 11.0,
        "race/split_s/A01/greedy/2": 25.0,
        "race/furthest_share/A01/greedy": 1.0,
        "race/metres/A01/greedy": 555.0,
        "race/env_steps/A01/greedy": 500,
        "race/time_ratio/A01/greedy": 8.0,
        "race/waited_share/A01/greedy": 0.25,
        "race/greedy_share/A01/greedy": 0.75,
        "race/value/A01/greedy": 0.5,
        "race/action_spread/A01/greedy": 0.25,
        "race/ended/finish": 1,
    }
    for name in values:
        METRICS.resolve(name)


def test_an_unfinished_race_is_no_time_and_no_record() -> None:
    book = RaceBook({"A01": {"author": 20.0}})
    values = book.add(STUCK)
    assert not [name for name in values if "finish_time" in name or "best" in name or "medal" in name]
    assert values["race/finished/A01/greedy"] == 0.0 and values["race/ended/stuck"] == 1
    assert book.best_times_s() == {}


def test_a_race_from_elsewhere_is_practice() -> None:
    elsewhere = replace(RACE, from_start_line=False, finish_time_ms=None, race_time_ms=30_000)
    values = RaceBook().add(elsewhere)
    assert values["race/finished/A01/practice"] == 1.0
    assert not [name for name in values if "finish_time" in name or "split" in name]
    assert kind_of(replace(RACE, exploration=True)) == "explore"
    assert kind_of(elsewhere, evaluation=True) == "evaluation"


def test_the_evaluators_races_are_not_counted_with_those_of_collectors() -> None:
    values = RaceBook().add(RACE, evaluation=True)
    assert "race/finish_time_s/A01/evaluation" in values and "race/ended/finish" not in values


def test_rates_means_and_records_are_kept_apart_and_survive() -> None:
    book = RaceBook()
    for race in (RACE, STUCK, replace(RACE, finish_time_ms=24_000), replace(RACE, map="B02", finish_time_ms=30_000)):
        values = book.add(race)
    other = RaceBook()
    other.load_state_dict(json.loads(json.dumps(book.state_dict())))
    for each in (book, other):
        assert each.best_times_s() == {"A01": 24.0, "B02": 30.0}
        values = each.add(replace(RACE, finish_time_ms=25_500))
        assert values["race/finish_rate/A01/greedy"] == 0.75
        assert values["race/best_time_s/A01/greedy"] == 24.0
        # the running mean is 25 and then 0.9 * 25 + 0.1 * 24 = 24.9; 1.02 times that is 25.398
        assert "race/robust_finish_time_s/A01/greedy" not in values
        assert values["race/ended/finish"] == 4 and "race/ended/stuck" not in values
        assert "race/robust_finish_time_s/A01/greedy" in each.add(replace(RACE, finish_time_ms=25_300))


def test_the_finish_rate_is_that_of_the_last_twenty_races() -> None:
    book = RaceBook()
    rates = [book.add(STUCK if number < 20 else RACE)["race/finish_rate/A01/greedy"] for number in range(50)]
    assert rates[19] == 0.0 and rates[29] == 0.5 and rates[39] == 1.0


def is_declared(name: str) -> bool:
    try:
        METRICS.resolve(name)
    except ValueError:
        return False
    return True


def test_what_the_learner_tells_is_declared() -> None:
    pytest.importorskip("torch")
    from learner.report import summarise
    from tests.learner.drawn import SETTINGS, drawn, update_of
    from tmrl_ray.config.learner import MunchausenSettings, SelfLossSettings

    told = set[str]()
    for settings in (SETTINGS, SETTINGS.replace(munchausen=MunchausenSettings(), self_loss=SelfLossSettings())):
        update = update_of(settings)
        summary = summarise([update.step(drawn(seed=seed), env_steps=0) for seed in range(2)])
        told |= {"learner/" + name.replace(".", "/") for name in summary.figures if name != "set_aside"}
        told |= {"parameter/" + name.replace(".", "/", 1) for name in update.diagnostics()}
    assert [name for name in sorted(told) if not is_declared(name)] == []
    assert {"learner/loss", "learner/munchausen_temperature", "learner/gradient_norm/value_head"} <= told
