"""Replays and ghosts, from hand-made bytes: times, inputs, the trace, lines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.game import gbx_encoder as encode
from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx import ControlEvent, Replay, checkpoints_on_line, inspect, line_from_ghost, read_replay
from tmrl_ray.game.inputs import RELEASED, Inputs

Event = tuple[int, str, int]


def one_ghost(**options: object) -> Replay:
    return read_replay(encode.replay([encode.ghost(encode.Names(), **options)]))  # type: ignore[arg-type]


def driven(*events: Event, race_time_ms: int = 70) -> tuple[Inputs, ...]:
    return one_ghost(events=events, race_time_ms=race_time_ms).ghost.inputs


def test_header_and_ghost() -> None:
    replay = one_ghost()
    assert (replay.challenge_uid, replay.time_ms) == ("some-uid", 470)
    assert (replay.nickname, replay.login) == ("A Nick", "a-login")
    ghost = replay.ghost
    assert (ghost.race_time_ms, ghost.checkpoint_times_ms, ghost.respawns) == (470, (230, 470), 0)
    assert (ghost.login, ghost.nickname, ghost.vehicle) == ("a-login", "A Nick", "StadiumCar")
    assert ghost.game_version == "TmForever.2.11.26"


@pytest.mark.parametrize("class_id", [0x03093000, 0x2407E000, 0x2403F000])
def test_every_number_of_the_class_is_a_replay(class_id: int) -> None:
    data = encode.replay([encode.ghost(encode.Names())], class_id=class_id)
    assert read_replay(data).ghost.login == "a-login"


def test_several_ghosts_share_their_names() -> None:
    names = encode.Names()
    ghosts = [encode.ghost(names, index=i, race_time_ms=100 * i, checkpoint_times_ms=(100 * i,)) for i in (1, 2, 3)]
    assert [ghost.race_time_ms for ghost in read_replay(encode.replay(ghosts)).ghosts] == [100, 200, 300]


def test_the_embedded_map_is_read() -> None:
    replay = read_replay(encode.replay([encode.ghost(encode.Names())], embedded=encode.challenge()))
    assert replay.challenge.uid == "some-uid"
    assert replay.challenge.start.cell == (3, 1, 5)


def test_a_damaged_map_does_not_spoil_the_ghost() -> None:
    replay = read_replay(encode.replay([encode.ghost(encode.Names())], embedded=encode.challenge()[:90]))
    assert replay.ghost.race_time_ms == 470
    with pytest.raises(GbxError, match=r"\(embedded map\)"):
        _ = replay.challenge


def test_a_replay_without_map_or_ghost_says_so() -> None:
    replay = read_replay(encode.replay([]))
    with pytest.raises(GbxError, match="embeds no map"):
        _ = replay.challenge
    with pytest.raises(GbxError, match="holds no ghost"):
        _ = replay.ghost


def test_an_event_acts_in_the_tick_ten_milliseconds_before_its_clock() -> None:
    inputs = driven((10, "Accelerate", 1), (30, "SteerLeft", 1), (50, "SteerLeft", 0))
    gas, left = Inputs(accelerate=True), Inputs(left=True, accelerate=True)
    assert inputs == (gas, gas, left, left, gas, gas, gas)


def test_what_was_pressed_in_the_countdown_is_held_at_the_start() -> None:
    assert driven((-500, "Brake", 1), (20, "Brake", 0), race_time_ms=30) == (Inputs(brake=True), RELEASED, RELEASED)


def test_an_event_between_two_ticks_belongs_to_the_earlier_one() -> None:
    assert driven((27, "SteerRight", 0x80), race_time_ms=30) == (RELEASED, Inputs(right=True), Inputs(right=True))


@pytest.mark.parametrize(
    ("bits", "steer"), [(0x000000, 0), (0x00FFFF, -65535), (0xFF0000, 65536), (0x010000, -65536), (0xFFEBFE, 5122)]
)
def test_an_axis_is_a_signed_number_of_24_bits_positive_to_the_left(bits: int, steer: int) -> None:
    assert driven((10, "Steer", bits), race_time_ms=10) == (Inputs(steer=steer),)


def test_dont_inverse_axis_turns_the_axis_round() -> None:
    assert driven((0, "_FakeDontInverseAxis", 1), (10, "Steer", 0xFFEBFE), race_time_ms=10) == (Inputs(steer=-5122),)


def test_keys_take_over_from_the_axis_and_back() -> None:
    inputs = driven((10, "Steer", 100), (20, "SteerLeft", 1), (30, "Steer", 300), race_time_ms=30)
    assert inputs == (Inputs(steer=-100), Inputs(left=True), Inputs(left=True, steer=-300))


@pytest.mark.parametrize(
    ("value", "pressed"),
    [(-19662, Inputs(accelerate=True)), (-19661, RELEASED), (19661, RELEASED), (19662, Inputs(brake=True))],
)
def test_the_gas_axis_counts_beyond_three_tenths(value: int, pressed: Inputs) -> None:
    assert driven((10, "Gas", value & 0xFFFFFF), race_time_ms=10) == (pressed,)


def test_a_pedal_of_its_own_counts_when_it_is_down() -> None:
    inputs = driven((10, "AccelerateReal", 0x10000), (20, "AccelerateReal", 0xFFFF), (20, "BrakeReal", 0x10000))
    assert inputs[:2] == (Inputs(accelerate=True), Inputs(brake=True))


def test_recordings_of_tminterface_run_ahead_and_are_set_back() -> None:
    inputs = driven(
        (65535, "_FakeIsRaceRunning", 1), (65545, "Accelerate", 1), (65555, "Accelerate", 0), race_time_ms=20
    )
    assert inputs == (Inputs(accelerate=True), RELEASED)


def test_respawns_are_told_apart_from_keys() -> None:
    ghost = one_ghost(events=((110, "Respawn", 1), (120, "Respawn", 0), (235, "Respawn", 1))).ghost
    assert ghost.respawn_times_ms == (100, 230)
    assert set(ghost.inputs) == {RELEASED}


def test_the_game_s_own_events_are_kept_in_the_list() -> None:
    ghost = one_ghost(events=((0, "_FakeIsRaceRunning", 1), (470, "_FakeFinishLine", 1))).ghost
    assert ghost.controls == (ControlEvent(-10, "_FakeIsRaceRunning", 1), ControlEvent(460, "_FakeFinishLine", 1))


def test_an_unfinished_race_lasts_as_long_as_its_inputs() -> None:
    ghost = one_ghost(race_time_ms=-1, checkpoint_times_ms=(), events=((10, "Accelerate", 1), (40, "Brake", 1))).ghost
    assert ghost.race_time_ms is None
    assert [inputs.brake for inputs in ghost.inputs] == [False, False, False, True]


def test_the_trace() -> None:
    samples = [encode.sample((1, 2, 3), 0), encode.sample((4, 5, 6), 20, heading=0.5, steer=-1)]
    trace = one_ghost(samples=encode.trace(samples)).ghost.samples
    assert trace.period_ms == 100
    assert trace.times_s.tolist() == [0.0, 0.1]
    assert trace.ticks.tolist() == [0, 9]
    assert trace.positions.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert trace.velocities[0] == pytest.approx((0, 0, 0), abs=1e-9)
    assert trace.velocities[1] == pytest.approx((0, 20, 0), abs=0.3)
    assert trace.rotations[1][:, 2] == pytest.approx((1, 0, 0), abs=1e-3)
    assert trace.forward_speeds_mps[1] == pytest.approx(20, abs=0.1)
    assert trace.rpm[1] == pytest.approx(4000, abs=1)
    assert (trace.steer[1], trace.gas[1], trace.brake[1]) == (-1, 1, 0)
    assert trace.wheel_materials.tolist() == [[16] * 4] * 2
    assert trace.wheel_absorb_m[1] == pytest.approx([0.008] * 4, abs=1e-3)


def test_a_trace_of_higher_resolution_uses_its_own_period() -> None:
    trace = one_ghost(samples=encode.trace(encode.straight_samples(), period_ms=10)).ghost.samples
    assert trace.times_s[:3].tolist() == [0.0, 0.01, 0.02]


def test_samples_of_several_sizes_and_with_times_of_their_own() -> None:
    samples = encode.straight_samples(3)
    samples[1] += b"\0\0\0"
    trace = one_ghost(samples=encode.trace(samples, times_ms=(0, 100, 250))).ghost.samples
    assert trace.times_s.tolist() == [0.0, 0.1, 0.25]
    assert trace.positions[:, 0].tolist() == [100, 103, 106]


@pytest.mark.parametrize(
    ("trace", "reason"),
    [
        (encode.u32(1 << 30, 3) + b"abc", "a trace of 1073741824 bytes"),
        (encode.u32(50, 3) + b"abc", "the trace is damaged"),
        (encode.u32(1) + encode.trace([])[4:], "the trace yields 2 bytes, 1 were promised"),
        (encode.trace([], version=7), "a trace of version 7"),
        (encode.trace([encode.sample((float("inf"), 0, 0), 1)]), "a position is not finite"),
        (encode.trace([b"short"]), "1 samples in 5 bytes"),
        (encode.trace(encode.straight_samples(), period_ms=0), "do not follow each other in time"),
        (encode.trace(encode.straight_samples(2), times_ms=(100, 0)), "do not follow each other in time"),
        (encode.trace(encode.straight_samples(3), times_ms=(0, 100)), "2 times for 3 samples"),
    ],
)
def test_a_bad_trace_is_refused(trace: bytes, reason: str) -> None:
    with pytest.raises(GbxError, match=reason):
        one_ghost(samples=trace)


def test_a_ghost_without_a_trace_says_so() -> None:
    with pytest.raises(GbxError, match="'a-login' carries no trace"):
        _ = one_ghost().ghost.samples


def test_an_endless_race_is_not_unrolled() -> None:
    with pytest.raises(GbxError, match="a race of 4000000000 ms"):
        _ = one_ghost(race_time_ms=4_000_000_000).ghost.inputs


def test_a_line_is_evenly_spaced_and_goes_on_past_the_finish() -> None:
    ghost = one_ghost(samples=encode.trace(encode.straight_samples(7)), race_time_ms=600).ghost
    line = line_from_ghost(ghost, spacing_m=0.5, beyond_finish_m=11.0)
    assert line[0] == pytest.approx((100, 9.36, 176))
    assert np.linalg.norm(np.diff(line, axis=0), axis=1) == pytest.approx(0.5)
    assert line[-1] == pytest.approx((100 + 18 + 11 - 0.5, 9.36, 176))


def test_a_line_reaches_the_finish_between_the_last_two_samples() -> None:
    ghost = one_ghost(samples=encode.trace(encode.straight_samples(7)), race_time_ms=550).ghost
    assert line_from_ghost(ghost, beyond_finish_m=2.25)[-1, 0] == pytest.approx(100 + 15 + 1.5 + 2)


def test_a_line_follows_a_bend_between_its_samples() -> None:
    radius, step = 50.0, 0.2
    samples = [encode.sample((radius * np.sin(step * i), 9, radius * np.cos(step * i)), 100) for i in range(9)]
    line = line_from_ghost(one_ghost(samples=encode.trace(samples), race_time_ms=800).ghost, beyond_finish_m=0.5)
    inside = line[20:-30]
    assert np.hypot(inside[:, 0], inside[:, 2]) == pytest.approx(radius, abs=0.05)


def test_a_line_leaves_out_what_a_respawn_undid() -> None:
    xs = [0, 10, 20, 35, 50, 15, 15, 25, 35]
    samples = [encode.sample((x, 9, 0), 10) for x in xs]
    ghost = one_ghost(
        samples=encode.trace(samples),
        race_time_ms=800,
        checkpoint_times_ms=(200, 800),
        events=((460, "Respawn", 1),),
    ).ghost
    assert (np.diff(line_from_ghost(ghost)[:, 0]) > 0).all()


def test_a_line_longer_than_any_race_is_refused() -> None:
    samples = [encode.sample((1e30 * i, 9.0, 0.0), 10) for i in range(7)]
    ghost = one_ghost(samples=encode.trace(samples), race_time_ms=600).ghost
    with pytest.raises(GbxError, match="no race is that long"):
        line_from_ghost(ghost)


def test_only_a_finished_race_makes_a_line() -> None:
    ghost = one_ghost(samples=encode.trace(encode.straight_samples()), race_time_ms=-1).ghost
    with pytest.raises(GbxError, match="did not finish"):
        line_from_ghost(ghost)


def test_a_car_that_stood_still_makes_no_line() -> None:
    ghost = one_ghost(samples=encode.trace(encode.straight_samples(5, metres=0.0)), race_time_ms=400).ghost
    with pytest.raises(GbxError, match="did not move"):
        line_from_ghost(ghost)


def test_gates_are_found_on_every_lap_and_not_on_the_road_above_them() -> None:
    angles = np.linspace(0, 4 * np.pi, 2001)
    line = np.stack((100 * np.cos(angles), np.zeros_like(angles), 100 * np.sin(angles)), axis=1)
    centres = np.array([(-100.0, -1.4, 0.0), (0.0, -2.0, 105.0), (0.0, 7.0, -100.0), (300.0, 0.0, 0.0)])
    passes = checkpoints_on_line(line, centres)
    assert [(one.gate, one.index) for one in passes] == [(1, 250), (0, 500), (1, 1250), (0, 1500)]
    assert passes[0].distance_m == pytest.approx(np.hypot(5, 2))


def test_the_report_of_a_replay(tmp_path: Path) -> None:
    path = tmp_path / "a.Replay.Gbx"
    path.write_bytes(encode.replay([encode.ghost(encode.Names())], embedded=encode.challenge()))
    report = json.loads(json.dumps(inspect(path)))
    assert report["kind"] == "replay"
    assert report["ghosts"][0]["race_time_ms"] == 470
    assert report["ghosts"][0]["events"][1] == {"time_ms": 0, "control": "Accelerate", "value": 1}
    assert report["map"]["plain_name"] == "Map $1"
    assert report["map"]["checkpoints"][0]["position"] == [240, 8, 176]
