"""Reverb's prioritised table behind gRPC on this machine: ``-m tests.bench.peers.reverb_buffer ROWS``.

The server has a process of its own. Items of n steps share their chunks, so a picture is stored once, as ours is; the
dataset of trajectories is read by ``WORKERS`` workers, batched and fetched ahead by TensorFlow. Needs
dm-reverb[tensorflow].
"""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import reverb
import tensorflow as tf

from tests.bench.peers.workload import (
    ALPHA,
    BATCH,
    BATCHES_PER_TURN,
    BETA,
    CHUNK,
    FLOATS,
    FRAME,
    GAMMA,
    N_STEPS,
    Buffer,
    made_up_steps,
    serve,
)

TABLE = "experience"
WORKERS = 2
IN_FLIGHT = 2 * BATCH
"""Samples on their way to each worker."""
BATCHES_AHEAD = 3
PENDING = 64
"""Items that are written and not confirmed; Reverb warns of more than 90."""
SIGNATURE = {
    "frame": tf.TensorSpec(FRAME, tf.uint8),
    "next_frame": tf.TensorSpec(FRAME, tf.uint8),
    "floats": tf.TensorSpec((FLOATS,), tf.float32),
    "next_floats": tf.TensorSpec((FLOATS,), tf.float32),
    "action": tf.TensorSpec((), tf.int64),
    "rewards": tf.TensorSpec((N_STEPS,), tf.float32),
}


def run_server(rows: int) -> None:
    """Serve until the one who started this closes our input."""
    table = reverb.Table(
        TABLE,
        sampler=reverb.selectors.Prioritized(ALPHA),
        remover=reverb.selectors.Fifo(),
        max_size=rows,
        rate_limiter=reverb.rate_limiters.MinSize(1),
        signature=SIGNATURE,
    )
    server = reverb.Server([table])
    print(server.port, flush=True)
    sys.stdin.read()


class Reverb(Buffer):
    """A table and its server."""

    def __init__(self, rows: int) -> None:
        command = [sys.executable, "-m", "tests.bench.peers.reverb_buffer", str(rows), "serve"]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        address = f"localhost:{int(self._server.stdout.readline())}"
        self._client = reverb.Client(address)
        self._rng = np.random.default_rng(1)
        self._races = [made_up_steps(seed) for seed in range(8)]
        self._inserted = 0
        self._writer = self._client.trajectory_writer(num_keep_alive_refs=N_STEPS + 1)
        for _ in range(rows // CHUNK):
            self.insert()
        self.settle()
        dataset = reverb.TrajectoryDataset.from_table_signature(
            address,
            TABLE,
            max_in_flight_samples_per_worker=IN_FLIGHT,
            num_workers_per_iterator=WORKERS,
        )
        self._batches = iter(dataset.batch(BATCH, drop_remainder=True).prefetch(BATCHES_AHEAD))

    def draw_turn(self) -> None:
        for _ in range(BATCHES_PER_TURN):
            sample = next(self._batches)
            data = {name: each.numpy() for name, each in sample.data.items()}
            assert data["frame"].shape == (BATCH, *FRAME)
            data["rewards"] @ GAMMA ** np.arange(N_STEPS, dtype=np.float32)
            weights = (sample.info.probability.numpy() * sample.info.table_size.numpy()) ** -BETA
            weights /= weights.max()
            keys = sample.info.key.numpy().tolist()
            self._client.mutate_priorities(
                TABLE, updates=dict(zip(keys, self._rng.random(BATCH).tolist(), strict=True))
            )

    def insert(self) -> None:
        race = self._races[self._inserted % len(self._races)]
        writer = self._writer
        for number in range(CHUNK + N_STEPS):
            writer.append(
                {
                    "frame": race.frames[number],
                    "floats": race.floats[number],
                    "action": race.actions[number],
                    "reward": race.rewards[number],
                }
            )
            if number < N_STEPS:
                continue
            history = writer.history
            writer.create_item(
                TABLE,
                priority=1.0,
                trajectory={
                    "frame": history["frame"][-N_STEPS - 1],
                    "next_frame": history["frame"][-1],
                    "floats": history["floats"][-N_STEPS - 1],
                    "next_floats": history["floats"][-1],
                    "action": history["action"][-N_STEPS - 1],
                    "rewards": history["reward"][-N_STEPS - 1 : -1],
                },
            )
            writer.flush(block_until_num_items=PENDING)
        self._inserted += 1

    def settle(self) -> None:
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait(timeout=10)


def main() -> None:
    """Answer questions, or be the server."""
    rows = int(sys.argv[1])
    if sys.argv[2:] == ["serve"]:
        run_server(rows)
        return
    serve({"Reverb": lambda: Reverb(rows)})


if __name__ == "__main__":
    main()
