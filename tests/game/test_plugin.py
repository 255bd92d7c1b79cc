"""What can be known of the plugin without the game: that it says what the protocol says."""

import re
from pathlib import Path

import pytest

import tmrl_ray.game
from tmrl_ray.game import protocol
from tmrl_ray.game.protocol import LENGTH_PREFIXED, PAYLOADS, SYNC_CALLS, MessageType

PLUGIN = Path(tmrl_ray.game.__file__).parent / "plugin" / "TmrlRay.as"
SOURCE = PLUGIN.read_text(encoding="utf-8")
CODE = re.sub(r"//[^\n]*", "", SOURCE)


def function(name):
    """The body of a function of the plugin."""
    start = re.search(rf"^\w[\w@:]* {name}\([^\n]*\) \{{$", CODE, re.MULTILINE)
    assert start, f"no function {name}"
    return CODE[start.end() : CODE.index("\n}\n", start.end())]


def cases(body):
    """{message: statements of its case} of the switch in a body; cases that fall through share theirs."""
    found, waiting = {}, []
    for name, statements in re.findall(
        r"case MessageType::(\w+):(.*?)(?=case MessageType|default:|\Z)", body, re.DOTALL
    ):
        waiting.append(name)
        if statements.strip():
            found.update(dict.fromkeys(waiting, statements))
            waiting = []
    return found


def test_the_messages_have_the_numbers_of_the_protocol():
    body = re.search(r"enum MessageType \{(.*?)\}", CODE, re.DOTALL)[1]
    numbers = {name: int(number) for name, number in re.findall(r"(\w+) = (\d+)", body)}
    assert numbers == {message.name: message.value for message in MessageType}


@pytest.mark.parametrize("name", ["DEFAULT_PORT", "DEFAULT_TIMEOUT_MS", "MAX_STEER", "STEER_PROBE"])
def test_constants_are_those_of_the_protocol(name):
    value = re.search(rf"\b{name} = (\w+);", CODE)[1]
    assert int(value, 0) == getattr(protocol, name)


def test_every_message_from_a_client_is_handled():
    handled = cases(function("Handle"))
    assert set(handled) == {message.name for message in MessageType if message not in SYNC_CALLS}
    assert "default:" in function("Handle")


def test_payloads_are_awaited_with_their_lengths():
    awaited = {
        name: int(re.search(r"return (\d+);", code)[1]) for name, code in cases(function("PayloadBytes")).items()
    }
    expected = {
        message.name: 4 if message in LENGTH_PREFIXED else PAYLOADS[message].size
        for message in MessageType
        if message not in SYNC_CALLS and (message in LENGTH_PREFIXED or PAYLOADS[message].size)
    }
    assert awaited == expected


READS = {"i": "ReadInt32", "f": "ReadFloat", "I": "ReadUint32", "4B": "ReadUint8"}


@pytest.mark.parametrize("message", [m for m in MessageType if m not in SYNC_CALLS and m not in LENGTH_PREFIXED])
def test_payloads_are_read_as_the_protocol_writes_them(message):
    code = cases(function("Handle"))[message.name]
    if "SetInputs" in code:
        code = function("SetInputs")
    reads = re.findall(r"client\.(Read\w+)\(", code)
    form = PAYLOADS[message].format.removeprefix("<")
    expected = ["ReadUint8"] * 4 if form == "4B" else [READS[letter] for letter in form]
    assert reads == expected


def test_calls_are_written_as_the_protocol_reads_them():
    for name in ("OnRunStep", "Announce", "Render"):
        assert "WaitForAnswer(" in function(name)
    assert len(re.findall(r"client\.Write\(", function("OnRunStep"))) == 2
    assert len(re.findall(r"client\.Write\(", function("Announce"))) == 3
    called = set(re.findall(r"(?:Write\(int\(|Announce\()MessageType::(\w+_SYNC)", CODE))
    assert called == {message.name for message in SYNC_CALLS}


def test_a_game_goes_on_without_the_client_that_paused_it():
    assert re.search(r"if \(@client !is null\) \{\s*GetSimulationManager\(\)\.SetSpeed\(1\);", function("DropClient"))


def test_pictures_without_pixels_are_refused():
    code = cases(function("Handle"))["REQUEST_FRAME"]
    refused = re.search(r"if \(frameWidth <= 0 \|\| frameHeight <= 0\) \{(.*?)\}", code, re.DOTALL)[1]
    assert "frameWidth = 0;" in refused and "frameHeight = 0;" in refused
    assert "frameWidth > 0" in function("Render")


# fmt: off
DOCUMENTED = {
    "Accept", "CaptureScreenshot", "ExecuteCommand", "FindFirst", "GetCurrentGameState", "GetSimulationManager",
    "GetVariableDouble", "GiveUp", "Listen", "PreventSimulationFinish", "Process", "ReadBytes", "ReadFloat",
    "ReadInt32", "ReadString", "ReadUint32", "ReadUint8", "RegisterCustomCommand", "RegisterVariable", "ResetCamera",
    "RewindToState", "SaveState", "SetInputState", "SetSpeed", "Socket", "ToArray", "ToCommandsText",
    "ToggleRaceInterface", "Write", "get_InputEvents", "log",
}
"""The part of TMInterface 2.1's scripting interface that the plugin calls."""
LANGUAGE = {"if", "while", "switch", "return", "int", "uint", "uint16", "size", "state"}
"""Statements, conversions, and the two variables that are declared with a constructor."""
# fmt: on


def test_only_functions_of_the_documented_interface_are_called():
    own = set(re.findall(r"^(?:bool|void|uint|PluginInfo@) (\w+)\(", CODE, re.MULTILINE))
    called = set(re.findall(r"(\w+)\(", re.sub(r'"[^"]*"', "", CODE)))
    assert called - DOCUMENTED - LANGUAGE - own == set()


def test_braces_and_parentheses_are_balanced():
    text = re.sub(r'"[^"]*"', "", CODE)
    for opening, closing in ("{}", "()", "[]"):
        assert text.count(opening) == text.count(closing)


def test_install_instructions_name_the_file_and_the_port():
    readme = (PLUGIN.parent / "README.md").read_text(encoding="utf-8")
    assert PLUGIN.name in readme and str(protocol.DEFAULT_PORT) in readme and "game check" in readme
