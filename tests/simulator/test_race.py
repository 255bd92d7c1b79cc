"""The rules of a race, on a flat plane where everything can be worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from tests.simulator.flat_track import GATE_HEIGHT_M, HALF_WIDTH_M, TRACKS, flat_track
from tmrl_ray.game.inputs import RELEASED, Inputs
from tmrl_ray.game.scripts import KeyPress, Timeline
from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.race import Race

GAS = Inputs(accelerate=True)


@pytest.fixture
def race() -> Race:
    return Race(TRACKS["flat"])


def at_zero(race: Race) -> Race:
    while race.race_time_ms < 0:
        race.advance(50)
    return race


def put(race: Race, z: float, *, x: float = 0.0, y: float = 0.03, speed: float = 0.0) -> None:
    """Put the car somewhere, with a speed along +z."""
    car = race.car
    car[cs.POSITION : cs.POSITION + 3] = x, y, z
    car[cs.VELOCITY : cs.VELOCITY + 3] = 0, 0, speed


def jump_through(race: Race, z: float) -> int:
    """Put the car in front of the gate at z with 50 m/s and play until a gate is passed, at most ten ticks."""
    put(race, z - 6, speed=50)
    return max(race.tick() for _ in range(10))


def test_the_countdown_holds_the_car_and_ignores_inputs(race: Race):
    assert race.race_time_ms == -2600
    held = race.car.copy()
    race.set_inputs(GAS)
    ticks = 0
    while race.race_time_ms < 0:
        race.tick()
        ticks += 1
    assert ticks == 260
    assert np.array_equal(race.car, held)
    race.tick()
    assert race.car[cs.GAS] == 1
    assert race.car[cs.VELOCITY + 1] < 0, "it drops onto its wheels when the race begins"
    assert race.race_time_ms == 10


def test_inputs_act_in_the_tick_that_starts_when_they_are_set(race: Race):
    at_zero(race)
    race.tick()
    race.set_inputs(Inputs(brake=True, left=True))
    race.tick()
    assert race.car[cs.BRAKE] == 1
    assert race.car[cs.STEER] < 0
    race.set_inputs(Inputs(left=True, right=True))
    for _ in range(10):
        race.tick()
    assert race.car[cs.STEER] == 0
    race.set_inputs(Inputs(left=True, steer=65536))
    for _ in range(10):
        race.tick()
    assert race.car[cs.STEER] == 1


@pytest.mark.parametrize("period_ms", [10, 50, 70])
def test_advance_stops_at_the_multiples_of_the_period(race: Race, period_ms: int):
    times = []
    for _ in range(9):
        race.advance(period_ms)
        times.append(race.race_time_ms)
    first = -2600 // period_ms * period_ms + period_ms
    assert times == list(range(first, first + 9 * period_ms, period_ms))


def test_advance_stops_at_a_given_time(race: Race):
    race.advance(1000, stop_ms=-2370)
    assert race.race_time_ms == -2370
    race.advance(1000, stop_ms=-2370)
    assert race.race_time_ms == -2000


@pytest.mark.parametrize("speed", [10.0, 43.0, 70.0, 97.0])
def test_a_gate_is_passed_by_the_nose(race: Race, speed: float):
    """As in ghosts of the real game: the car's origin is still 2.4 to 3.7 m in front of the gate."""
    at_zero(race)
    put(race, 40, speed=speed)
    while not race.tick():
        assert race.car[cs.POSITION + 2] < 50
    assert 2.4 <= 50 - race.car[cs.POSITION + 2] <= 3.7
    assert race.gates_passed == 1
    assert race.save_state().cp_times.tolist() == [race.race_time_ms, -1, -1]


@pytest.mark.parametrize(
    ("place", "speed"),
    [
        ({"x": HALF_WIDTH_M + 0.1}, 50.0),
        ({"x": -HALF_WIDTH_M - 0.1}, 50.0),
        ({"y": GATE_HEIGHT_M + 0.5}, 50.0),
        ({"y": -3.0}, 50.0),
        ({"z": 50.0}, -50.0),
    ],
)
def test_a_car_that_misses_a_gate_does_not_pass_it(race: Race, place: dict[str, float], speed: float):
    at_zero(race)
    put(race, **{"z": 44.0, **place}, speed=speed)
    assert [race.tick() for _ in range(10)] == [0] * 10


def test_checkpoints_count_in_any_order_and_before_the_finish(race: Race):
    at_zero(race)
    assert jump_through(race, 130) == 0
    assert jump_through(race, 90) == 1
    assert race.save_state().cp_states.tolist() == [0, 1, 0]
    assert jump_through(race, 90) == 0
    assert jump_through(race, 130) == 0
    assert jump_through(race, 50) == 1
    assert not race.finished
    assert jump_through(race, 130) == 1
    assert race.finished
    times = race.save_state().cp_times.tolist()
    assert times == sorted(times)
    assert times[-1] == race.race_time_ms


def test_the_race_clock_stops_at_the_finish_and_the_tick_clock_goes_on(race: Race):
    at_zero(race)
    for z in (50, 90, 130):
        jump_through(race, z)
    finish_ms = race.save_state().cp_times[-1]
    assert race.race_time_ms == finish_ms
    before = race.tick_time_ms
    race.advance(1000)
    assert race.tick_time_ms == before + 10
    assert race.race_time_ms == finish_ms
    assert race.run_step_due(1000)


def finish(race: Race) -> None:
    for z in (50, 90):
        jump_through(race, z)
    put(race, 124, speed=50)
    while not race.tick():
        pass


def test_the_finish_can_be_prevented_in_its_tick(race: Race):
    at_zero(race)
    finish(race)
    finish_ms = race.race_time_ms
    assert race.prevent_finish()
    assert (race.finished, race.gates_passed) == (False, 2)
    assert race.save_state().cp_times.tolist()[-1] == -1
    race.tick()
    assert race.race_time_ms == finish_ms + 10 == race.tick_time_ms
    assert jump_through(race, 130) == 1
    race.tick()
    assert not race.prevent_finish()
    assert race.finished


def test_each_lap_wants_all_gates_again():
    race = at_zero(Race(TRACKS["Two Laps"]))
    assert race.gates_total == 4
    assert [jump_through(race, 40), jump_through(race, 80)] == [1, 1]
    assert (race.laps_completed, race.finished) == (1, False)
    lap_ms = race.race_time_ms
    state = race.save_state()
    assert state.cp_states.tolist() == [0, 0]
    assert state.current_lap == 1
    assert state.cp_times.tolist()[2:] == [-1, -1]
    assert jump_through(race, 80) == 0
    assert [jump_through(race, 40), jump_through(race, 80)] == [1, 1]
    assert (race.laps_completed, race.finished, race.gates_passed) == (2, True, 4)
    assert lap_ms < race.race_time_ms


def test_two_gates_can_be_passed_in_one_tick():
    race = at_zero(Race(flat_track((50.0, 50.1))))
    assert jump_through(race, 50) == 2
    assert race.finished


def test_a_respawn_goes_to_the_last_gate_passed(race: Race):
    at_zero(race)
    jump_through(race, 90)
    jump_through(race, 50)
    race.car[cs.FREE_WHEELING] = 1
    before = race.race_time_ms
    race.respawn()
    assert race.car[cs.POSITION : cs.POSITION + 3].tolist() == [1.0, 0.2, 52.0]
    assert race.car[cs.VELOCITY : cs.VELOCITY + 3].tolist() == [0, 0, 0]
    assert race.car[cs.FREE_WHEELING] == 0
    assert race.race_time_ms == before
    state = race.save_state()
    assert (state.num_respawns, state.current_checkpoint, race.gates_passed) == (1, 0, 2)


def test_a_respawn_without_a_gate_restarts(race: Race):
    at_zero(race)
    race.set_inputs(GAS)
    race.advance(1000)
    race.respawn()
    assert race.race_time_ms == -2600
    assert race.inputs == RELEASED
    assert race.save_state() == Race(TRACKS["flat"]).save_state()


def test_a_gate_turns_the_engine_on_again(race: Race):
    at_zero(race)
    race.car[cs.FREE_WHEELING] = 1
    jump_through(race, 50)
    assert race.car[cs.FREE_WHEELING] == 0


def test_nothing_happens_to_a_car_that_falls_off_the_world(race: Race):
    at_zero(race)
    put(race, 2000, y=-50)
    for _ in range(60):
        race.advance(1000)
    assert race.race_time_ms == 60_000
    assert race.car[cs.POSITION + 1] < -1000
    assert np.isfinite(race.car).all()


def test_the_input_log_follows_rewinds(race: Race):
    at_zero(race)
    race.set_inputs(GAS)
    race.advance(50)
    state = race.save_state()
    race.set_inputs(Inputs(brake=True))
    race.advance(50)
    race.set_inputs(GAS)
    assert [time for time, _ in race.input_log.changes] == [0, 50, 100]
    race.load_state(state)
    assert race.input_log.changes == ((0, GAS),)
    assert race.inputs == GAS
    race.restart()
    assert race.input_log.changes == ()


def test_a_script_plays_in_every_race(race: Race):
    script = Timeline(((0, GAS), (130, Inputs(accelerate=True, left=True)), (170, RELEASED)))
    race.play_script(script)
    for _ in range(2):
        while race.race_time_ms < 200:
            race.advance(50)
            assert race.race_time_ms % 50 == 0
        assert race.input_log == script
        race.restart()
    race.play_script(Timeline())
    race.advance(4000)
    assert race.input_log == Timeline()


def test_a_script_can_respawn(race: Race):
    at_zero(race)
    jump_through(race, 50)
    now = race.race_time_ms
    race.play_script(Timeline((), (KeyPress(now + 30, "enter"),)))
    race.advance(50)
    assert race.save_state().num_respawns == 1
    assert race.input_log.presses == (KeyPress(now + 30, "enter"),)


def test_the_console_can_end_a_race(race: Race):
    at_zero(race)
    race.tick()
    race.end()
    race.tick()
    assert (race.race_time_ms, race.tick_time_ms) == (10, 20)
