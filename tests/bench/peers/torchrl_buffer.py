"""TorchRL's prioritised replay buffers, in the process and as a Ray actor.

    python -m tests.bench.peers.torchrl_buffer ROWS

Two storages: tensors, TorchRL's own way, and a list of arrays with a collate function, as Linesight has it. Three
batches are fetched ahead by TorchRL; of the actor two batches are asked for at once, by two of its clients. Its
transitions come n-step already. Needs torchrl, torch and ray.

TorchRL's extension works with one minor version of torch only: that of 0.14.1 does not load with torch 2.13, and there
is no PrioritizedSampler without it. Its sources lie in the wheel; compiled so, in ``site-packages``, it loads::

    g++ -O3 -std=c++20 -shared -fPIC -DTORCH_EXTENSION_NAME=_torchrl $(python3-config --includes) \\
        -Itorchrl/csrc -Itorch/include -Itorch/include/torch/csrc/api/include torchrl/csrc/{pybind,utils}.cpp \\
        -Ltorch/lib -ltorch -ltorch_cpu -ltorch_python -lc10 '-Wl,-rpath,$ORIGIN/../torch/lib' \\
        -o torchrl/_torchrl.cpython-311-x86_64-linux-gnu.so
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np
import ray
import torch
from tensordict import TensorDict
from torchrl.data import (
    LazyTensorStorage,
    ListStorage,
    PrioritizedSampler,
    RayReplayBuffer,
    ReplayBuffer,
    TensorDictReplayBuffer,
)

from tests.bench.peers.workload import (
    ALPHA,
    BATCH,
    BATCHES_PER_TURN,
    BETA,
    CHUNK,
    Buffer,
    Transitions,
    made_up_steps,
    serve,
    transitions_of,
)

PREFETCH = 3
CLIENTS = 2
"""Of the actor, each with a batch on its way."""


def collate(items: list[dict[str, Any]]) -> dict[str, np.ndarray]:
    """Return a batch of what a list holds."""
    return {name: np.stack([item[name] for item in items]) for name in items[0]}


class TorchRL(Buffer):
    """One of TorchRL's buffers.

    Args:
        rows: how many transitions it holds.
        tensors: whether it stores tensors; else a list of arrays.
        remote: whether it is a Ray actor.
    """

    def __init__(self, rows: int, *, tensors: bool, remote: bool) -> None:
        self._tensors = tensors
        self._rng = np.random.default_rng(1)
        kind = TensorDictReplayBuffer if tensors else ReplayBuffer
        parts: dict[str, Any] = {
            "storage": partial(LazyTensorStorage if tensors else ListStorage, rows),
            "sampler": partial(PrioritizedSampler, rows, ALPHA, BETA),
            "batch_size": BATCH,
            "prefetch": PREFETCH,
        }
        if not tensors:
            parts["collate_fn"] = collate
        if remote:
            self._buffer = RayReplayBuffer(replay_buffer_cls=kind, remote_config={"num_cpus": 1}, **parts)
            self._clients: list[Any] = self._buffer.clients(CLIENTS)
        else:
            parts |= {name: parts[name]() for name in ("storage", "sampler")}
            self._buffer = kind(**parts)
            self._clients = [self._buffer]
        self._threads = [ThreadPoolExecutor(1) for _ in self._clients]
        self._coming: list[Future[Any]] = []
        self._chunks = [transitions_of(made_up_steps(seed)) for seed in range(8)]
        self._inserted = 0
        for _ in range(rows // CHUNK):
            self.insert()

    def draw_turn(self) -> None:
        for _ in range(BATCHES_PER_TURN):
            index, values = self._next_batch()
            assert len(values["frames"]) == len(index) == BATCH
            self._buffer.update_priority(index, torch.from_numpy(self._rng.random(BATCH, dtype=np.float32)))

    def insert(self) -> None:
        self._buffer.extend(self._as_stored(self._chunks[self._inserted % len(self._chunks)]))
        self._inserted += 1

    def close(self) -> None:
        for coming in self._coming:
            coming.result()
        for thread in self._threads:
            thread.shutdown()
        if isinstance(self._buffer, RayReplayBuffer):
            self._buffer.close()

    def _next_batch(self) -> tuple[torch.Tensor, Any]:
        if len(self._clients) == 1:
            return self._sample(self._clients[0])
        while len(self._coming) < CLIENTS:
            self._ask(len(self._coming))
        coming = self._coming.pop(0)
        sampled: tuple[torch.Tensor, Any] = coming.result()
        self._ask(self._next_client)
        return sampled

    def _ask(self, number: int) -> None:
        self._coming.append(self._threads[number].submit(self._sample, self._clients[number]))
        self._next_client = (number + 1) % CLIENTS

    def _sample(self, source: Any) -> tuple[torch.Tensor, Any]:
        if self._tensors:
            batch = source.sample()
            return batch["index"], batch
        batch, info = source.sample(return_info=True)
        return torch.as_tensor(info["index"]), batch

    def _as_stored(self, transitions: Transitions) -> Any:
        if self._tensors:
            tensors = {name: torch.from_numpy(each) for name, each in transitions.items()}
            return TensorDict(tensors, [CHUNK])
        # each in memory of its own, as if it had just come in
        return [{name: each[row].copy() for name, each in transitions.items()} for row in range(CHUNK)]


def main() -> None:
    """Answer questions."""
    rows = int(sys.argv[1])
    directory = tempfile.mkdtemp(prefix="r")
    ray.init(
        address="local", num_cpus=4, object_store_memory=3 * 10**9, include_dashboard=False, log_to_driver=False,
        logging_level="error", _temp_dir=directory,
        _system_config={"worker_niceness": 0},  # as this process
    )  # fmt: skip
    try:
        serve(
            {
                "TorchRL RayReplayBuffer, tensors": lambda: TorchRL(rows, tensors=True, remote=True),
                "TorchRL RayReplayBuffer, list": lambda: TorchRL(rows, tensors=False, remote=True),
                "TorchRL in the process, tensors": lambda: TorchRL(rows, tensors=True, remote=False),
                "TorchRL in the process, list": lambda: TorchRL(rows, tensors=False, remote=False),
            }
        )
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
