"""Experience on the disk: half filled rings, missing segments, lost manifests, and chunks that come meanwhile.

Kills and full disks at each step of a checkpoint, and damage, are rows 29 to 31 of ``tests/faults``.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from actors.replay_buffer import ReplayBuffer
from tests.actors.buffers import Sender, contents, crash, sent, settings_of, setup_in
from tests.actors.saved_experience import load, lose_ring, save, segments_in, store_in


class Killed(BaseException):
    """The process was killed."""


def test_a_ring_that_was_never_filled_completely_is_not_taken_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(4):
        sender.send(buffer, 70)
    save(store_in(tmp_path), buffer)
    lose_ring(buffer)
    restore, calls = type(buffer._sampler).restore, []

    def killed_at_the_third(*arguments):
        calls.append(arguments)
        if len(calls) == 3:
            raise Killed
        return restore(*arguments)

    monkeypatch.setattr(type(buffer._sampler), "restore", killed_at_the_third)
    with pytest.raises(Killed):
        ReplayBuffer(setup, load(tmp_path))
    calls[0][0].ring.close()
    again = ReplayBuffer(setup, load(tmp_path))
    assert contents(again) == sent(sender.acknowledged)
    again.close()


def test_a_missing_segment_costs_what_was_in_it(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender, store = Sender(buffer), store_in(tmp_path)
    sender.send(buffer, 50)
    save(store, buffer)
    sender.send(buffer, 80)
    save(store, buffer)
    lose_ring(buffer)
    part = load(tmp_path)
    part.files[part.values["segments"][part.arrays["chunks"][0][0]]].path.unlink()
    again = ReplayBuffer(setup, load(tmp_path))
    assert (again.restored.lost_rows, again.restored.rows) == (50, 80)
    again.close()


def test_a_checkpoint_is_made_while_chunks_come(tmp_path: Path):
    setup = setup_in(tmp_path, settings_of(rows=512, samples_per_insert=None))
    buffer = ReplayBuffer(setup)
    sender, store = Sender(buffer), store_in(tmp_path)
    ends = threading.Event()

    def keep_sending() -> None:
        while not ends.is_set():
            sender.send(buffer, 90)
            time.sleep(0.001)

    thread = threading.Thread(target=keep_sending)
    thread.start()
    for _ in range(8):
        save(store, buffer)
    ends.set()
    thread.join()
    lose_ring(buffer)
    part = load(tmp_path)
    again = ReplayBuffer(setup, part)
    assert again.restored.lost_chunks == 0
    known = dict(sent(sender.acknowledged))
    assert again.restored.chunks > 0
    for identity, checksum in contents(again):
        assert known[identity] == checksum
    assert again.stats().env_steps == part.values["counters"]["env_steps"]
    again.close()


def test_an_unreadable_manifest_costs_one_whole_checkpoint(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    sender.send(buffer, 90)
    save(store_in(tmp_path), buffer)
    crash(buffer)
    (tmp_path / "replay" / "manifest.json").write_text("{")
    again = ReplayBuffer(setup)
    assert segments_in(tmp_path) == {}
    save(store_in(tmp_path), again)
    lose_ring(again)
    restored = ReplayBuffer(setup, load(tmp_path))
    assert contents(restored) == sent(sender.acknowledged)
    restored.close()
