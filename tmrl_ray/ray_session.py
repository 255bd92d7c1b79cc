"""A process's part in a Ray cluster: one that is started here, or one that runs already."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors.remote.calls import NAMESPACE
from tmrl_ray.cluster_access import join_cluster
from tmrl_ray.errors import TmrlError

log = logging.getLogger(__name__)

STARTS = 3
"""Of Ray, at most: the second one finds its files in memory."""
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": "error"}


@dataclass(frozen=True)
class RaySession:
    """The cluster that this process is a part of."""

    address: str
    """HOST:PORT."""
    dashboard: str | None
    """Its page; None: there is none."""
    logs: Path
    """Where Ray and the actors on this machine write theirs."""

    @classmethod
    def now(cls) -> RaySession:
        """Return that of this process."""
        from ray._private.worker import get_dashboard_url, global_worker

        node, page = global_worker.node, get_dashboard_url()  # type: ignore[no-untyped-call]
        assert node is not None
        address = ray.get_runtime_context().gcs_address
        return cls(address, f"http://{page}" if page else None, Path(node.get_session_dir_path()) / "logs")


@contextmanager
def started(games: int, object_store_bytes: int, **options: Any) -> Iterator[RaySession]:
    """Start a cluster on this machine, and end it again.

    Args:
        games: how many games it may run at the same time.
        object_store_bytes: memory for weights and chunks on their way.
        options: of ``ray.init`` beside these.

    Raises:
        TmrlError: it cannot be started.
    """
    own = {"resources": {"game": games}, "object_store_memory": object_store_bytes, **_QUIET}
    for starts_left in reversed(range(STARTS)):
        try:
            ray.init(address="local", namespace=NAMESPACE, **{**own, **options})
            break
        except Exception as error:  # noqa: BLE001 - Ray raises this very class where its processes are not up in 30 s
            ray.shutdown()
            if starts_left and "timed out during startup" in str(error):
                log.warning("Ray was not up within the 30 s that it gives itself, and is started again")
                continue
            raise TmrlError(
                f"Ray cannot be started here: {error}",
                hint="A machine that is busy with other things is too slow for it: try again. tmrl-ray doctor says "
                "what a machine lacks, and train --serial needs no Ray.",
            ) from error
    try:
        yield RaySession.now()
    finally:
        ray.shutdown()


@contextmanager
def joined(address: str, **options: Any) -> Iterator[RaySession]:
    """Be a part of a cluster that runs.

    Args:
        address: HOST:PORT, or auto.
        options: of ``ray.init`` beside these.

    Raises:
        ClusterError: it cannot be joined; the message says what to do.
    """
    join_cluster(address, **{"namespace": NAMESPACE, **_QUIET, **options})
    try:
        yield RaySession.now()
    finally:
        ray.shutdown()
