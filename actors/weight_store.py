"""The newest weights, for whoever acts: the learner publishes, collectors and the evaluator fetch what is newer.

The store keeps one set of weights and nothing else, so that losing it costs nothing: whoever acts goes on with what it
has, and the learner publishes again when it sees that the store has older weights than it published, or none.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from tmrl_ray.errors import DataError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Weights:
    """What is needed to act."""

    version: int
    """Grows with every publication of a run, from 1."""
    data: bytes | memoryview
    """Safetensors; a view is one of memory that nobody writes to any more."""
    checksum: int
    """CRC-32 of ``data``."""

    @classmethod
    def of(cls, version: int, data: bytes | memoryview) -> Weights:
        """Return weights with the checksum of their bytes."""
        return cls(version, data, zlib.crc32(data))

    def check(self) -> None:
        """See that the bytes are what was published.

        Raises:
            DataError: they are not.
        """
        if self.version < 1 or zlib.crc32(self.data) != self.checksum:
            raise DataError(
                f"the weights of version {self.version} are damaged: {len(self.data)} bytes with checksum "
                f"{zlib.crc32(self.data):#x}, not {self.checksum:#x}"
            )

    def tensors(self) -> Mapping[str, Tensor]:
        """Return the tensors by their names.

        Raises:
            DataError: the bytes are not what was published.
        """
        from safetensors.torch import load  # torch takes a second to import, and the store itself needs none

        self.check()
        return load(bytes(self.data))


class WeightSource(Protocol):
    """The weight store as whoever acts sees it."""

    def fetch_if_newer(self, version: int) -> Future[Weights | None]:
        """Ask for weights newer than ``version``, the one that acts.

        A future that fails with :class:`~tmrl_ray.errors.PeerUnavailableError` means: go on with what you have.
        """

    def acknowledge(self, collector: int, version: int) -> None:
        """Tell that a collector acts with a version; nobody waits for an answer."""


class WeightStore:
    """Keeps the newest weights; may be called from several threads."""

    def __init__(self) -> None:
        self._newest: Weights | None = None
        self._acknowledged: dict[int, int] = {}
        self._lock = threading.Lock()

    @property
    def version(self) -> int:
        """Of the newest weights; 0: none were published."""
        return 0 if self._newest is None else self._newest.version

    @property
    def acknowledged(self) -> dict[int, int]:
        """By collector, the version that it acts with."""
        with self._lock:
            return dict(self._acknowledged)

    def publish(self, weights: Weights) -> int:
        """Take in weights, unless the store has newer ones: publications may arrive in another order, or twice.

        Returns:
            The version that the store has now.

        Raises:
            DataError: the weights are damaged.
        """
        weights.check()
        with self._lock:
            if weights.version > self.version:
                self._newest = weights
            return self.version

    def fetch_if_newer(self, version: int) -> Weights | None:
        """Return the newest weights if they are newer than ``version``."""
        newest = self._newest
        return newest if newest is not None and newest.version > version else None

    def acknowledge(self, collector: int, version: int) -> None:
        """Remember that a collector acts with a version."""
        with self._lock:
            self._acknowledged[collector] = version

    def forget(self, collector: int) -> None:
        """Forget a collector that is no more."""
        with self._lock:
            self._acknowledged.pop(collector, None)
