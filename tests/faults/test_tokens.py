"""A cluster that wants a token: who has none, or another one, is told so within seconds, and the token stays secret."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.conftest import Recovery
from tests.head_node import PATIENCE_S, Guarded, environment, free_port, head_node

pytestmark = pytest.mark.ray

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


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    with head_node("--num-cpus=1") as guarded:
        yield guarded


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


def test_row_37_no_token_and_wrong_tokens_are_refused_in_time(
    guarded: Guarded, tmp_path: Path, recovery: Recovery
) -> None:
    """No token, or a wrong one: refused with what to do, and the token is in no log; 5 s."""
    wrong = secrets.token_hex(32)
    refusals = {
        "no token was given": join(guarded, tmp_path),
        "none is there": join(guarded, tmp_path, RAY_AUTH_MODE="token"),
        "a wrong one": join(guarded, tmp_path, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=wrong),
        "switched off": join(guarded, tmp_path, RAY_AUTH_MODE="disabled", RAY_AUTH_TOKEN=guarded.token),
    }
    for said in refusals.values():
        recovery.took(float(said.split()[0]))
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
