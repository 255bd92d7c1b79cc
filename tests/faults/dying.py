"""Processes that are killed in the midst of something, or run out of room.

They are forked from a process that has imported everything already, so that hundreds of kills take seconds.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from actors import buffer_rings
from actors.buffer_rings import RunRings
from actors.draw_messages import Drawn, DrawRequest
from actors.replay_buffer import ReplayBuffer
from tests.actors.buffers import settings_of
from tests.faults.buffer_site import ROWS, BufferSite
from tests.faults.parts import die
from tests.runs.saved_state import CountingDisk
from tmrl_ray.errors import InvalidInputError
from tmrl_ray.experience.memory import size_of
from tmrl_ray.experience.ring import Ring
from tmrl_ray.experience.sampling import PriorityUpdate
from tmrl_ray.experience.sum_tree import SumTree

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


def in_process(target: Callable[..., Any], *arguments: Any) -> int:
    """Run a function of a module in a process of its own, and return its exit code; negative: the signal."""
    process = _CONTEXT.Process(target=target, args=arguments)
    process.start()
    process.join(120)
    assert process.exitcode is not None, "it did not end"
    return process.exitcode


def save_until_killed(folder: Path, step: int) -> None:
    """Save a first checkpoint, and die at a step of what a second one does to the disk."""
    site = BufferSite(folder)
    buffer = site.open()
    sender = site.sender(buffer)
    sender.send(buffer, 60)
    site.save(buffer)
    sender.send(buffer, 61)
    disk = CountingDisk(lambda now: die() if now == step else None)
    buffer._folder._disk = disk
    site.save(buffer, disk)


def resize_until_killed(site: BufferSite, point: str) -> None:
    """Open the buffer that is there with another capacity, and die while it moves to another ring."""
    if point == "before the note":
        RunRings.settle = lambda *_: die()  # type: ignore[method-assign]
    elif point == "before the old ring goes":
        Ring.remove = lambda *_: die()  # type: ignore[method-assign]
    else:  # the old one is gone, the new one is not in its place
        Ring.move = lambda *_: die()  # type: ignore[method-assign]
    site.open()


def update_until_killed(site: BufferSite, point: str) -> None:
    """Open the buffer that is there, and die while priorities of drawn rows are set."""
    buffer = site.open()
    drawn = buffer.draw(DrawRequest(1, 64))
    assert isinstance(drawn, Drawn)
    rows, generations = drawn.draw.rows.ravel(), drawn.draw.generations.ravel()
    update = PriorityUpdate(rows, generations, np.linspace(3.0, 9.0, len(rows), dtype=np.float32))
    _die_in_update(buffer, point)
    buffer.draw(DrawRequest(1, 64, priorities=(update,)))


def _die_in_update(buffer: ReplayBuffer, point: str) -> None:
    if point == "before the leaves":
        buffer.ring.set_priorities = lambda *_: die()  # type: ignore[method-assign]
    elif point == "half of the leaves":
        whole = buffer.ring.set_priorities

        def half(rows: Any, generations: Any, priorities: Any) -> Any:
            middle = len(rows) // 2
            whole(rows[:middle], generations[:middle], priorities[:middle])
            die()

        buffer.ring.set_priorities = half  # type: ignore[method-assign]
    else:  # the leaves are there, the tree is not
        SumTree.set = lambda *_: die()  # type: ignore[method-assign]


def peak_of_restore(site: BufferSite, told: Any) -> None:
    """Restore from the checkpoint, and tell by how much memory grew at its peak, shared pages included."""
    small = BufferSite(site.folder / "small")
    small.open().remove()  # what is imported and allocated once is no part of it
    before = _peak_bytes()
    buffer = site.open(restored=True)
    told.put((_peak_bytes() - before, buffer.stats().live_rows, buffer.stats().size_bytes))
    buffer.close()


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def crowd_out(folder: Path) -> None:
    """Go on with a ring while no byte is free beside it, and after a kill in that state, too."""
    site = BufferSite(folder)
    buffer = site.open()
    sender = site.sender(buffer)
    sender.send(buffer, 60)
    _fill(site.setup.ring_base / "filler")
    sender.send(buffer, 61)
    buffer.close()
    again = site.open()
    assert again.was_attached
    site.sender(again, 1).send(again, 40)
    site.check(again)
    again.remove()


def make_with_little_room(folder: Path) -> None:
    """Make a ring with ever more room, from too little on: it is refused and nothing is left, until it is made."""
    site = BufferSite(folder)
    base, page = site.setup.ring_base, resource.getpagesize()
    needed = site.setup.memory_bill().total_bytes
    refusals = 0
    for free in range(needed - 3 * page, needed + 64 * page, page):
        filler = base / "filler"
        _fill(filler)
        os.truncate(filler, filler.stat().st_size - free)
        try:
            buffer = site.open()
        except InvalidInputError as error:
            assert "cannot reserve" in str(error), error
            assert [path.name for path in base.iterdir()] == ["filler"], "something is left behind"
            refusals += 1
            continue
        site.sender(buffer).send(buffer, 60)
        site.check(buffer)
        buffer.remove()
        assert refusals > 3
        return
    raise AssertionError("it was never made")


def outgrow_with_little_room(folder: Path) -> None:
    """Move to a ring of twice as many rows, for which there is room only where the old one was."""
    buffer_rings.SPARE_BYTES = 0
    site = BufferSite(folder)
    buffer = site.open()
    site.sender(buffer).send(buffer, 60)
    buffer.close()
    before_bytes, filler = size_of(buffer.ring.directory), site.setup.ring_base / "filler"
    del buffer
    larger = BufferSite(folder, settings_of(rows=2 * ROWS, samples_per_insert=None))
    _fill(filler)
    missing = larger.setup.memory_bill().total_bytes - before_bytes + 8 * resource.getpagesize()
    os.truncate(filler, filler.stat().st_size - missing)
    again = larger.open()
    assert (again.was_attached, again.ring.capacity_rows) == (True, 2 * ROWS)
    larger.check(again)
    again.remove()


def _fill(path: Path) -> None:
    """Write until the file system has no room any more."""
    with path.open("ab", buffering=0) as file, suppress(OSError):
        while file.write(bytes(resource.getpagesize())):
            pass
