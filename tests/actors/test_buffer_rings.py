"""Where the rings of a run are, and that one that may be whole is never removed."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from actors import buffer_rings
from actors.buffer_rings import EXPERIENCE, BufferSetup
from actors.messages import AppendStatus
from actors.replay_buffer import ReplayBuffer
from tests.actors.buffers import Sender, contents, crash, sent, settings_of, setup_in
from tests.actors.saved_experience import load, save, store_in
from tests.experience.races import FORMAT, LAYOUT
from tmrl_ray import training as training_module
from tmrl_ray.config.game import GameSettings
from tmrl_ray.config.replay import DemonstrationSettings
from tmrl_ray.config.run import RunConfig
from tmrl_ray.errors import CheckpointError, InvalidInputError, RingError, RingInUseError
from tmrl_ray.experience import memory
from tmrl_ray.experience.chunk import ChunkFormat
from tmrl_ray.experience.codec import encode
from tmrl_ray.experience.memory import SPARE_BYTES, RingSize, ring_directory
from tmrl_ray.experience.ring import Ring
from tmrl_ray.experience.ring_files import WriterLock
from tmrl_ray.experience.ring_reader import RingReader
from tmrl_ray.training import Training

PLENTY = 2**40
WITH_DEMONSTRATIONS = settings_of(demonstrations=DemonstrationSettings(rows=512))


@pytest.mark.parametrize("place", ["shm", "disk"])
def test_a_resumed_run_finds_its_ring_where_it_is_whatever_is_free_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
):
    shm, disk = tmp_path / "shm", tmp_path / "run" / "rings"
    shm.mkdir()
    free = {shm: PLENTY if place == "shm" else 0, disk: PLENTY}
    monkeypatch.setattr(training_module, "SHARED_MEMORY", shm)
    monkeypatch.setattr(memory.shutil, "disk_usage", lambda path: SimpleNamespace(free=free[path]))
    monkeypatch.setattr(memory, "available_memory_bytes", lambda: PLENTY)
    config = RunConfig(game=GameSettings(frame_size=None), replay=settings_of())
    training = replace(Training.of(config), format=FORMAT)
    buffer = ReplayBuffer(training.buffer_setup("run-7", tmp_path / "run"))
    sender = Sender(buffer)
    sender.send(buffer, 300)
    here, there = (shm, disk) if place == "shm" else (disk, shm)
    assert buffer.ring.directory.parent == here
    crash(buffer)
    there.mkdir(exist_ok=True)
    Ring.create(ring_directory("run-7", EXPERIENCE, there), FORMAT, RingSize(512), run="run-7").close()
    free[shm] = 0 if place == "shm" else PLENTY  # the pages of the ring count as used
    again = ReplayBuffer(training.buffer_setup("run-7", tmp_path / "run"))
    assert again.was_attached
    assert contents(again) == sent(sender.acknowledged)
    again.remove()


@pytest.mark.parametrize("is_saved", [True, False], ids=["checkpoint", "no checkpoint"])
@pytest.mark.parametrize("has_experience", [True, False], ids=["both rings", "demonstrations"])
def test_another_format_is_refused_before_any_ring_is_removed(tmp_path: Path, is_saved: bool, has_experience: bool):
    setup = setup_in(tmp_path, WITH_DEMONSTRATIONS)
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    sender.send(buffer, 100)
    _show(buffer, 2)
    if is_saved:
        save(store_in(tmp_path), buffer)
    crash(buffer)
    if not has_experience:
        buffer.ring.remove()
    changed = replace(setup, format=ChunkFormat(LAYOUT, history=2, look_ahead=5))  # another replay.n_steps
    with pytest.raises((CheckpointError, RingError), match="look-ahead") as refused:
        ReplayBuffer(changed, load(tmp_path) if is_saved else None)
    assert "Take back what was changed" in str(refused.value)
    again = ReplayBuffer(setup)
    assert again.was_attached == has_experience
    assert contents(again) == (sent(sender.acknowledged) if has_experience else [])
    assert again.stats().demonstration_rows == 200
    again.remove()


def test_a_ring_that_is_in_use_for_a_moment_is_waited_for(tmp_path: Path):
    buffer = _filled(setup_in(tmp_path))
    crash(buffer)
    lock = WriterLock(buffer.ring.directory)  # as whoever looks for left-over rings has it
    threading.Timer(0.1, lock.release).start()
    again = ReplayBuffer(buffer.setup)
    assert again.was_attached
    assert contents(again) == contents(buffer)
    again.remove()


def test_a_ring_that_was_in_use_a_moment_ago_is_not_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    buffer = _filled(setup_in(tmp_path))
    crash(buffer)

    def in_use(*_: object, **__: object) -> Ring:
        raise RingInUseError("another process writes to it")

    with monkeypatch.context() as patch:
        patch.setattr(Ring, "attach", in_use)
        with pytest.raises(RingInUseError):
            ReplayBuffer(buffer.setup)
    again = ReplayBuffer(buffer.setup)
    assert contents(again) == contents(buffer)
    again.remove()


def test_chunks_of_a_ring_on_a_disk_that_a_crash_damaged_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    buffer = ReplayBuffer(setup_in(tmp_path))
    sender = Sender(buffer)
    for _ in range(3):
        sender.send(buffer, 70)
    row = buffer.ring.live_chunks()[1].core_start + 5
    crash(buffer)
    with (buffer.ring.directory / "floats.rows").open("r+b") as file:
        file.seek(row * LAYOUT["floats"].row_bytes)
        file.write(bytes(2 * LAYOUT["floats"].row_bytes))  # of a page that was never written back
    again = ReplayBuffer(buffer.setup)
    assert again.was_attached
    first, _, last = sent(sender.acknowledged)
    assert contents(again) == [first, last]
    assert "are damaged: left out" in caplog.text
    again.remove()


@pytest.mark.parametrize("room", ["for both", "for one"])
def test_a_run_that_moves_to_another_capacity_keeps_its_ring_as_long_as_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, room: str
):
    buffer = _filled(setup_in(tmp_path))
    crash(buffer)
    larger = setup_in(tmp_path, settings_of(rows=2048))
    _leave_free(monkeypatch, larger, 0 if room == "for both" else -1)
    again = ReplayBuffer(larger)
    assert again.ring.capacity_rows == 2048
    assert contents(again) == contents(buffer)
    assert ("has no room for two rings" in caplog.text) == (room == "for one")
    assert [path.name for path in (tmp_path / "shm").iterdir()] == [buffer.ring.directory.name]
    again.remove()


def test_a_capacity_for_which_there_is_no_room_at_all_is_refused_and_nothing_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    buffer = _filled(setup_in(tmp_path))
    crash(buffer)
    larger = setup_in(tmp_path, settings_of(rows=2048))
    _leave_free(monkeypatch, larger, -memory.size_of(buffer.ring.directory) - 1)
    with pytest.raises(InvalidInputError, match="(?s)2048 rows needs .* the ring of 1024 rows .* kept as it is"):
        ReplayBuffer(larger)
    ring = RingReader.attach(buffer.ring.directory, FORMAT)
    chunks = [ring.read_chunk(record) for record in ring.live_chunks()]
    assert [(tuple(chunk.id), chunk.checksum) for chunk in chunks if chunk is not None] == contents(buffer)


def test_demonstrations_that_a_kill_cut_off_are_completed(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path, WITH_DEMONSTRATIONS))
    assert buffer.stats().experts == 0
    first, second = _shown(buffer, 0), _shown(buffer, 1)
    for data in [*first, second[0]]:  # and killed before the second one of the second race
        assert buffer.add_demonstration(data) is AppendStatus.ACCEPTED
    crash(buffer)
    again = ReplayBuffer(buffer.setup)
    assert (again.stats().experts, again.stats().demonstration_rows) == (2, 100 + 60)
    assert [again.add_demonstration(data) for data in _shown(again, 1)] == [
        AppendStatus.DUPLICATE,
        AppendStatus.ACCEPTED,
    ]
    assert [again.add_demonstration(data) for data in _shown(again, 2)] == [AppendStatus.ACCEPTED] * 2
    assert (again.stats().experts, again.stats().demonstration_rows) == (3, 300)
    again.remove()


def _filled(setup: BufferSetup) -> ReplayBuffer:
    buffer = ReplayBuffer(setup)
    sender = Sender(buffer)
    for _ in range(3):
        sender.send(buffer, 70)
    return buffer


def _leave_free(patch: pytest.MonkeyPatch, setup: BufferSetup, beyond: int) -> None:
    """Let there be just so much room that a new ring fits, and ``beyond`` bytes."""
    free = memory.bytes_needed(setup.format, setup.size).total_bytes + SPARE_BYTES + beyond
    patch.setattr(buffer_rings, "free_bytes", lambda base, *, is_memory: free)


def _shown(buffer: ReplayBuffer, number: int) -> list[bytes]:
    """Return the race of an expert, 100 rows in two chunks."""
    expert = Sender(buffer, number, seed=number)
    expert.builder.incarnation = buffer.enlist_expert(number)
    steps = expert.races.steps(100)
    chunks = []
    for row, step in enumerate(steps):
        chunks += expert.builder.add(step)
        if row == 60 + FORMAT.look_ahead - 1:
            chunks += expert.builder.flush()
    chunks += expert.builder.end(expert.races.end(100))
    return [encode(chunk, compress=False) for chunk in chunks]


def _show(buffer: ReplayBuffer, races: int) -> None:
    for number in range(races):
        for data in _shown(buffer, number):
            buffer.add_demonstration(data)
