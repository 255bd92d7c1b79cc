"""The first losses of a run that begins with a cloned network: ``python -m tests.bench.injection_loss [--help]``.

A network with the quickstart's settings is cloned from races of the human-like driver, fills a buffer with what it
drives itself, and then the same batches of that buffer are learned from: from scratch, and from the clone with its
logits taken over in different ways. A first loss above that from scratch is what the scaling of logits is to prevent.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from actors.draw_messages import Drawn, DrawRequest
from learner.report import summarise
from tmrl_ray.commands.output import print_table
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.race import HumanSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.datasets.filming import Film, FilmedGame, FilmSpeed
from tmrl_ray.datasets.folder import RaceWriter
from tmrl_ray.datasets.race import RaceFacts
from tmrl_ray.experience.transitions import Valuation
from tmrl_ray.iqn.network import PARTS, build_network, part_of, symmetric_quantiles
from tmrl_ray.racing.reward import weight_vector
from tmrl_ray.racing.rollout import rollout
from tmrl_ray.runs.artifact import Artifact, Origin, PartKey
from tmrl_ray.runs.checkpoint import CheckpointStore, Identity
from tmrl_ray.runs.rundir import RunDirectory, Start
from tmrl_ray.serial import SerialRun
from tmrl_ray.service import load_tuning, make_driver
from tmrl_ray.simulator.embedded import EmbeddedGame
from tmrl_ray.simulator.library import load_track
from tmrl_ray.training import Training

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
TRACK = "loop"
CPU = torch.device("cpu")
SPANS = ((0, 1), (1, 5), (5, 20), (20, 40))
"""Updates that are told together."""
ARMS = {
    "from scratch": None,
    "logits as they are": ["logit_temperature=1.0"],
    "logits times 0.1": ["logit_temperature=0.1"],
    "logits times 0.01": [],
    "the same, a value head of its own": ["parts=[encoder, float_head, quantile_layer, advantage_head]"],
    "the same, 20 updates of values only": ["value_only_updates=20"],
}


def config_of(folder: Path, *more: str) -> RunConfig:
    """Return the quickstart's settings with changes."""
    always = ["training.threads=1", "training.device=cpu", "training.minutes=null", "evaluation.every_s=1e6"]
    always += ["collector.exploration.epsilon=0.05", f"maps=[{{name: {TRACK}, map: {TRACK}}}]"]
    return load_config(QUICKSTART, [*always, f"run.folder={folder}", "run.name=filling", *more])


def record(training: Training, root: Path, races: int) -> None:
    """Record races of the human-like driver."""
    speed = FilmSpeed.of(fps=1000 / training.config.game.decision_period_ms, period_ms=50)
    game = EmbeddedGame(training.config.game.replace(decision_period_ms=speed.step_ms))
    for seed in range(races):
        driver = make_driver(HumanSettings(seed=seed), load_track(TRACK), load_tuning(None))
        line = training.courses[0].line
        with RaceWriter(root, TRACK, f"race-{seed}") as writer:
            film = Film(line, training.observation, speed, writer.add)
            filmed = FilmedGame(game, film)
            filmed.load_map(TRACK)
            for _ in rollout(filmed, driver, line, layout=training.observation):
                pass
            writer.commit(film.race(RaceFacts(map=TRACK, name=f"race-{seed}", decision_period_ms=50)))


def clone(training: Training, path: Path, steps: int) -> float:
    """Clone the recorded races into an artifact, and return the accuracy of the last steps."""
    chunks = list(training.demonstrations(lambda number: number + 1))
    spans = [(each.columns, slice(each.leading, each.leading + each.core)) for each in chunks]
    frames, floats, actions = (
        np.concatenate([columns[name][span] for columns, span in spans]) for name in ("frame", "floats", "action")
    )
    network = build_network(training.config.network, training.io, seed=7)
    optimiser, generator = torch.optim.Adam(network.parameters(), 1e-3), torch.Generator().manual_seed(0)
    right = []
    for _ in range(steps):
        rows = torch.randint(0, len(actions), (128,), generator=generator).numpy()
        wanted = torch.from_numpy(actions[rows].astype(np.int64))
        quantiles = symmetric_quantiles(1, 8, generator=generator, device=CPU)
        seen = torch.from_numpy(frames[rows]).unsqueeze(1), torch.from_numpy(floats[rows])
        logits = network(*seen, quantiles).mean(dim=1)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(logits, wanted).backward()
        optimiser.step()
        right.append((logits.argmax(dim=1) == wanted).float().mean().item())
    parts: dict[PartKey, dict[str, torch.Tensor]] = {}
    for name, tensor in network.state_dict().items():
        if part_of(name) in PARTS:
            parts.setdefault(PartKey(part_of(name)), {})[name] = tensor
    origin = Origin(stage="bc", task="full_policy", run="cloned", frame_normalization="iqn", epochs_trained=1, epoch=1)
    Artifact(origin, parts).write(path)
    return float(np.mean(right[-20:]))


def losses(folder: Path, env_steps: int) -> list[list[str]]:
    """Return the losses and gradient norms of each arm on the same batches."""
    cloned = f"learner.pretrained.artifact={folder / 'cloned'}"
    filling = Training.of(config_of(folder, cloned, f"training.env_steps={env_steps}"))
    rows = []
    with RunDirectory.open(folder, "filling", filling.config, Start.NEW) as run:
        store = CheckpointStore(run.checkpoints, Identity(run.uuid, filling.hashes))
        with SerialRun(filling, run, store) as live:
            for _ in live.run():
                pass
            size = filling.config.learner.batch_size
            request = DrawRequest(1, size, extra_samples=size)
            draws = [each.draw for _ in range(SPANS[-1][1]) if isinstance(each := live.buffer.draw(request), Drawn)]
            gamma = filling.config.learner.discount.at(env_steps)
            for name, more in ARMS.items():
                changes = [] if more is None else [cloned, *(f"learner.pretrained.{each}" for each in more)]
                training = Training.of(config_of(folder, *changes))
                update = training.update(CPU, new=True)
                builder = training.batches(live.buffer.ring, None, CPU)
                worth = Valuation(gamma, weight_vector(training.config.reward))
                batches = (batch for draw in draws for batch in builder.batches(draw, worth))
                told = [summarise([update.step(batch, env_steps=env_steps)]).figures for batch in batches]
                cells = []
                for begin, end in SPANS:
                    loss, norm = (np.mean([each[what] for each in told[begin:end]]) for what in FIGURES)
                    cells.append(f"{loss:.3g} ({norm:.3g})")
                rows.append([name, *cells])
    return rows


FIGURES = ("loss", "gradient_norm")


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--races", type=int, default=4, help="races that are cloned")
    parser.add_argument("--steps", type=int, default=400, help="of cloning")
    parser.add_argument("--env-steps", type=int, default=1600, help="that the clone drives")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        record(Training.of(config_of(folder)), folder / "races", options.races)
        shown = Training.of(config_of(folder, f"replay.demonstrations.dataset={folder / 'races'}"))
        accuracy = clone(shown, folder / "cloned", options.steps)
        print(f"cloned from {options.races} races, accuracy {accuracy:.2f}; loss (norm of the gradient) by update\n")
        spans = [f"{begin + 1}-{end}" if end > begin + 1 else str(end) for begin, end in SPANS]
        print_table(["begins", *spans], losses(folder, options.env_steps))


if __name__ == "__main__":
    main()
