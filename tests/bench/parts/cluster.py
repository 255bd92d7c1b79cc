"""A Ray cluster of a benchmark's own, and the directory that goes with it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray

from actors.remote.calls import NAMESPACE


@contextmanager
def bench_cluster(*, object_store_bytes: int, cpus: int = 64, **options: Any) -> Iterator[Path]:
    """Be the driver of a cluster that ends with the block.

    Args:
        object_store_bytes: its memory for messages.
        cpus: that it believes to have: what runs at once is the benchmark's business.
        options: more of Ray's.

    Yields:
        A directory for files, also of Ray's.
    """
    directory = Path(tempfile.mkdtemp(prefix="b"))  # Ray puts sockets there, whose names must be short
    ray.init(
        address="local",
        num_cpus=cpus,
        object_store_memory=object_store_bytes,
        include_dashboard=False,
        namespace=NAMESPACE,
        logging_level="error",
        log_to_driver=False,
        _temp_dir=str(directory),
        _system_config={"worker_niceness": 0},  # as this process, which stands for an actor
        **options,
    )
    try:
        yield directory
    finally:
        ray.shutdown()
        shutil.rmtree(directory, ignore_errors=True)
