"""Stages that are handed to a cluster through Ray's job interface."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ray.job_submission import JobStatus

from tmrl_ray import pretrain_submission
from tmrl_ray.config.loading import load_settings
from tmrl_ray.config.pretrain import BCConfig, BCRunSettings, VisualConfig
from tmrl_ray.errors import ClusterError, TmrlError
from tmrl_ray.pretrain_submission import CONFIG_FILE, follow, submit


class Client:
    """What Ray's client does, without a cluster."""

    place: str | None = "not asked"
    status = JobStatus.SUCCEEDED
    given: dict[str, Any]
    files: dict[str, str]

    def __init__(self, place: str | None) -> None:
        Client.place = place

    def submit_job(self, **given: Any) -> str:
        Client.given = given
        folder = Path(given["runtime_env"]["working_dir"])
        Client.files = {path.name: path.read_text() for path in folder.iterdir()}
        return "raysubmit_7"

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for line in ("epoch 1\n", "epoch 2\n"):
            yield f"{job}: {line}"

    def get_job_status(self, job: str) -> JobStatus:
        return Client.status

    def get_job_info(self, job: str) -> SimpleNamespace:
        return SimpleNamespace(message="out of memory")


@pytest.fixture(autouse=True)
def client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretrain_submission, "JobSubmissionClient", Client)
    monkeypatch.setattr(Client, "status", JobStatus.SUCCEEDED)


def test_the_whole_configuration_travels_with_paths_that_mean_the_same_there(tmp_path: Path) -> None:
    config = BCConfig(
        data_dir=Path("data/races"),
        encoder_init_path=tmp_path / "vis",
        epochs=7,
        bc_time_offsets_ms=(0, 50),
        run=BCRunSettings(name="cloned.again", folder=Path("runs")),
    )
    job, entrypoint = submit("bc", config, "10.0.0.7:6379", ["--resume"])
    assert job == "raysubmit_7"
    assert entrypoint == f"python -m tmrl_ray.cli pretrain bc -c {CONFIG_FILE} --address auto --resume"
    assert Client.given["entrypoint"] == entrypoint
    assert Client.given["metadata"] == {"stage": "bc", "run": "cloned-again"}
    (tmp_path / CONFIG_FILE).write_text(Client.files[CONFIG_FILE])
    there = load_settings(BCConfig, tmp_path / CONFIG_FILE)
    assert there == config.replace(
        data_dir=Path.cwd() / "data/races", run=config.run.replace(folder=Path.cwd() / "runs")
    )


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("10.0.0.7:6379", "http://10.0.0.7:8265"),
        ("http://10.0.0.7:9000", "http://10.0.0.7:9000"),
        ("auto", None),
    ],
)
def test_the_job_interface_is_found_by_the_address(address: str, place: str | None) -> None:
    submit("visual", VisualConfig(), address, [])
    assert Client.place == place


def test_the_log_is_followed_to_its_end() -> None:
    assert list(follow("auto", "job")) == ["job: epoch 1\n", "job: epoch 2\n"]


@pytest.mark.parametrize("status", [JobStatus.FAILED, JobStatus.STOPPED])
def test_a_job_that_failed_says_why(status: JobStatus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Client, "status", status)
    seen = []
    with pytest.raises(TmrlError, match=f"the job job ended as {status}: out of memory") as error:
        seen += follow("auto", "job")
    assert "ray job logs job" in (error.value.hint or "")


def test_an_interface_that_does_not_answer_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(place: str | None) -> None:
        raise ConnectionError("Failed to connect\nto somewhere")

    monkeypatch.setattr(pretrain_submission, "JobSubmissionClient", refuse)
    with pytest.raises(ClusterError, match=r"at 10\.0\.0\.7:6379 does not answer: Failed to connect\n") as error:
        submit("visual", VisualConfig(), "10.0.0.7:6379", [])
    assert error.value.hint is not None
