"""The files that make a cluster: Ray takes them, they ask for a token, and their versions are those of the tests."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.metrics import Kind

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
LAUNCHER = ("own_machines.yaml", "aws.yaml")
GIB = 2**30


def pinned(name: str) -> str:
    """The version of a package that the tests run with."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(f"{name}=="))


def commands(config: dict[str, Any]) -> list[str]:
    return [command for key, value in config.items() if key.endswith("commands") for command in value]


@pytest.mark.ray
@pytest.mark.parametrize("name", LAUNCHER)
def test_ray_takes_the_files_of_its_launcher(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    given = yaml.safe_load((DEPLOY / name).read_text())
    config = prepare_config(given)
    validate_config(config)
    workers = config["provider"].get("worker_ips")
    kinds = config["available_node_types"].values()
    assert workers is None or [(kind["min_workers"], kind["max_workers"]) for kind in kinds] == [(2, len(workers))]
    for command in commands(config):
        assert "nightly" not in command and "ray-wheels" not in command and "0.0.0.0" not in command
    starts = [command for command in commands(config) if "ray start" in command or "node.sh" in command]
    assert len(starts) == 2 and all("deploy/node.sh" in command for command in starts)
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"


def test_what_the_autoscaler_reckons_with_is_what_nodes_start_with() -> None:
    config = yaml.safe_load((DEPLOY / "aws.yaml").read_text())
    games = {kind: node["resources"]["game"] for kind, node in config["available_node_types"].items()}
    head, worker = config["head_start_ray_commands"][-1], config["worker_start_ray_commands"][-1]
    assert f"node.sh head {games['learner']} " in head
    assert worker.endswith(f"node.sh join $RAY_HEAD_IP {games['collectors']}")
    assert re.search(r"boto3==\d", config["setup_commands"][0])


def test_everything_has_the_versions_of_the_tests() -> None:
    dockerfile, install = (DEPLOY / "Dockerfile").read_text(), (DEPLOY / "install.sh").read_text()
    python = re.search(r"^FROM python:([\d.]+)-", dockerfile, re.MULTILINE)
    assert python is not None and f"--python {python[1]} " in install
    assert dockerfile.count("-c constraints.txt") == dockerfile.count("pip install") and "-c constraints.txt" in install
    assert cluster()["spec"]["rayVersion"] == pinned("ray")


def cluster() -> dict[str, Any]:
    """The manifest for KubeRay."""
    manifests = list(yaml.safe_load_all((DEPLOY / "kuberay.yaml").read_text()))
    assert [each["kind"] for each in manifests] == ["RayCluster", "PersistentVolumeClaim"]
    found: dict[str, Any] = manifests[0]
    return found


def test_the_manifest_has_what_kuberay_asks_for() -> None:
    """Its shape only, by the reference of the custom resource; the schema itself is not at hand."""
    manifest = cluster()
    spec = manifest["spec"]
    assert manifest["apiVersion"] == "ray.io/v1"
    assert spec["authOptions"] == {"mode": "token"}
    assert spec.keys() <= {"rayVersion", "authOptions", "headGroupSpec", "workerGroupSpecs"}
    (workers,) = spec["workerGroupSpecs"]
    assert workers.keys() == {"groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template"}
    assert workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    for group in (spec["headGroupSpec"], workers):
        started, pod = group["rayStartParams"], group["template"]["spec"]
        assert all(isinstance(value, str) for value in started.values())
        assert json.loads(json.loads(started["resources"].strip("'")))["game"] >= 1
        (container,) = pod["containers"]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        assert {mount["name"] for mount in container["volumeMounts"]} == volumes.keys()
        memory = volumes["shm"]["emptyDir"]
        assert memory["medium"] == "Memory"
        assert int(memory["sizeLimit"].removesuffix("Gi")) * GIB >= 2 * int(started["object-store-memory"])
    assert spec["headGroupSpec"]["rayStartParams"]["dashboard-host"] == "127.0.0.1"


def test_the_user_of_the_image_may_write_to_the_volumes() -> None:
    """A volume belongs to root until its pod names a group."""
    dockerfile = (DEPLOY / "Dockerfile").read_text()
    user = re.search(r"useradd .*--uid (\d+) (\w+)\nUSER \2\n", dockerfile)
    assert user is not None
    spec = cluster()["spec"]
    for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
        assert group["template"]["spec"]["securityContext"]["fsGroup"] == int(user[1])


def test_nothing_listens_for_the_world() -> None:
    files = [path for path in DEPLOY.iterdir() if path.suffix in {".yaml", ".sh"} or path.name == "Dockerfile"]
    assert len(files) >= 6
    assert [path.name for path in files if "0.0.0.0" in path.read_text()] == []
    assert "--dashboard-host=127.0.0.1" in (DEPLOY / "node.sh").read_text()


@pytest.mark.parametrize("script", ["node.sh", "install.sh"])
def test_scripts_are_executable_and_parse(script: str) -> None:
    assert (DEPLOY / script).stat().st_mode & 0o111
    subprocess.run(["bash", "-n", DEPLOY / script], check=True)


def test_the_board_shows_metrics_that_exist() -> None:
    kinds = {f"ray_{metric.ray_name}": metric.kind for metric in METRICS.metrics}
    board = json.loads((DEPLOY / "grafana.json").read_text())
    panels = [panel for panel in board["panels"] if panel["type"] != "row"]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    names = [name for query in asked for name in re.findall(r"\bray_tmrl_\w+", query)]
    assert len(set(names)) >= 15
    for name in names:
        bare = name.removesuffix("_total").removesuffix("_bucket")
        suffix = {Kind.COUNTER: "_total", Kind.HISTOGRAM: "_bucket"}
        assert name == bare + suffix.get(kinds[bare], ""), f"{name} is no series of a {kinds[bare]}"
    assert all('run=~"$run"' in query for query in asked)
    assert len({panel["id"] for panel in panels}) == len(panels)
