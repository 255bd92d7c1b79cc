"""A whole run that begins with pretrained weights and learns from demonstrations, in one process at tiny size."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.integration.test_serial import QUICKSTART, TINY, Outcome, run
from tests.learner.artifacts import parts_of
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.race import CutOffSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.datasets.filming import Film, FilmedGame, FilmSpeed
from tmrl_ray.datasets.folder import RaceWriter
from tmrl_ray.datasets.race import RaceFacts
from tmrl_ray.errors import ArtifactError, ConfigError, DatasetError
from tmrl_ray.iqn.network import build_network
from tmrl_ray.racing.actions import FORWARD_LEFT
from tmrl_ray.racing.rollout import Decision, Policy, rollout
from tmrl_ray.runs.artifact import Artifact, Origin
from tmrl_ray.runs.json_sink import read_rows
from tmrl_ray.runs.rundir import Start
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.training import Training

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
STEPS = 300


class AlwaysLeft:
    def act(self, frame: object, floats: object) -> Decision:
        return Decision(FORWARD_LEFT)


def config_of(folder: Path, name: str, *more: str, env_steps: int = STEPS) -> RunConfig:
    place = (f"run.folder={folder}", f"run.name={name}", f"training.env_steps={env_steps}", "training.seed=3")
    return load_config(QUICKSTART, [*TINY, *place, *more])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def artifact(folder: Path) -> Path:
    """A network of the run's own shape as the result of a stage."""
    training = Training.of(config_of(folder, "none"))
    origin = Origin(
        stage="bc",
        task="full_policy",
        run="cloned",
        frame_size=training.io.frame_size,
        frame_normalization="iqn",
        observation=training.observation.hash,
        decision_period_ms=50,
        epochs_trained=1,
        epoch=1,
    )
    network = build_network(training.config.network, training.io, seed=99)
    Artifact(origin, parts_of(network)).write(folder / "cloned" / "best")
    return folder / "cloned"


def record(training: Training, root: Path, driver: Policy) -> None:
    """Record two short races on the loop."""
    speed = FilmSpeed.of(fps=20, period_ms=50)
    line = training.courses[0].line
    for name in ("one", "two"):
        with RaceWriter(root, "loop", name) as writer:
            film = Film(line, training.observation, speed, writer.add)
            game = FilmedGame(EmbeddedGame(training.config.game.replace(decision_period_ms=speed.step_ms)), film)
            game.load_map("loop")
            race = rollout(game, driver, line, layout=training.observation, cut_offs=CutOffSettings(race_ms=3000))
            assert len(list(race)) == 60
            writer.commit(film.race(RaceFacts(map="loop", name=name, decision_period_ms=50)))


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Path:
    """Two races of a driver that steers to the left."""
    record(Training.of(config_of(folder, "none")), folder / "races", AlwaysLeft())
    return folder / "races"


def test_a_new_run_begins_with_the_weights_and_a_resumed_one_does_not_look_at_them(
    folder: Path, artifact: Path
) -> None:
    config = config_of(folder, "begun", f"learner.pretrained={artifact}")
    network = Training.of(config).update(CPU, new=True).weights()
    trained = Artifact.read(artifact)
    (head,) = (parts for key, parts in trained.parts.items() if key == ("value_head", None))
    assert torch.equal(network["value_head.hidden.0.weight"], torch.from_numpy(head["value_head.hidden.0.weight"]))
    first = run(config)
    plain = run(config_of(folder, "plain"))
    assert any(not torch.equal(first.weights[name], plain.weights[name]) for name in plain.weights)

    moved = folder / "elsewhere"
    shutil.copytree(artifact, moved)
    shutil.copytree(folder / "begun", folder / "again")
    shutil.rmtree(moved)
    gone = config_of(folder, "again", f"learner.pretrained={moved}", env_steps=STEPS + 60)
    resumed = run(gone, Start.RESUME)  # the artifact is not there any more
    assert resumed.steps > first.steps
    on = run(config_of(folder, "begun", f"learner.pretrained={artifact}", env_steps=STEPS + 60), Start.RESUME)
    assert all(torch.equal(on.weights[name], resumed.weights[name]) for name in on.weights)


def test_weights_that_do_not_fit_are_refused_before_anything_begins(folder: Path, artifact: Path) -> None:
    training = Training.of(config_of(folder, "wider", f"learner.pretrained={artifact}", "network.head_hidden=17"))
    with pytest.raises(ArtifactError, match=r"advantage_head\.hidden\.0\.weight is \(13, \d+\), the network has \(17,"):
        training.check_pretrained()


def test_there_is_nobody_to_wait_for_without_a_cluster(folder: Path) -> None:
    with pytest.raises(ConfigError, match="need a cluster"):
        run(config_of(folder, "waits", "learner.pretrained.wait_for=cloned"))


def test_demonstrations_are_learned_from(folder: Path, dataset: Path) -> None:
    told = (f"replay.demonstrations.dataset={dataset}", "replay.demonstrations.rows=256", "learner.kappa=0.05")
    imitation = "learner.imitation={weight: 10.0, temperature: 0.1, q_filter: false}"
    imitating = run(config_of(folder, "imitating", *told, imitation))
    assert imitating.stats.demonstration_rows == 2 * 60
    rows = [row.values for row in read_rows(folder / "imitating" / "metrics.jsonl")]
    told_of = [row for row in rows if "learner/imitation_accuracy" in row]
    assert told_of[-1]["learner/imitation_accuracy"] > 0.3  # a twelfth by chance, and it had some twenty updates
    assert told_of[-1]["learner/imitation_weight"] == 10.0
    only_shown = run(config_of(folder, "shown", *told))
    assert not all(torch.equal(imitating.weights[name], only_shown.weights[name]) for name in only_shown.weights)


def test_a_resumed_run_does_not_add_its_demonstrations_again(folder: Path, dataset: Path) -> None:
    told = (f"replay.demonstrations.dataset={dataset}", "replay.demonstrations.rows=256")
    run(config_of(folder, "shown-twice", *told))
    resumed: Outcome = run(config_of(folder, "shown-twice", *told, env_steps=STEPS + 40), Start.RESUME)
    assert resumed.stats.demonstration_rows == 120


def test_demonstrations_that_are_not_there_are_told(folder: Path, dataset: Path) -> None:
    config = config_of(folder, "nobody", f"replay.demonstrations.dataset={dataset}", "maps=[{name: oval, map: oval}]")
    with pytest.raises(DatasetError, match="no race on oval"):
        list(Training.of(config).demonstrations(lambda number: number))
    with pytest.raises(ConfigError, match=r"learner\.imitation needs demonstrations"):
        config_of(folder, "nobody", "learner.imitation={}")


def test_shown_rows_are_numbered_race_by_race(folder: Path, dataset: Path) -> None:
    training = Training.of(config_of(folder, "none", f"replay.demonstrations.dataset={dataset}"))
    chunks = list(training.demonstrations(lambda number: 7 + number))
    assert [(chunk.id.collector, chunk.id.incarnation, chunk.id.sequence) for chunk in chunks] == [(0, 7, 0), (1, 8, 0)]
    assert all((np.asarray(chunk.columns["action"][: chunk.core]) == FORWARD_LEFT).all() for chunk in chunks)
    (again,) = training.demonstrations(lambda number: 7 + number, begun=2)  # the first one is whole
    assert (again.id, again.checksum) == (chunks[1].id, chunks[1].checksum)
