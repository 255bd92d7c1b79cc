from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmrl_ray.errors import ScriptError
from tmrl_ray.game.inputs import RELEASED, Inputs
from tmrl_ray.game.scripts import EVENT_KEYS, Command, KeyPress, Timeline, format_script, parse_script, read_script

GAS = Inputs(accelerate=True)
KEYS = ("up", "down", "left", "right")


def test_the_example_of_the_documentation():
    timeline = parse_script(
        """# This is a script
0 speed 5
0 press up
1200-3000 press left
3000 press down
3010 rel down
5110 steer 20000 # slightly steer to the right
6230 steer 0
8000 speed 1
"""
    )
    assert timeline.changes == (
        (0, GAS),
        (1200, Inputs(left=True, accelerate=True)),
        (3000, Inputs(accelerate=True, brake=True)),
        (3010, GAS),
        (5110, Inputs(accelerate=True, steer=20000)),
        (6230, Inputs(accelerate=True, steer=0)),
    )
    assert timeline.commands == (Command(0, "speed 5"), Command(8000, "speed 1"))
    assert timeline.end_ms == 6230


@pytest.mark.parametrize(
    ("text", "time_ms"),
    [
        ("9.43", 9430),
        ("9430", 9430),
        ("9.4", 9400),
        ("9.430", 9430),
        ("0.0", 0),
        ("0", 0),
        ("1:09.43", 69430),
        ("1:09", 69000),
        ("1:00:00.01", 3600010),
        ("0.29", 290),  # 0.29 * 1000 is 289.99999999999997
        ("4.35", 4350),
    ],
)
def test_times_are_exact(text, time_ms):
    assert parse_script(f"{text} press up").changes == ((time_ms, GAS),)


def test_a_range_is_a_press_and_a_release_or_a_turn_and_a_zero():
    assert parse_script("2.00-3.00 press up") == parse_script("2.00 press up\n3.00 rel up")
    assert parse_script("4890-5130 steer -300") == parse_script("4890 steer -300\n5130 steer 0")


def test_the_order_of_lines_counts_only_at_the_same_time():
    assert parse_script("2.34 press up\n9.23 press enter") == parse_script("9.23 press enter\n2.34 press up")
    assert parse_script("4.32 steer 65536\n4.32 steer 0").at(4320).steer == 0
    assert parse_script("4.32 steer 0\n4.32 steer 65536").at(4320).steer == 65536
    assert parse_script("0-1.0 press up\n1.0-2.0 press up").changes == (
        (0, GAS),
        (2000, RELEASED),
    )


def test_statements_may_share_a_line_and_lines_may_be_empty():
    timeline = parse_script("\ufeff\r\n0 press up; 0.50 rel up ;; # end\r\n\r\n   \n")
    assert timeline.changes == ((0, GAS), (500, RELEASED))


def test_gas_presses_from_its_threshold_on():
    timeline = parse_script(
        "0 gas -19661\n0.1 gas -19660\n0.2 gas 19661\n0.3 gas 0\n0.4 press up\n0.5 gas -65536\n0.6 rel up"
    )
    assert timeline.changes == (
        (0, GAS),
        (100, RELEASED),
        (200, Inputs(brake=True)),
        (300, RELEASED),
        (400, GAS),
    )


def test_the_later_of_keys_and_wheel_steers():
    timeline = parse_script("0 press left\n0.1 steer 7\n0.2 press right\n0.3 steer 8\n0.3 rel left")
    assert timeline.changes == (
        (0, Inputs(left=True)),
        (100, Inputs(left=True, steer=7)),
        (200, Inputs(left=True, right=True)),
        (300, Inputs(right=True)),
    )


def test_respawns_and_the_horn_are_events():
    timeline = parse_script("1.0 press enter\n1.1 rel enter\n0.5-0.6 press horn\n2.0 press delete")
    assert timeline.presses == (KeyPress(500, "horn"), KeyPress(1000, "enter"), KeyPress(2000, "delete"))
    assert timeline.changes == () and timeline.end_ms == 2000


def test_commands_are_kept_in_their_place():
    text = "set speed 10\nbind 0 set execute_commands false; set speed 1\n0.00 set speed 30 # fast\n56.34 set speed 1"
    commands = parse_script(text).commands
    assert commands == (
        Command(None, "set speed 10"),
        Command(None, "bind 0 set execute_commands false; set speed 1"),
        Command(0, "set speed 30"),
        Command(56340, "set speed 1"),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0 press up\n9.435 press up", "line 2, '9.435 press up': '9.435' is not on a tick"),
        ("9433 press up", "'9433' is not on a tick"),
        ("9 press up", "'9' is not on a tick"),
        ("1.2.3 press up", "'1.2.3' is no time"),
        ("1-2-3 press up", "'1-2-3' is no time"),
        ("0 pres up", "no action 'pres'"),
        ("0 press upp", "no key 'upp'"),
        ("0 press", "an input is a time, an action and one value"),
        ("0 press up down", "an input is a time, an action and one value"),
        ("0 steer left", "steer is a whole number, not 'left'"),
        ("0 steer 65537", "steer is 65537, beyond -65536 to 65536"),
        ("0 gas -70000", "gas is -70000"),
        ("2.0-1.0 press up", "the range ends before it starts"),
        ("1.0-2.0 rel up", "a release has one time"),
        ("1.0-2.0 set speed 2", "a command has one time"),
        ("hello", "line 1, 'hello': no command 'hello'"),
        ("-100 press up", "no command '-100'"),
        ("0 press up # fine\n\n0 go # not", "line 3, '0 go # not'"),
    ],
)
def test_errors_name_line_and_text(text, words):
    with pytest.raises(ScriptError) as caught:
        parse_script(text)
    assert words in str(caught.value)


def test_a_script_is_written_with_one_line_a_range():
    held = [GAS] * 3 + [GAS._replace(left=True)] * 2 + [RELEASED] + [Inputs(brake=True)]
    script = format_script(Timeline.of(held, period_ms=50))
    assert script == "0.00-0.25 press up\n0.15-0.25 press left\n0.30 press down\n"


def test_decisions_become_ticks():
    timeline = Timeline.of([GAS, RELEASED, Inputs(right=True)], period_ms=50)
    assert timeline.ticks(150) == [GAS] * 5 + [RELEASED] * 5 + [Inputs(right=True)] * 5
    assert timeline.ticks(110, start_ms=90) == [RELEASED, Inputs(right=True)]
    assert Timeline.of([GAS], start_ms=70).at(60) == RELEASED


@pytest.mark.parametrize(("period_ms", "start_ms"), [(0, 0), (15, 0), (10, -10), (10, 5)])
def test_inputs_off_the_ticks_are_refused(period_ms, start_ms):
    with pytest.raises(ScriptError, match="multiples of 10"):
        Timeline.of([GAS], period_ms, start_ms)


def test_a_time_that_no_script_can_hold_is_refused():
    with pytest.raises(ScriptError, match="-50 ms"):
        format_script(Timeline(((-50, GAS),)))


inputs = st.builds(
    Inputs,
    left=st.booleans(),
    right=st.booleans(),
    accelerate=st.booleans(),
    brake=st.booleans(),
    steer=st.none() | st.integers(-65536, 65536),
)
few_inputs = st.builds(
    Inputs, left=st.booleans(), right=st.just(False), accelerate=st.booleans(), steer=st.sampled_from([None, 0, 7])
)
times = st.integers(0, 7000).map(lambda tick: tick * 10)


@given(st.lists(inputs | few_inputs, max_size=23))
def test_any_inputs_per_tick_survive_a_script(held):
    timeline = Timeline.of(held)
    again = parse_script(format_script(timeline))
    assert again == timeline
    assert again.ticks(10 * len(held)) == held


@given(
    st.lists(few_inputs, max_size=11),
    st.lists(st.builds(KeyPress, times, st.sampled_from(EVENT_KEYS)), max_size=3),
    st.lists(st.builds(Command, times, st.sampled_from(["set speed 3", "cam 2"])), max_size=3),
)
def test_presses_and_commands_survive_a_script(held, presses, commands):
    ordered = tuple(sorted(presses, key=lambda press: press.time_ms))
    timeline = Timeline(Timeline.of(held).changes, ordered, tuple(sorted(commands, key=lambda c: c.time_ms)))
    assert parse_script(format_script(timeline)) == timeline


statements = st.one_of(
    st.tuples(times, st.none() | times, st.just("press"), st.sampled_from(KEYS)),
    st.tuples(times, st.none(), st.just("rel"), st.sampled_from(KEYS)),
    st.tuples(times, st.none() | times, st.sampled_from(["steer", "gas"]), st.integers(-65536, 65536)),
)


@given(st.lists(statements, max_size=13), st.booleans())
def test_any_script_means_the_same_after_it_was_rewritten(lines, in_seconds):
    def clock(time_ms):
        return f"{time_ms / 1000:.2f}" if in_seconds else str(time_ms)

    text = ""
    for start, end, action, value in lines:
        span = clock(start) if end is None else f"{clock(min(start, end))}-{clock(max(start, end))}"
        text += f"{span} {action} {value}\n"
    timeline = parse_script(text)
    assert parse_script(format_script(timeline)) == timeline


def test_a_file_is_read_and_named_in_errors(tmp_path: Path):
    path = tmp_path / "race.txt"
    path.write_text("0 press up")
    assert read_script(path).changes == ((0, GAS),)
    path.write_text("0 press fly")
    with pytest.raises(ScriptError, match=r"race\.txt: line 1, '0 press fly'"):
        read_script(path)
    path.write_bytes(b"\x00\xfa\xff")
    with pytest.raises(ScriptError, match=r"race\.txt: no script"):
        read_script(path)
    with pytest.raises(ScriptError, match=r"gone\.txt: cannot be read"):
        read_script(tmp_path / "gone.txt")
