"""Experience on the disk: all of it comes back, only what is new is written, and it is restored to any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from actors.draw_messages import Drawn, DrawRequest
from actors.experience_checkpoint import ExperienceFolder
from actors.replay_buffer import ReplayBuffer
from tests.actors.buffers import Sender, contents, crash, sent, settings_of, setup_in
from tests.actors.saved_experience import load, lose_ring, save, segments_in, store_in
from tests.experience.races import LAYOUT
from tmrl_ray.config.replay import PrioritySettings
from tmrl_ray.errors import CheckpointError
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.runs.checkpoint_files import Part


def test_a_checkpoint_brings_everything_back(tmp_path: Path):
    setup = setup_in(tmp_path, settings_of(priorities=PrioritySettings(), test_every=3))
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(5):
        sender.send(buffer, 70)
    for record in buffer.ring.live_chunks():
        buffer.ring._files.priorities[record.core_extent.slice] = np.arange(record.core) + 1.0
    leaves = [buffer.ring.live_priorities()[record.core_extent.slice] for record in buffer.ring.live_chunks()]
    splits = [record.split for record in buffer.ring.live_chunks()]
    before = buffer.stats()
    save(store_in(tmp_path), buffer)
    expected = buffer._sampler.state_dict()["rng"]
    lose_ring(buffer)
    again = ReplayBuffer(setup, load(tmp_path))
    assert not again.was_attached
    assert (again.restored.chunks, again.restored.rows) == (5, 350)
    assert (again.restored.lost_rows, again.restored.left_out_rows, again.restored.damaged) == (0, 0, ())
    assert contents(again) == sent(sender.acknowledged)
    assert again.stats()._replace(ring_uuid="") == before._replace(ring_uuid="", collectors=())
    assert [record.split for record in again.ring.live_chunks()] == splits
    for record, expected_leaves in zip(again.ring.live_chunks(), leaves, strict=True):
        assert again.ring.live_priorities()[record.core_extent.slice].tolist() == expected_leaves.tolist()
    again._sampler.check_valid()
    assert again._sampler.state_dict()["rng"] == expected
    again.close()


def test_an_intact_ring_is_newer_than_its_checkpoint(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    sender.send(buffer, 70)
    save(store_in(tmp_path), buffer)
    sender.send(buffer, 70)
    crash(buffer)
    again = ReplayBuffer(setup, load(tmp_path))
    assert again.was_attached
    assert again.restored is None
    assert contents(again) == sent(sender.acknowledged)
    again.close()


def test_only_what_is_new_is_written(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path))
    sender, store = Sender(buffer), store_in(tmp_path)
    sender.send(buffer, 150)
    save(store, buffer)
    first = segments_in(tmp_path)
    sender.send(buffer, 30)
    save(store, buffer)
    second = segments_in(tmp_path)
    assert second.items() > first.items()
    (new,) = second.keys() - first.keys()
    assert second[new] < 0.4 * sum(first.values())
    save(store, buffer)
    assert segments_in(tmp_path) == second
    buffer.close()


@pytest.mark.parametrize("is_killed", [True, False], ids=["after a kill", "after a restore"])
def test_only_what_is_new_is_written_after_a_start(tmp_path: Path, is_killed: bool):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    sender.send(buffer, 150)
    save(store_in(tmp_path), buffer)
    first = segments_in(tmp_path)
    crash(buffer) if is_killed else lose_ring(buffer)
    again = ReplayBuffer(setup, load(tmp_path))
    Sender(again).send(again, 30)
    save(store_in(tmp_path), again)
    assert segments_in(tmp_path).items() > first.items()
    again.close()


def test_segments_go_when_nothing_of_them_is_left(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(rows=512, samples_per_insert=None)))
    sender, store = Sender(buffer), store_in(tmp_path)
    sender.send(buffer, 150)
    save(store, buffer)
    old = set(segments_in(tmp_path))
    for _ in range(5):
        sender.send(buffer, 150)
    part = save(store, buffer)
    assert not old & set(segments_in(tmp_path))
    assert set(part.files) == set(segments_in(tmp_path))
    first = store.load(store.names()[0]).parts["replay"]
    assert all(file.is_whole() for file in first.files.values())  # the older checkpoint still has what it needs
    buffer.close()


def test_large_experience_goes_into_several_segments(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(6):
        sender.send(buffer, 70)
    chunk_bytes = 70 * LAYOUT.row_bytes
    folder = ExperienceFolder(tmp_path / "other", compress=False, segment_bytes=2 * chunk_bytes)
    part = folder.save(buffer.ring, {"limiter": {}, "sampler": {}})
    assert len(part.files) == 3
    assert all(2 * chunk_bytes <= file.size_bytes < 3 * chunk_bytes for file in part.files.values())
    buffer.close()


@pytest.mark.parametrize(("rows", "kept"), [(512, 5), (2048, 9)], ids=["smaller", "larger"])
@pytest.mark.parametrize("ring_is_there", [True, False])
def test_the_newest_rows_fit_into_another_size(tmp_path: Path, rows: int, kept: int, ring_is_there: bool):
    """Row 32."""
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(rows=1024, samples_per_insert=None)))
    sender = Sender(buffer)
    for _ in range(9):
        sender.send(buffer, 100)
    save(store_in(tmp_path), buffer)
    crash(buffer) if ring_is_there else lose_ring(buffer)
    again = ReplayBuffer(setup_in(tmp_path, settings_of(rows=rows, samples_per_insert=None)), load(tmp_path))
    assert again.was_attached == ring_is_there
    assert again.restored.left_out_rows == (9 - kept) * 100
    assert contents(again) == sent(sender.acknowledged[-kept:])
    stats = again.stats()
    assert (stats.capacity_rows, stats.live_rows, stats.env_steps) == (rows, kept * 100, 900)
    assert len(list((tmp_path / "shm").iterdir())) == 1
    again.close()


@pytest.mark.parametrize("ratio", [0.5, 64.0, None])
def test_other_settings_of_the_limiter_win(tmp_path: Path, ratio: float | None):
    """Row 33: no burst of draws, and nobody waits for ever."""
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(5):
        sender.send(buffer, 100)
    request = DrawRequest(2, 11)
    while isinstance(buffer.draw(request), Drawn):
        pass
    save(store_in(tmp_path), buffer)
    lose_ring(buffer)
    again = ReplayBuffer(setup_in(tmp_path, settings_of(samples_per_insert=ratio)), load(tmp_path))
    stats = again.stats()
    assert (stats.inserted_rows, stats.target_samples_per_insert) == (500, ratio)
    assert -stats.band <= stats.balance <= stats.band
    if ratio is not None:
        draws = 0
        while isinstance(again.draw(request), Drawn):
            draws += 1
        assert draws * 22 <= 2 * stats.band
        assert again.standing(0).credits > 0
    again.close()


def test_a_checkpoint_of_other_columns_is_refused(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path))
    Sender(buffer).send(buffer, 50)
    save(store_in(tmp_path), buffer)
    lose_ring(buffer)
    other = setup_in(tmp_path, format=ChunkFormat(LAYOUT, history=2, look_ahead=5))
    with pytest.raises(CheckpointError, match="look-ahead"):
        ReplayBuffer(other, load(tmp_path))


def test_a_checkpoint_of_another_version_is_refused_with_the_way_out(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path))
    Sender(buffer).send(buffer, 50)
    part = buffer.checkpoint()
    lose_ring(buffer)
    former = Part({**part.values, "version": 1}, part.arrays, part.files)
    with pytest.raises(CheckpointError, match="has version 1, this version of tmrl_ray reads 2") as refused:
        ReplayBuffer(setup_in(tmp_path), former)
    assert "--restart" in str(refused.value)
