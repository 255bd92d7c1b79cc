"""The script that makes nodes, run on this machine: a head and a node that joins it, and nobody without a token."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.faults.test_tokens import PATIENCE_S, environment, free_port

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SCRIPT = Path(__file__).parents[2] / "deploy" / "node.sh"
COUNT = """
import sys, ray
from tmrl_ray.cluster_access import join_cluster
join_cluster(sys.argv[1], log_to_driver=False, logging_level="error")
print(sorted(int(node["Resources"]["game"]) for node in ray.nodes() if node["Alive"]))
"""


class Nodes(NamedTuple):
    """A head and a node, started by the script."""

    address: str
    home: Path
    said: list[str]


def variables(home: Path, **more: object) -> dict[str, str]:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return environment(HOME=str(home), PATH=path, **{name: str(value) for name, value in more.items()})


def start(stack: ExitStack, said: list[str], arguments: list[str], env: dict[str, str]) -> None:
    """Start a node, wait until it is up, and end it when the stack does."""
    options = ["--block", "--num-cpus=1"]
    node = subprocess.Popen(["bash", SCRIPT, *arguments, *options], env=env, stdout=subprocess.PIPE, text=True)
    assert node.stdout is not None
    stack.callback(node.stdout.close)
    stack.callback(node.wait, PATIENCE_S)
    stack.callback(node.terminate)
    while True:
        line = node.stdout.readline()
        assert line, f"the node ended: {said}"
        said.append(line)
        if "--block" in line:
            return


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    home, directory, said = tmp_path_factory.mktemp("home"), tempfile.mkdtemp(prefix="r"), []
    port = free_port()
    port -= port % 64 + 10_000 if port > 50_000 else port % 64  # worker ports lie 4000 above
    memory = {"OBJECT_STORE_BYTES": 80_000_000}
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        head = ["head", "1", "--include-dashboard=false", f"--temp-dir={directory}"]
        start(stack, said, head, variables(home, FIRST_PORT=port, **memory))
        second = variables(home, FIRST_PORT=port + 16, HEAD_PORT=port, **memory)
        start(stack, said, ["join", "127.0.0.1", "5"], second)
        yield Nodes(f"127.0.0.1:{port}", home, said)


def test_two_nodes_make_a_cluster_with_their_games(nodes: Nodes) -> None:
    command = [sys.executable, "-c", COUNT, nodes.address]
    env = variables(nodes.home, RAY_AUTH_MODE="token")
    counted = subprocess.run(command, env=env, capture_output=True, text=True, timeout=PATIENCE_S)
    assert counted.stdout.splitlines()[-1:] == ["[1, 5]"], counted.stderr


def test_the_token_is_made_once_and_for_its_owner_only(nodes: Nodes) -> None:
    path = nodes.home / ".ray" / "auth_token"
    token = path.read_text()
    assert len(token) >= 32
    assert path.stat().st_mode & 0o077 == 0
    assert token not in "".join(nodes.said)


@pytest.mark.parametrize("arguments", [[], ["head"], ["head", "many"], ["join", "127.0.0.1"], ["leave"]])
def test_whoever_says_nothing_useful_is_told_how_it_is_used(arguments: list[str], tmp_path: Path) -> None:
    told = subprocess.run(["bash", SCRIPT, *arguments], env=variables(tmp_path), capture_output=True, text=True)
    assert told.returncode == 2
    assert "deploy/node.sh head GAMES" in told.stderr


def test_nobody_joins_without_a_token(tmp_path: Path) -> None:
    command = ["bash", SCRIPT, "join", "127.0.0.1", "1"]
    told = subprocess.run(command, env=variables(tmp_path), capture_output=True, text=True)
    assert told.returncode == 2
    assert "There is no token" in told.stderr and not (tmp_path / ".ray").exists()
