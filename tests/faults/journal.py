"""The oracle of the fault tests: a journal of what was sent to a replay buffer, what it answered, and what was drawn.

Whoever sends tells a :class:`Journal`, which appends a line to a file of its
process *before* a chunk goes out and another one when its answer is there. Files survive a SIGKILL, so afterwards

* nothing that was acknowledged is lost,
* nothing is in the ring, and nothing was drawn, that was not sent, byte for byte (a checksum over all columns),
* nothing is there twice, and the counters agree.
"""

from __future__ import annotations

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from actors.messages import AppendStatus
from tmrl_ray.experience.chunk import Chunk, ChunkFormat, ChunkId
from tmrl_ray.experience.chunk_records import Record
from tmrl_ray.experience.codec import Buffer, decode
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.experience.sampling import Draw

_WRITING = threading.Lock()
TAKEN = {AppendStatus.ACCEPTED, AppendStatus.DUPLICATE}


@dataclass
class Account:
    """What a journal says by now."""

    sent: dict[ChunkId, tuple[int, int]] = field(default_factory=dict)
    """By chunk: the checksum of its contents, and its core rows."""
    acknowledged: dict[ChunkId, None] = field(default_factory=dict)
    """Chunks that were answered as being there, in the order of the answers of each process."""
    answers: Counter[str] = field(default_factory=Counter)
    """How often each answer came."""
    most_in_flight: int = 0
    """Chunks of one collector that were sent and not answered, at most."""
    drawn: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)
    """By ring and generation: the first and the last row that was drawn."""

    @property
    def acknowledged_rows(self) -> int:
        """Core rows that must be there."""
        return sum(self.sent[id][1] for id in self.acknowledged)


class Journal:
    """Writes down what happens, in any process and thread.

    Args:
        folder: of the journal, the same for all that take part.
        format: of the chunks.
    """

    def __init__(self, folder: Path, format: ChunkFormat) -> None:
        self.folder = folder
        self._format = format
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, data: Buffer) -> ChunkId:
        """Write down that a chunk is about to be sent, as encoded."""
        return self.send_chunk(decode(data, self._format))

    def send_chunk(self, chunk: Chunk) -> ChunkId:
        """Write down that a chunk is about to be sent."""
        self._write({"sent": list(chunk.id), "crc": chunk.checksum, "core": chunk.core})
        return chunk.id

    def answer(self, id: ChunkId, status: AppendStatus) -> None:
        """Write down what came of it."""
        self._write({"answered": list(id), "status": status.value})

    def draw(self, ring_uuid: str, draw: Draw) -> None:
        """Write down what was drawn."""
        rows, generations = draw.rows.ravel(), draw.generations.ravel()
        found, places = np.unique(generations, return_inverse=True)
        low, high = np.full(len(found), np.iinfo(np.int64).max), np.zeros(len(found), np.int64)
        np.minimum.at(low, places, rows)
        np.maximum.at(high, places, rows)
        self._write({"ring": ring_uuid, "drawn": np.stack([found, low, high], axis=1).tolist()})

    def read(self) -> Account:
        """Return what all processes have written down."""
        account = Account()
        for path in sorted(self.folder.glob("*.journal")):
            in_flight: dict[int, set[ChunkId]] = {}
            for entry in _entries(path):
                if "sent" in entry:
                    id = ChunkId(*entry["sent"])
                    told = (entry["crc"], entry["core"])
                    assert account.sent.setdefault(id, told) == told, f"{id} was sent with different contents"
                    waiting = in_flight.setdefault(id.collector, set())
                    waiting.add(id)
                    account.most_in_flight = max(account.most_in_flight, len(waiting))
                elif "answered" in entry:
                    id = ChunkId(*entry["answered"])
                    account.answers[entry["status"]] += 1
                    in_flight[id.collector].discard(id)
                    if entry["status"] in TAKEN:
                        account.acknowledged[id] = None
                else:
                    for generation, low, high in entry["drawn"]:
                        of_ring = account.drawn.setdefault(entry["ring"], {})
                        before = of_ring.get(generation, (low, high))
                        of_ring[generation] = (min(low, before[0]), max(high, before[1]))
        return account

    def check(self, ring: RingReader, *, lost: frozenset[ChunkId] = frozenset(), counted: bool = False) -> Account:
        """See that a ring holds what it must and nothing else; nobody may write to it meanwhile.

        Args:
            ring: large enough for all that was sent.
            lost: what the fault may cost.
            counted: whether its decisions are counted all the same: they were in a checkpoint that is damaged now.
        """
        account, live = self.read(), ring.live_chunks()
        found = Counter(record.id for record in live)
        assert max(found.values(), default=1) == 1, f"there twice: {[id for id, times in found.items() if times > 1]}"
        missing = account.acknowledged.keys() - found.keys() - lost
        assert not missing, f"acknowledged, and not there: {sorted(missing)}"
        for record in live:
            self._check_record(ring, record, account)
        rows = sum(record.core for record in live)
        rows += sum(account.sent[id][1] for id in lost - found.keys()) if counted else 0
        assert ring.counters.env_steps == rows, f"{ring.counters.env_steps} env steps counted of {rows}"
        by_generation = {record.generation: record for record in live}
        for generation, (low, high) in account.drawn.get(ring.uuid, {}).items():
            record = by_generation[generation]
            inside = record.core_start <= low <= high < record.core_start + record.core
            assert inside, f"rows {low} to {high} were drawn, which are not the core of {record}"
        return account

    @staticmethod
    def _check_record(ring: RingReader, record: Record, account: Account) -> None:
        assert record.id in account.sent, f"{record.id} is there and was never sent"
        assert account.sent[record.id] == (record.contents_crc, record.core), f"{record} is not what was sent"
        assert ring.read_chunk(record) is not None, f"the rows of {record} are not what was sent"

    def _write(self, entry: dict[str, Any]) -> None:
        line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        path = self.folder / f"{os.getpid()}.journal"
        with _WRITING, path.open("ab", buffering=0) as file:
            file.write(line)


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    for line in path.read_bytes().splitlines(keepends=True):
        if line.endswith(b"\n"):  # else its writer was killed before the line was whole, and before it went on
            yield json.loads(line)
