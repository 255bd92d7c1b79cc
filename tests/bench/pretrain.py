"""Samples a second of both stages against a plain PyTorch loop: ``python -m tests.bench.pretrain [--help]``.

Both learn from the same pictures with the same network, batch size and optimiser, on the same device. The plain loop
is what one writes on a page: frames in one uint8 tensor in memory, a shuffled index, ``frames[index]``, a forward and
a backward pass and a step of Adam; it measures nothing on the way. Ours reads from a memory-mapped cache and counts
its figures. They take turns, epoch by epoch; each figure is the best round, since other work on the machine only ever
slows a round down.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from pretrain.batches import BatchSource
from pretrain.bc.bc_stage import BCStage, Driving
from pretrain.loop import StageLoop
from pretrain.stage import Stage
from pretrain.visual.decoder import Decoder
from pretrain.visual.visual_stage import VisualStage
from tmrl_ray.config.network import NetworkSettings
from tmrl_ray.config.pretrain import BCConfig, VisualConfig
from tmrl_ray.datasets.cache import RaceArrays, RaceCache
from tmrl_ray.datasets.cache_files import CacheIndex, CacheWriter, open_cache
from tmrl_ray.iqn.network import NetworkIO, build_network
from tmrl_ray.racing.actions import ACTION_COUNT
from tmrl_ray.racing.normalisation import normalisation_of
from tmrl_ray.racing.observation_layout import ObservationLayout

SIZE = (64, 64)
INTERVAL_MS = 50
LAYOUT = ObservationLayout()
SCALE = normalisation_of(LAYOUT)
IO = NetworkIO(SIZE, SCALE.mean, SCALE.std, ACTION_COUNT)
NETWORK = NetworkSettings()
Epoch = Callable[[], int]
"""Trains an epoch, and returns how many samples it had."""


def write_cache(directory: Path, frames: int) -> RaceCache:
    """Return a cache on the disk with pictures and actions by chance, in ten races."""
    rng = np.random.default_rng(0)
    count = frames // 10
    with CacheWriter(directory, SIZE, LAYOUT.size) as writer:
        for number in range(10):
            writer.add(
                RaceArrays(
                    map=f"map{number}",
                    name="race",
                    frames=rng.integers(0, 256, (count, *SIZE), dtype=np.uint8),
                    times_ms=(INTERVAL_MS * np.arange(count)).astype(np.int32),
                    actions=rng.integers(0, ACTION_COUNT, count * INTERVAL_MS // 10).astype(np.uint8),
                    floats=(SCALE.mean + SCALE.std * rng.standard_normal((count, LAYOUT.size))).astype(np.float32),
                )
            )
        writer.commit(CacheIndex("bench", {}, {}, ""))
    return open_cache(directory)


def ours(stage: Stage, config: VisualConfig | BCConfig, cache: RaceCache, device: torch.device) -> Epoch:
    """Return an epoch of the loop of a stage."""
    loop = StageLoop(stage, BatchSource(cache, config, stage.wanted), config, device=device)
    reports = loop.run()

    def epoch() -> int:
        next(reports)
        return int(loop.history[-1]["samples_per_s"] * loop.history[-1]["seconds"])

    return epoch


def plain(network: nn.Module, loss: Callable[[torch.Tensor], torch.Tensor], rows: int, batch: int, lr: float) -> Epoch:
    """Return an epoch of the plain loop; ``loss`` is told which rows are in the batch."""
    optimiser = torch.optim.Adam(network.parameters(), lr, fused=True)

    def epoch() -> int:
        order = torch.randperm(rows)
        for start in range(0, rows, batch):
            optimiser.zero_grad(set_to_none=True)
            loss(order[start : start + batch]).backward()
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
        return rows

    return epoch


def visual(cache: RaceCache, batch: int, device: torch.device) -> dict[str, Epoch]:
    """Return what is compared: an autoencoder."""
    config = VisualConfig(task="ae", batch_size=batch, val_fraction=0.0, epochs=1000, early_stopping=None)
    stage = VisualStage(config, NETWORK, IO, interval_ms=INTERVAL_MS)
    encoder = build_network(NETWORK, IO, seed=0).encoder
    decoder = Decoder(512, frames=1, frame_size=SIZE, normalization="01")
    both = nn.ModuleList([encoder, decoder]).to(device)
    frames = torch.from_numpy(np.array(cache.frames))[:, None]

    def loss(rows: torch.Tensor) -> torch.Tensor:
        pixels = frames[rows].to(device).float() / 255.0
        return functional.mse_loss(decoder(encoder(pixels)), pixels)

    return {"plain": plain(both, loss, len(frames), batch, config.lr), "ours": ours(stage, config, cache, device)}


def cloning(cache: RaceCache, batch: int, device: torch.device) -> dict[str, Epoch]:
    """Return what is compared: the whole quantile network with the cross-entropy of its values."""
    config = BCConfig(
        use_full_iqn=True,
        use_floats=True,
        image_normalization="iqn",
        batch_size=batch,
        val_fraction=0.0,
        epochs=1000,
        early_stopping=None,
    )
    stage = BCStage(config, NETWORK, IO, Driving(LAYOUT, INTERVAL_MS), interval_ms=INTERVAL_MS)
    stage.take_prior(BatchSource(cache, config, stage.wanted))
    network = build_network(NETWORK, IO, seed=0).to(device)
    frames, floats = torch.from_numpy(np.array(cache.frames))[:, None], torch.from_numpy(np.array(cache.floats))
    labels = torch.from_numpy(cache.labels(np.arange(len(cache)))[:, 0])

    def loss(rows: torch.Tensor) -> torch.Tensor:
        middle = torch.full((1, 1), 0.5, device=device)
        values = network(frames[rows].to(device), floats[rows].to(device), middle).mean(dim=1)
        return functional.cross_entropy(values, labels[rows].to(device))

    return {"plain": plain(network, loss, len(frames), batch, config.lr), "ours": ours(stage, config, cache, device)}


def compare(name: str, epochs: dict[str, Epoch], rounds: int) -> float:
    """Print a line for each of what is compared, and return the ratio."""
    best = dict.fromkeys(epochs, 0.0)
    for number in range(rounds + 1):
        for what in epochs if number % 2 else reversed(epochs):
            begun = time.perf_counter()
            samples = epochs[what]()
            if number:  # the first round warms up
                best[what] = max(best[what], samples / (time.perf_counter() - begun))
    ratio = best["ours"] / best["plain"]
    for what, speed in best.items():
        print(f"{name:8} {what:6} {speed:10,.0f} samples/s", flush=True)
    print(f"{name:8} ratio  {ratio:10.2f}", flush=True)
    return ratio


def main(arguments: Sequence[str] | None = None) -> None:
    """Compare as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=None, help="of the cache; 4,000, on a GPU 100,000")
    parser.add_argument("--batch", type=int, default=None, help="128, on a GPU 4096")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=None, help="of torch on the CPU")
    chosen = parser.parse_args(arguments)
    if chosen.threads is not None:
        torch.set_num_threads(chosen.threads)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    fast = device.type == "cuda"
    frames, batch = chosen.frames or (100_000 if fast else 4_000), chosen.batch or (4096 if fast else 128)
    print(f"torch {torch.__version__}, {device.type}, {torch.get_num_threads()} threads, batches of {batch}")
    with tempfile.TemporaryDirectory(prefix="tmrl-bench-") as folder:
        cache = write_cache(Path(folder) / "cache", frames)
        compare("visual", visual(cache, batch, device), chosen.rounds)
        compare("bc", cloning(cache, batch, device), chosen.rounds)


if __name__ == "__main__":
    main()
