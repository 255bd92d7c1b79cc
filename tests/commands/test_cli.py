"""How every command is called, helps, fails and ends."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from tests.commands.parsing import leaf_commands, parse_only
from tmrl_ray import cli
from tmrl_ray.commands.command import ExampleCommand
from tmrl_ray.errors import ConfigError, GameUnavailableError, TmrlError

EVERY = dict(leaf_commands())


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A command that raises what it is told to."""

    class Failing:
        error: BaseException = TmrlError("set me")

    @click.command()
    def fail() -> None:
        raise Failing.error

    monkeypatch.setattr(cli.cli, "get_command", lambda ctx, name: fail if name == "fail" else None)
    yield Failing


@pytest.mark.parametrize("name", EVERY)
def test_every_command_has_help_and_examples_that_parse(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = EVERY[name]
    assert isinstance(command, ExampleCommand)
    assert command.examples
    for example in command.examples:
        words = shlex.split(example)
        assert " ".join(words).startswith(name)
        parse_only(words)
    assert cli.run([*name.split(), "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"tmrl-ray {example}\n" in shown for example in command.examples)
    assert command.help
    assert len(command.get_short_help_str(limit=1000)) <= 62, "the first sentence is cut off in the list of commands"


@pytest.mark.parametrize(
    ("error", "status", "shown"),
    [
        (ConfigError("camera = 4", hint="Use 1, 2 or 3."), 2, "error: camera = 4\nhint: Use 1, 2 or 3.\n"),
        (GameUnavailableError("nothing answers"), 1, "error: nothing answers\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (click.UsageError("no such thing"), 2, "Usage: tmrl-ray fail [OPTIONS]\n"),
    ],
)  # fmt: skip
def test_an_error_is_one_message_and_a_status(
    failing: type, error: BaseException, status: int, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    failing.error = error
    assert cli.run(["fail"]) == status
    out, err = capsys.readouterr()
    assert out == ""
    assert err.lstrip().startswith(shown)
    assert "Traceback" not in err


def test_debug_shows_the_traceback(failing: type, capsys: pytest.CaptureFixture[str]) -> None:
    failing.error = ConfigError("wrong")
    assert cli.run(["--debug", "fail"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_not_hidden(failing: type) -> None:
    failing.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cli.run(["fail"])


def test_an_unknown_command_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["nonsense"]) == 2
    assert "nonsense" in capsys.readouterr().err


def test_no_arguments_show_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 2
    assert "Commands:" in capsys.readouterr().err


def test_the_version_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == "tmrl-ray, version 0.1.0\n"


def test_a_reader_that_leaves_is_no_error_to_look_at() -> None:
    shell = f"{sys.executable} -m tmrl_ray.cli config explain | head -n 1"
    result = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, check=True)
    assert result.stdout == "game.decision_period_ms\n"
    assert result.stderr == ""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_ends_without_a_traceback() -> None:
    code = "import sys, time, click, tmrl_ray.cli as c\n"
    code += "c.cli.get_command = lambda ctx, name: click.Command('wait', callback=lambda: (print('up', flush=True), "
    code += "time.sleep(60)))\nsys.exit(c.run(['wait']))"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "up\n"
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert time.monotonic() - start < 10
    assert err.strip() == "interrupted"


def test_a_file_that_cannot_be_written_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    def write() -> None:
        (tmp_path / "absent" / "sheet.png").write_bytes(b"")

    monkeypatch.setattr(cli.cli, "get_command", lambda ctx, name: click.Command("write", callback=write))
    assert cli.run(["write"]) == 1
    assert f"{tmp_path / 'absent' / 'sheet.png'}: No such file or directory" in capsys.readouterr().err
