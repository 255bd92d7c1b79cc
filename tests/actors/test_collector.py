"""A collector between a game, a buffer and the weights: what it sends, when it waits, and what it survives."""

from __future__ import annotations

from itertools import islice, repeat

import pytest

from actors.collector import MOST_REPORTS, Collector, Turn
from actors.exploration import exploration_at
from actors.messages import CollectorState
from tests.actors.fakes import (
    FORMAT,
    RACE_STEPS,
    FakeKeeper,
    OneActionPolicy,
    Surroundings,
    course,
    driving,
)
from tmrl_ray.config.collector import CollectorSettings, ExplorationSettings, StartSettings
from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.errors import ChunkError, GameRefusedError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.columns import HowEnded, Layout
from tmrl_ray.iqn.policy import GREEDY

SETTINGS = CollectorSettings(flush_s=None)


def collector_in(around: Surroundings, settings: CollectorSettings = SETTINGS, number: int = 0, **kwargs) -> Collector:
    return Collector(number, settings, driving(**kwargs), around.ports, run_seed=5)


def take(collector: Collector, turns: int) -> list[Turn]:
    return list(islice(collector.run(), turns))


def rows_of(around: Surroundings) -> int:
    return sum(chunk.core for chunk in around.sink.chunks.values())


def test_a_race_is_sent_and_reported():
    around = Surroundings()
    collector = collector_in(around, number=3)
    report = collector.run_once()
    assert report is not None
    assert (report.collector, report.incarnation, report.race_id, report.map) == (3, 1, 0, "straight")
    assert (report.how, report.finish_time_ms, report.steps) == ("finish", 2450, RACE_STEPS)
    assert report.exploration and report.stored and report.from_start_line
    assert report.mean_q == pytest.approx(0.1)
    assert report.mean_action_gap == pytest.approx(1.1)
    assert report.start_q == pytest.approx(1.2)
    assert report.greedy_share == 1.0
    assert set(report.stage_ms) == {"game", "observe", "policy", "store"}
    assert all(stage_ms > 0 for stage_ms in report.stage_ms.values())
    chunk = around.sink.chunks[3, 1, 0]
    assert (chunk.core, chunk.trailing, chunk.ends_race) == (RACE_STEPS, 1, True)
    assert (chunk.core_of("how_ended") == HowEnded.FINISH).all()
    assert collector.take_reports() == [report]
    assert collector.take_reports() == []
    beat = collector.heartbeat()
    assert (beat.incarnation, beat.races, beat.env_steps, beat.state) == (1, 1, RACE_STEPS, CollectorState.RACING)


def test_reports_are_bounded():
    around = Surroundings()
    collector = Collector(0, SETTINGS, driving(course(fill_buffer=False)), around.ports, run_seed=0)
    collector._reports.extend(repeat(collector.run_once(), 2 * MOST_REPORTS))
    assert len(collector.take_reports()) == MOST_REPORTS


def test_evaluation_entries_are_greedy_and_need_not_be_stored():
    around = Surroundings()
    policies: list[OneActionPolicy] = []

    def make_policy(seed: int) -> OneActionPolicy:
        policies.append(OneActionPolicy(seed))
        return policies[-1]

    courses = (course("explore", repeat=2), course("measure", exploration=False, fill_buffer=False))
    collector = Collector(0, SETTINGS, driving(*courses, make_policy=make_policy), around.ports, run_seed=0)
    reports = [collector.run_once() for _ in range(4)]
    assert [report.map for report in reports] == ["explore", "explore", "measure", "explore"]
    assert [report.exploration for report in reports] == [True, True, False, True]
    assert [report.epsilon for report in reports] == [1.0, 1.0, 0.0, 1.0]
    assert {chunk.race_id for chunk in around.sink.chunks.values()} == {0, 1, 2}
    assert rows_of(around) == 3 * RACE_STEPS
    explored = [each.epsilon for each in policies[0].explored]
    assert explored == [1.0] * 2 * RACE_STEPS + [0.0] * RACE_STEPS + [1.0] * RACE_STEPS
    assert policies[0].resets == 4


def test_collectors_begin_the_cycle_at_different_places():
    courses = (course("explore", repeat=2), course("measure", exploration=False))
    names = []
    for number in range(3):
        report = Collector(number, SETTINGS, driving(*courses), Surroundings().ports, run_seed=0).run_once()
        names.append(report.map)
    assert names == ["explore", "explore", "measure"]


def test_exploration_follows_the_env_steps_of_all_collectors():
    schedule = ScheduleSettings(points=((0, 1.0), (1000, 0.0)))
    exploration = ExplorationSettings(epsilon=schedule, epsilon_boltzmann=schedule, multipliers=(1.0, 0.5))
    settings = SETTINGS.replace(exploration=exploration)
    around = Surroundings()
    around.sink.env_steps = 400
    collector = collector_in(around, settings, number=1)
    assert collector.run_once().epsilon == pytest.approx(0.3)
    around.sink.env_steps = 900
    collector.run_once()  # learns it from the answer to its last chunk
    assert collector.run_once().epsilon == pytest.approx(0.5 * (1 - (900 + RACE_STEPS) / 1000))
    policy = collector._life.policy
    assert policy.explored[0].epsilon_boltzmann == pytest.approx(0.3)


def test_a_run_may_begin_with_what_the_policy_drives_by_itself():
    exploration = ExplorationSettings(greedy_until=100)
    assert exploration_at(exploration, 99, 0) == GREEDY
    assert exploration_at(exploration, 100, 0).epsilon == 1.0


def test_probabilities_stay_probabilities():
    always = ScheduleSettings.constant(0.8)
    exploration = ExplorationSettings(epsilon=always, epsilon_boltzmann=always, multipliers=(3.0,))
    collector = collector_in(Surroundings(), SETTINGS.replace(exploration=exploration))
    take(collector, 1)
    explored = collector._life.policy.explored[0]
    assert (explored.epsilon, explored.epsilon_boltzmann) == (1.0, 0.0)


def test_seeds_follow_run_number_and_incarnation():
    def seed_of(run_seed: int, number: int, incarnation: int) -> int:
        around = Surroundings()
        around.sink.granted = incarnation - 1
        collector = Collector(number, SETTINGS, driving(), around.ports, run_seed=run_seed)
        take(collector, 1)
        return collector._life.policy.seed

    assert seed_of(5, 2, 3) == seed_of(5, 2, 3)
    assert len({seed_of(5, 2, 3), seed_of(6, 2, 3), seed_of(5, 3, 3), seed_of(5, 2, 4)}) == 4


def test_it_waits_for_credits_and_sends_first_what_it_has():
    around = Surroundings()
    around.sink.credits = 11
    collector = collector_in(around)
    turns = take(collector, 20)
    assert turns.count(Turn.DECIDED) == 11 + FORMAT.look_ahead  # the last ones cannot be sent before the next
    assert turns[-1] is Turn.WAITING
    assert rows_of(around) == 11
    assert collector.heartbeat().state is CollectorState.WAITING
    around.sink.credits = None
    around.clock.now_s += 1.0
    report = collector.run_once()
    assert report.steps == RACE_STEPS
    assert report.waited_s >= 1.0
    assert rows_of(around) == RACE_STEPS


def test_it_may_wait_between_races_only():
    around = Surroundings()
    around.sink.credits = 1
    collector = collector_in(around, SETTINGS.replace(pause_at="race_start"))
    turns = take(collector, RACE_STEPS + 4)
    assert turns == [Turn.DECIDED] * RACE_STEPS + [Turn.RACED] + [Turn.WAITING] * 3
    assert rows_of(around) == RACE_STEPS


def test_two_chunks_are_in_flight_at_most():
    around = Surroundings()
    around.sink.delayed = []
    collector = collector_in(around)
    turns = take(collector, 3 * RACE_STEPS + 5)
    assert turns[-3:] == [Turn.WAITING] * 3
    assert len(around.sink.arrivals) == 2
    around.sink.answer_one()
    turns = take(collector, 1)
    assert len(around.sink.arrivals) == 3


def test_rows_are_sent_after_a_while():
    around = Surroundings()
    collector = collector_in(around, SETTINGS.replace(flush_s=2.0))
    take(collector, 10)
    assert rows_of(around) == 0
    around.clock.now_s += 2.0
    take(collector, 1)
    assert rows_of(around) == 10 - FORMAT.look_ahead
    take(collector, 10)
    assert rows_of(around) == 10 - FORMAT.look_ahead


def test_a_buffer_that_is_away_costs_only_time():
    around = Surroundings()
    collector = collector_in(around)
    collector.run_once()
    around.sink.away = True
    around.sink.credits = 50
    take(collector, 2 * RACE_STEPS + 20)
    assert around.sink.env_steps == RACE_STEPS
    around.sink.away = False
    around.sink.credits = None
    for _ in range(3):
        collector.run_once()
        around.clock.now_s += 10.0
    steps = [step for chunk in around.sink.chunks.values() for step in chunk.core_of("race_id").tolist()]
    races = {race: steps.count(race) for race in set(steps)}
    assert set(races.values()) == {RACE_STEPS}
    assert set(races) >= {0, 1, 2}
    assert collector.heartbeat().dropped_chunks == 0
    assert collector.heartbeat().resent_chunks >= 2


def test_an_answer_that_never_comes_is_asked_for_again():
    around = Surroundings()
    around.sink.silent = True
    collector = collector_in(around)
    collector.run_once()
    around.clock.now_s += SETTINGS.reply_s
    around.sink.silent = False
    collector.run_once()
    assert around.sink.arrivals[:2] == [(0, 1, 0), (0, 1, 0)]
    assert rows_of(around) == 2 * RACE_STEPS


def test_it_enlists_again_when_the_buffer_does_not_know_it():
    around = Surroundings()
    collector = collector_in(around)
    collector.run_once()
    policy = collector._life.policy
    around.sink.known.clear()  # a buffer from an older checkpoint
    collector.run_once()
    around.sink.chunks.clear()
    report = collector.run_once()
    assert report.incarnation == 2
    assert collector._life.policy is policy
    assert {(chunk.id.incarnation, chunk.id.sequence) for chunk in around.sink.chunks.values()} == {(2, 0)}
    assert collector.heartbeat().dropped_chunks == 1


def test_another_layout_is_refused_at_once():
    around = Surroundings()
    around.sink.format = ChunkFormat(Layout.of(None), history=2, look_ahead=3)
    with pytest.raises(ChunkError, match=f"{FORMAT.layout.hash} is not {around.sink.format.layout.hash}"):
        collector_in(around).run_once()


def test_a_lost_game_costs_the_rest_of_its_race():
    around = Surroundings(FakeKeeper(lost_at_ms=iter([None, 500, None])))
    collector = collector_in(around)
    reports = [collector.run_once() for _ in range(3)]
    assert [report.how for report in reports] == ["finish", "lost", "finish"]
    assert reports[1].steps == 10
    chunks = list(around.sink.chunks.values())
    assert [chunk.core for chunk in chunks] == [RACE_STEPS, 10, RACE_STEPS]
    assert (chunks[1].core_of("how_ended") == HowEnded.LOST).all()
    assert around.keeper.losses == 1
    assert len(around.keeper.made) == 2
    assert "told to die" in collector.heartbeat().reason


def test_a_crash_loop_ends_in_quarantine():
    keeper = FakeKeeper(lost_at_ms=repeat(0))
    keeper.refusal = GameRefusedError("the game was lost 5 times within 600 s")
    around = Surroundings(keeper)
    collector = collector_in(around)
    while (report := collector.run_once()) is not None:
        assert report.how == "lost"
    beat = collector.heartbeat()
    assert beat.state is CollectorState.QUARANTINED
    assert "lost 5 times" in beat.reason
    assert beat.game_losses == 5
    assert keeper.closed
    assert collector.run_once() is None  # and it stays there


def test_a_map_that_the_game_does_not_have_is_no_reason_to_try_again():
    around = Surroundings()
    game = around.keeper.game()

    def refuse(name: str) -> None:
        raise GameRefusedError(f"no map {name}")

    game.load_map = refuse
    collector = collector_in(around)
    assert collector.run_once() is None
    assert collector.heartbeat().state is CollectorState.QUARANTINED
    assert collector.heartbeat().reason == "no map straight"


def test_what_is_left_arrives_before_it_stops():
    around = Surroundings()
    around.sink.delayed = []
    collector = collector_in(around)
    take(collector, 20)
    collector.stop()
    assert take(collector, 3) == [Turn.WAITING] * 3
    assert collector.heartbeat().state is CollectorState.DRAINING
    assert rows_of(around) == 20 - FORMAT.look_ahead
    around.sink.answer_one()
    assert collector.run_once() is None
    assert collector.heartbeat().state is CollectorState.STOPPED
    assert around.keeper.closed


def test_chunks_that_wait_for_their_turn_arrive_before_it_stops():
    around = Surroundings()
    around.sink.delayed = []
    collector = collector_in(around)
    assert take(collector, 3 * RACE_STEPS + 5)[-1] is Turn.WAITING
    assert len(around.sink.arrivals) == 2  # two are in flight, the end of the third race is not
    collector.stop()
    while around.sink.delayed:
        around.sink.answer_one()
        take(collector, 1)
    assert take(collector, 1) == []
    assert around.sink.arrivals == [(0, 1, 0), (0, 1, 1), (0, 1, 2)]
    assert rows_of(around) == 3 * RACE_STEPS


def test_races_start_from_states_of_earlier_ones():
    around = Surroundings()
    starts = StartSettings(race_start=0.0, uniform=1.0, save_every_ms=300, stretch_m=5.0)
    collector = collector_in(around, SETTINGS.replace(starts=starts))
    reports = [collector.run_once() for _ in range(12)]
    assert reports[0].from_start_line
    elsewhere = [report for report in reports if not report.from_start_line]
    assert len(elsewhere) > 6
    assert all(report.finish_time_ms is None and report.steps < RACE_STEPS for report in elsewhere)


def test_equal_seeds_send_equal_chunks():
    def sent() -> list[int]:
        around = Surroundings()
        starts = StartSettings(uniform=1.0, save_every_ms=300)
        collector = collector_in(around, SETTINGS.replace(starts=starts))
        for _ in range(5):
            collector.run_once()
        return [chunk.checksum for chunk in around.sink.chunks.values()]

    assert sent() == sent()
