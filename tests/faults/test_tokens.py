"""A cluster that wants a token: who has none, or another one, is told so within seconds, and the token stays secret."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.ray

PATIENCE_S = 60.0
JOIN = """
import sys, time
from tmrl_ray.cluster_access import join_cluster
from tmrl_ray.errors import ClusterError
began_s = time.monotonic()
try:
    join_cluster(sys.argv[1], log_to_driver=False)
except ClusterError as error:
    print(time.monotonic() - began_s, error)
else:
    print("joined")
"""
OLD_PYTHON = 'import ray._private.utils as u; u.compute_version_info = lambda: (ray.__version__, "3.9.1")'
OLD_RAY = 'ray.__version__ = "2.1.0"'


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
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    """A head node, as ``ray start`` makes one."""
    directory, token, port = tempfile.mkdtemp(prefix="r"), secrets.token_hex(32), free_port()
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", f"--port={port}", "--num-cpus=1"]
    options = ["--include-dashboard=false", "--object-store-memory=80000000", f"--temp-dir={directory}"]
    variables = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token, "RAY_USAGE_STATS_ENABLED": "0"}
    head = subprocess.Popen([*command, *options], env=environment(**variables), stdout=subprocess.PIPE, text=True)
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


def join(guarded: Guarded, home: Path, *, first: str = "", address: str = "", **variables: str) -> str:
    """Return what a process says that joins the cluster, having done something ``first``."""
    joined = subprocess.run(
        [sys.executable, "-c", f"import ray\n{first}\n{JOIN}", address or guarded.address],
        env=environment(HOME=str(home), **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    for token in {guarded.token, variables.get("RAY_AUTH_TOKEN", guarded.token)}:
        assert token not in joined.stdout + joined.stderr
    return joined.stdout


def test_row_37_no_token_and_wrong_tokens_are_refused_in_time(guarded: Guarded, tmp_path: Path) -> None:
    """No token, or a wrong one."""
    wrong = secrets.token_hex(32)
    refusals = {
        "no token was given": join(guarded, tmp_path),
        "none is there": join(guarded, tmp_path, RAY_AUTH_MODE="token"),
        "a wrong one": join(guarded, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=wrong),
        "switched off": join(guarded, tmp_path, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN=guarded.token),
    }
    for said in refusals.values():
        assert float(said.split()[0]) < 5.0
        assert "token" in said.splitlines()[0]
        assert "auth_token" in said and "RAY_AUTH_MODE=token" in said
    assert join(guarded, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=guarded.token) == "joined\n"
    logged = [path for path in guarded.logs.rglob("*") if path.is_file() and not path.is_symlink()]
    assert any(path.name.startswith("gcs_server") for path in logged)
    spoken = [path for path in logged for each in (guarded.token, wrong) if each.encode() in path.read_bytes()]
    assert spoken == []


@pytest.mark.parametrize("first", [OLD_PYTHON, OLD_RAY])
def test_other_versions_are_named_with_those_of_the_cluster(guarded: Guarded, tmp_path: Path, first: str) -> None:
    said = join(guarded, tmp_path, first=first, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=guarded.token)
    assert ("3.9.1" if first is OLD_PYTHON else "2.1.0") in said
    assert "All machines need the same" in said


def test_an_address_where_nothing_answers_is_said_to_be_one(guarded: Guarded, tmp_path: Path) -> None:
    said = join(guarded, tmp_path, address=f"127.0.0.1:{free_port()}")
    assert float(said.split()[0]) < 5.0
    assert "no Ray cluster answers" in said and "ray status" in said
    assert "is no address of a Ray cluster" in join(guarded, tmp_path, address="nonsense")
