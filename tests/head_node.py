"""The head node of a cluster that wants a token, as ``ray start`` makes one, for tests that join it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

PATIENCE_S = 60.0


class Guarded(NamedTuple):
    """A cluster with a token."""

    address: str
    token: str
    logs: Path


def environment(**variables: str) -> dict[str, str]:
    """The variables of a process that knows of no cluster and no token but what it is given."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return {**kept, **variables}


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def head_node(*options: str) -> Iterator[Guarded]:
    """Start a head node with options of ``ray start``, and end it again."""
    directory, token, port = tempfile.mkdtemp(prefix="r"), secrets.token_hex(32), free_port()
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--port={port}"]
    fixed = ["--include-dashboard=false", "--object-store-memory=80000000", f"--temp-dir={directory}"]
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen(
        [*command, *fixed, *options], env=environment(**variables), stdout=subprocess.PIPE, text=True
    )
    assert head.stdout is not None
    try:
        said = ""
        while "--block" not in said:
            assert (line := head.stdout.readline()), f"the head node ended: {said}"
            said += line
        assert token not in said
        yield Guarded(f"127.0.0.1:{port}", token, Path(directory))
    finally:
        head.terminate()
        head.wait(PATIENCE_S)
        head.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)
