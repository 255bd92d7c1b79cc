"""Samples a second of our update against rulka's: ``python -m tests.bench.learner_update [--help]``.

Both learn from the same batch with the same network, the settings of ``configs/presets/legacy_rulka.yaml``, and are
carried out in turn, round by round; each figure is the median of the rounds. Ours reads its metrics once, after the
last round; the reference fetches its own in every step, as rulka does. A CUDA device is used where there is one.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from learner.report import StepReport, summarise
from learner.update import LearnerUpdate
from tests.bench.peers.rulka_update import ReferenceUpdate
from tmrl_ray.config.learner import LearnerSettings
from tmrl_ray.config.loading import load_config
from tmrl_ray.config.race import ObservationSettings
from tmrl_ray.experience.batches import Batch
from tmrl_ray.iqn.network import NetworkIO, build_network
from tmrl_ray.racing.actions import ACTIONS
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation_layout import ObservationLayout

PRESET = load_config(Path(__file__).parents[2] / "configs" / "presets" / "legacy_rulka.yaml")
NORMALISATION = normalisation_of(ObservationLayout(ObservationSettings()))


def drawn(batch: int, device: torch.device) -> Batch:
    """Return a batch by chance, of the size of real ones."""
    generator = torch.Generator().manual_seed(0)
    assert PRESET.game.frame_size is not None
    width, height = PRESET.game.frame_size
    mean, std = torch.from_numpy(NORMALISATION.mean), torch.from_numpy(NORMALISATION.std)

    def frames() -> torch.Tensor:
        return torch.randint(0, 256, (batch, 1, height, width), dtype=torch.uint8, generator=generator)

    def floats() -> torch.Tensor:
        return mean + std * torch.randn(batch, len(mean), generator=generator)

    return Batch(
        frames=frames(),
        next_frames=frames(),
        floats=floats(),
        next_floats=floats(),
        actions=torch.randint(0, len(ACTIONS), (batch,), generator=generator),
        rewards=-0.06 + 0.05 * torch.rand(batch, generator=generator),
        discounts=torch.full((batch,), 0.999**3),
        weights=torch.ones(batch),
        indices=torch.arange(batch),
        generations=torch.zeros(batch, dtype=torch.int64),
        clock=torch.zeros(batch),
        policy_versions=torch.zeros(batch, dtype=torch.int64),
    ).to(device)


def steps_of(settings: LearnerSettings, batch: Batch, device: torch.device) -> dict[str, Callable[[], object]]:
    """Return what is compared, by name: each call is one step."""
    assert PRESET.game.frame_size is not None
    io = NetworkIO(PRESET.game.frame_size, NORMALISATION.mean, NORMALISATION.std, actions=len(ACTIONS))
    reference = ReferenceUpdate(build_network(PRESET.network, io, seed=0), settings, device)
    ours = {
        name: LearnerUpdate(build_network(PRESET.network, io, seed=0), each, seed=0, device=device)
        for name, each in (("ours", settings), ("ours, shared quantiles", settings.replace(shared_quantiles=True)))
    }
    reports: list[StepReport] = []

    def step(update: LearnerUpdate) -> Callable[[], object]:
        def one() -> object:
            reports.append(update.step(batch, env_steps=0))
            if len(reports) >= 100:
                summarise(reports)
                reports.clear()
            return reports

        return one

    return {"rulka": lambda: reference.step(batch)} | {name: step(update) for name, update in ours.items()}


def seconds(step: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the time of one step, by several in a row."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    begun = time.perf_counter()
    for _ in range(repeats):
        step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return (time.perf_counter() - begun) / repeats


def compare(settings: LearnerSettings, batch_size: int, rounds: int, device: torch.device) -> None:
    """Print a line for each of what is compared."""
    batch = drawn(batch_size, device)
    steps = steps_of(settings, batch, device)
    repeats = 20 if device.type == "cuda" else 1
    for step in steps.values():
        seconds(step, 3 if device.type == "cuda" else 1, device)
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds):
        names = list(steps) if number % 2 else list(reversed(steps))
        for name in names:
            times[name].append(seconds(steps[name], repeats, device))
    base = statistics.median(times["rulka"])
    how = "compiled" if settings.compile else "eager"
    for name, each in times.items():
        ratios = [mine / theirs for theirs, mine in zip(each, times["rulka"], strict=True)]
        middle = statistics.median(each)
        print(
            f"{device.type:5} {settings.precision:5} {how:9} {batch_size:6} {name:23} {middle * 1e3:9.1f} "
            f"{min(each) * 1e3:9.1f} {batch_size / middle:11,.0f} {base / middle:7.2f} {np.median(ratios):9.2f}",
            flush=True,
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, nargs="+", default=[512, 4096])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--precision", nargs="+", choices=["fp32", "bf16", "fp16"], default=None)
    parser.add_argument("--compile", action="store_true", help="compile both, as rulka does")
    parser.add_argument("--threads", type=int, default=None, help="of torch on the CPU")
    chosen = parser.parse_args(arguments)
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precisions = chosen.precision or (["fp16", "bf16", "fp32"] if device.type == "cuda" else ["fp32", "bf16"])
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {chosen.rounds} rounds")
    print("where what  how        batch update                     median ms    min ms   samples/s   ratio  by round")
    for precision in precisions:
        settings = PRESET.learner.replace(precision=precision, compile=chosen.compile)
        for batch_size in chosen.batch:
            compare(settings, batch_size, chosen.rounds, device)


if __name__ == "__main__":
    main()
