"""``tmrl-ray game serve``, as whoever starts it in another process sees it."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from tmrl_ray.cli import run
from tmrl_ray.game.protocol import INT32, MessageType

START_S = 240
"""The first start compiles the simulator."""


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], Sequence[int]]]:
    """Run the command until the block ends; yields the process and its ports."""
    command = [sys.executable, "-m", "tmrl_ray.cli", "game", "serve", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            word, *ports = process.stdout.readline().split()
            assert word == "ready"
            yield process, [int(port) for port in ports]
        finally:
            process.kill()


def greeting(port: int) -> int:
    """Connect as a client does, and return the number of the game's first call."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        return int(INT32.unpack(client.recv(4, socket.MSG_WAITALL))[0])


@pytest.mark.timeout(START_S)
def test_games_accept_clients_once_ready_is_printed_and_end_when_told_to() -> None:
    with serving("--track", "loop", "--port", "0", "--instances", "2") as (process, ports):
        assert len(set(ports)) == 2
        assert [greeting(port) for port in ports] == [MessageType.ON_CONNECT_SYNC] * 2
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        assert process.stdout is not None and process.stdout.read() == ""


@pytest.mark.timeout(START_S)
def test_an_interrupt_ends_it_as_shells_expect() -> None:
    with serving("--track", "loop", "--port", "0") as (process, _):
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
        assert process.stderr is not None and "Traceback" not in process.stderr.read()


def test_a_port_that_is_taken_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        assert run(["game", "serve", "--track", "loop", "--port", str(port)]) == 2
    error = capsys.readouterr().err
    assert f"cannot listen on 127.0.0.1:{port}" in error
    assert "tmrl-ray doctor" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--track", "nowhere"], "there is no track 'nowhere'"),
        (["--track", "loop", "--fault", "explode@3"], "'explode@3' is no fault"),
        (["--track", "loop", "--instances", "0"], "0 is not in the range"),
    ],
)
def test_wrong_input_is_refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["game", "serve", "--port", "0", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
