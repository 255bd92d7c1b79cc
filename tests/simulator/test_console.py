"""The console's commands, as public clients write them."""

from __future__ import annotations

import pytest

from tmrl_ray.simulator.console import (
    Command,
    EndRace,
    Ignored,
    LoadMap,
    LoadScript,
    PressKey,
    Rejected,
    SetCamera,
    SetSpeed,
    SetVariable,
    Teleport,
    UnloadScript,
    parse_commands,
    track_name,
)


@pytest.mark.parametrize(
    ("text", "command"),
    [
        ("map hairpin", LoadMap("hairpin")),
        ('map "My Challenges/ESL-Hockolicious.Challenge.Gbx"', LoadMap("ESL-Hockolicious")),
        ("map My Challenges\\A01-Race.challenge.gbx", LoadMap("A01-Race")),
        ('map "a; b.Challenge.Gbx"', LoadMap("a; b")),
        ("map tracks/mine.yaml", LoadMap("tracks/mine.yaml")),
        ("map é.Challenge.Gbx", LoadMap("é")),
        ("MAP  hairpin ", LoadMap("hairpin")),
        ("cam 3", SetCamera(3)),
        ("set speed 2.5", SetSpeed(2.5)),
        ("set countdown_speed 8", SetVariable("countdown_speed", "8")),
        ('set scripts_folder "C:\\My Scripts"', SetVariable("scripts_folder", "C:\\My Scripts")),
        ("set autologin some name", SetVariable("autologin", "some name")),
        ("press delete", PressKey("delete", True)),
        ("press enter", PressKey("enter", True)),
        ("rel up", PressKey("up", False)),
        ("load best run.txt", LoadScript("best run.txt")),
        ("unload", UnloadScript()),
        ("finish", EndRace()),
        ("tp 10 -2.5 1e2", Teleport((10.0, -2.5, 100.0))),
        ("toggle_console", Ignored("toggle_console")),
        ("add_trigger 1 2 3 4 5 6", Ignored("add_trigger")),
        ("replay", Ignored("replay")),
    ],
)
def test_a_command_is_understood(text: str, command: Command):
    assert list(parse_commands(text)) == [command]


@pytest.mark.parametrize(
    "text",
    ["map", 'map ""', "cam", "cam 4", "cam two", "set speed", "set speed -1", "set speed nan", "set speed fast"]
    + [
        "set x",
        "press",
        "press space",
        "tp 1 2",
        "tp 1 2 inf",
        "load",
        "fly",
        "\0\1\2",
        "'",
        "map a\0.yaml",
        "load \x7f",
    ],
)
def test_what_is_no_command_is_rejected_with_a_reason(text: str):
    (command,) = parse_commands(text)
    assert isinstance(command, Rejected)
    assert command.reason


def test_several_commands_are_parted_by_semicolons_and_lines():
    text = "set custom_port 8478; set skip_map_load_screens true;toggle_console;\n\n cam 2\r\n;;"
    assert list(parse_commands(text)) == [
        SetVariable("custom_port", "8478"),
        SetVariable("skip_map_load_screens", "true"),
        Ignored("toggle_console"),
        SetCamera(2),
    ]


@pytest.mark.parametrize(
    ("path", "name"),
    [("a/b/c.Challenge.Gbx", "c"), ("a\\c.CHALLENGE.GBX", "c"), ("c", "c"), ("x.y", "x.y"), ("d/t.yml", "d/t.yml")],
)
def test_a_track_has_the_name_of_the_map_file(path: str, name: str):
    assert track_name(path) == name
