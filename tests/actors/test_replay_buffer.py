"""The replay buffer between collectors and a learner: once, in step, and still there after a kill."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from actors.buffer_rings import INCARNATIONS_APART
from actors.credits import Credits
from actors.draw_messages import Drawn, DrawRequest, NeedMore
from actors.messages import AppendStatus
from actors.replay_buffer import ReplayBuffer
from tests.actors.buffers import Sender, contents, crash, metres_of, sent, settings_of, setup_in
from tests.actors.fakes import Clock
from tmrl_ray.config.replay import DemonstrationSettings, PrioritySettings, WindowSettings
from tmrl_ray.errors import ChunkError, InvalidInputError, RingError
from tmrl_ray.experience.codec import encode
from tmrl_ray.experience.sampling import PriorityUpdate

REQUEST = DrawRequest(batches=2, batch_size=11)


@pytest.fixture
def buffer(tmp_path: Path) -> Iterator[ReplayBuffer]:
    made = ReplayBuffer(setup_in(tmp_path), clock=Clock())
    yield made
    made.close()


def test_what_is_sent_is_drawn(buffer: ReplayBuffer):
    sender = Sender(buffer)
    replies = sender.send(buffer, 300)
    assert [reply.status for reply in replies] == [AppendStatus.ACCEPTED] * 2
    assert contents(buffer) == sent(sender.acknowledged)
    assert replies[-1].standing.env_steps == 300
    drawn = buffer.draw(REQUEST)
    assert isinstance(drawn, Drawn)
    assert (drawn.draw.shape, drawn.env_steps, drawn.ring_uuid) == ((2, 11), 300, buffer.ring.uuid)
    steps = {float(metres) for chunk in sender.acknowledged for metres in chunk.core_of("metres")}
    assert metres_of(buffer, drawn.draw.rows) <= steps


def test_a_chunk_counts_once_however_often_it_comes(buffer: ReplayBuffer):
    sender = Sender(buffer)
    chunks = sender.make(300)
    for chunk in [chunks[1], chunks[0], chunks[0], chunks[1]]:
        reply = buffer.append(encode(chunk, compress=True))
    assert reply.status is AppendStatus.DUPLICATE
    stats = buffer.stats()
    assert (stats.env_steps, stats.inserted_rows, stats.duplicate_chunks) == (300, 300, 2)
    assert sorted(contents(buffer)) == sent(chunks)


def test_what_cannot_be_told_apart_is_refused(buffer: ReplayBuffer):
    sender = Sender(buffer)
    sender.builder.incarnation += 1
    (reply,) = sender.send(buffer, 50)
    assert reply.status is AppendStatus.REFUSED
    assert buffer.stats()[:2] == (buffer.ring.uuid, 0)
    assert buffer.stats().refused_chunks == 1


def test_malformed_chunks_and_other_layouts_are_refused(buffer: ReplayBuffer):
    data = encode(Sender(buffer).make(50)[0], compress=False)
    with pytest.raises(ChunkError):
        buffer.append(data[:-1])
    assert buffer.stats().malformed_chunks == 1
    with pytest.raises(ChunkError, match=f"layout abc, the ring has {buffer.setup.format.layout.hash}"):
        buffer.hand_out_incarnation(0, "abc")


def test_incarnations_never_come_twice(buffer: ReplayBuffer):
    layout_hash = buffer.setup.format.layout.hash
    incarnations = [buffer.hand_out_incarnation(number % 2, layout_hash).incarnation for number in range(5)]
    assert incarnations == [1, 2, 3, 4, 5]


def test_the_learner_waits_for_rows_and_collectors_for_the_learner(buffer: ReplayBuffer):
    assert buffer.draw(REQUEST) == NeedMore(buffer.ring.uuid, 0, 101)
    sender = Sender(buffer)
    sender.send(buffer, 60)
    assert buffer.draw(REQUEST) == NeedMore(buffer.ring.uuid, 60, 41)
    while credits := sender.send(buffer, 60)[-1].standing.credits:
        assert credits >= 32
    limiter = buffer._pacer.limiter
    assert limiter.balance > limiter.pace.error_buffer - 32 * 8 - 60 * 8
    samples = 0
    while isinstance(drawn := buffer.draw(REQUEST), Drawn):
        samples += drawn.draw.rows.size
    stats = buffer.stats()
    assert stats.samples == samples
    assert -stats.band <= stats.balance < -stats.band + 22
    assert 1 <= drawn.rows <= 3
    assert buffer.standing(0).credits > 0


def test_credits_are_shared_and_come_back_from_the_dead(tmp_path: Path):
    clock = Clock()
    buffer = ReplayBuffer(setup_in(tmp_path), clock=clock)
    total = buffer._pacer.limiter.credits()
    first, second, third = (buffer.standing(number).credits for number in range(3))
    assert first == total  # it is alone so far
    assert (second, third) == (0, 0)
    shares = [buffer.standing(number).credits for number in (0, 1, 2)]
    assert sum(shares) <= total
    assert shares[0] == max(32, -(-total // 3))
    clock.now_s += 11.0
    assert buffer.standing(5).credits == total
    assert buffer.stats().collectors == (5,)
    buffer.forget(5)
    assert buffer.stats().collectors == ()
    buffer.close()


def test_no_collector_starves_beside_others():
    """A band of 4,000 rows is shared by all, and one of fewer rows than collectors still lets some of them drive."""
    shares = Credits()
    for _ in range(3):  # the first is given all, until somebody else is known
        credits = [shares.share(number, 4000) for number in range(32)]
    assert credits == [125] * 32
    credits = [shares.share(number, 400) for number in range(32)]
    for _ in range(3):
        credits = [shares.share(number, 400) for number in range(32)]
    assert set(credits) == {0, 32}
    assert sum(credits) == 384


def test_the_pace_changes_while_it_runs(buffer: ReplayBuffer):
    Sender(buffer).send(buffer, 200)
    buffer.set_samples_per_insert(None)
    assert buffer.standing(0).credits is None
    assert isinstance(buffer.draw(REQUEST), Drawn)
    with pytest.raises(InvalidInputError, match="-1 samples per insert"):
        buffer.set_samples_per_insert(-1)
    assert buffer.stats().target_samples_per_insert is None
    buffer.set_paused(True)
    assert buffer.standing(0).credits == 0
    assert buffer.draw(REQUEST) == NeedMore(buffer.ring.uuid, 200, 0)
    buffer.set_paused(False)
    assert isinstance(buffer.draw(REQUEST), Drawn)


def test_too_much_at_once_is_refused(buffer: ReplayBuffer):
    with pytest.raises(InvalidInputError, match="516 samples in one draw"):
        buffer.draw(DrawRequest(batches=12, batch_size=43))


def test_the_version_of_the_weights_travels_from_the_learner_to_the_collectors(buffer: ReplayBuffer):
    assert buffer.standing(0).policy_version == 0
    buffer.draw(REQUEST._replace(policy_version=7))
    buffer.draw(REQUEST._replace(policy_version=6))  # a late one
    assert buffer.standing(0).policy_version == 7


def test_the_window_grows_by_schedule(tmp_path: Path):
    windows = (
        WindowSettings(rows=512, learn_start_rows=101),
        WindowSettings(from_env_steps=700, rows=1024, learn_start_rows=211),
    )
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(windows=windows, samples_per_insert=None)))
    sender = Sender(buffer)
    for _ in range(6):
        sender.send(buffer, 100)
    assert buffer.stats().live_rows <= buffer.stats().window_rows == 512
    for _ in range(8):
        sender.send(buffer, 100)
    stats = buffer.stats()
    assert 512 < stats.live_rows <= stats.window_rows == 1024
    assert buffer._pacer.limiter.pace.min_size == 211
    buffer.close()


def test_test_races_are_neither_drawn_nor_counted(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(test_every=3)))
    sender = Sender(buffer)
    for _ in range(6):
        sender.send(buffer, 50)
    stats = buffer.stats()
    assert (stats.env_steps, stats.inserted_rows, stats.test_rows, stats.drawable_rows) == (300, 200, 100, 200)
    drawn = buffer.draw(REQUEST._replace(test_batches=3))
    assert drawn.test.shape == (3, 11)
    assert not metres_of(buffer, drawn.test.rows) & metres_of(buffer, drawn.draw.rows)
    buffer.close()


def test_priorities_come_with_the_next_request(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(priorities=PrioritySettings(alpha=1.0))))
    Sender(buffer).send(buffer, 200)
    drawn = buffer.draw(REQUEST)
    rows, generations = drawn.draw.rows[0].astype(np.int64), drawn.draw.generations[0]
    errors = np.zeros(11, np.float32)
    errors[3] = 1e6
    update = PriorityUpdate.of(rows, generations, errors, clock=np.zeros(11, np.float32), below_clock=None)
    again = buffer.draw(REQUEST._replace(priorities=(update,)))
    assert (again.draw.rows == rows[3]).mean() > 0.9
    assert buffer.stats().stale_priorities == 0
    buffer.close()


def test_demonstrations_are_mixed_in_and_cost_no_samples(tmp_path: Path):
    demonstrations = DemonstrationSettings(rows=512, share=0.25)
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(demonstrations=demonstrations)))
    sender = Sender(buffer)
    sender.send(buffer, 200)
    expert = Sender(buffer, seed=1)
    expert.builder.incarnation = buffer.enlist_expert(0)
    (chunk,) = expert.make(100)
    data = encode(chunk, compress=False)
    assert buffer.add_demonstration(data) is AppendStatus.ACCEPTED
    assert buffer.add_demonstration(data) is AppendStatus.DUPLICATE
    before = buffer.stats()
    assert (before.demonstration_rows, before.inserted_rows) == (100, 200)
    drawn = buffer.draw(REQUEST)
    assert (drawn.draw.shape, drawn.demonstrations.shape) == ((2, 8), (2, 3))
    assert buffer.stats().samples == 16
    with pytest.raises(InvalidInputError, match="are full"):
        for _ in range(9):
            for chunk in expert.make(100):
                buffer.add_demonstration(encode(chunk, compress=False))
    crash(buffer)
    again = ReplayBuffer(buffer.setup)
    assert again.stats().demonstration_rows >= 400
    again.close()


def test_a_run_without_demonstrations_takes_none(buffer: ReplayBuffer):
    with pytest.raises(InvalidInputError, match="has no demonstrations"):
        buffer.enlist_expert(0)


def test_after_a_kill_it_goes_on_with_the_ring(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path))
    sender = Sender(buffer)
    for _ in range(4):
        sender.send(buffer, 70)
    buffer.draw(REQUEST)
    before, uuid = buffer.stats(), buffer.ring.uuid
    late = sender.make(70)
    crash(buffer)
    again = ReplayBuffer(buffer.setup)
    assert again.was_attached
    assert again.ring.uuid == uuid
    assert again.stats() == before._replace(collectors=())
    assert contents(again) == sent(sender.acknowledged)
    replies = [again.append(encode(chunk, compress=False)) for chunk in [*sender.acknowledged[-1:], *late]]
    assert [reply.status for reply in replies] == [AppendStatus.DUPLICATE, AppendStatus.ACCEPTED]
    assert again.hand_out_incarnation(0, again.setup.format.layout.hash).incarnation == 2
    again.close()


def test_what_was_appended_but_not_counted_before_a_kill_is_counted_after_it(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path))
    sender = Sender(buffer)
    sender.send(buffer, 120)
    before = buffer.stats()
    for chunk in sender.make(30):
        buffer._sampler.append(chunk)  # and killed before the limiter counts it
    crash(buffer)
    again = ReplayBuffer(buffer.setup).stats()
    assert (again.env_steps, again.inserted_rows) == (150, 150)
    assert again.balance == before.balance + 30 * 8.0


def test_a_kill_while_the_counters_are_written_leaves_the_ones_before(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path))
    sender = Sender(buffer)
    sender.send(buffer, 120)
    path = buffer.ring.directory / "limiter"
    whole = bytearray(path.read_bytes())
    sender.send(buffer, 10)
    newest = bytearray(path.read_bytes())
    changed = next(index for index in range(len(whole)) if whole[index] != newest[index])
    newest[changed] ^= 0xFF
    crash(buffer)
    path.write_bytes(newest)
    again = ReplayBuffer(buffer.setup).stats()
    assert again.inserted_rows == 130  # the chunk is in the ring, so it is counted again


def test_a_ring_that_is_not_the_runs_is_not_taken_over(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    Sender(buffer).send(buffer, 100)
    crash(buffer)
    (tmp_path / "replay" / "ring.json").write_text('{"made": 4, "uuid": "another"}')
    again = ReplayBuffer(setup)
    assert not again.was_attached
    assert again.stats().env_steps == 0
    assert Sender(again).grant.incarnation == 4 * INCARNATIONS_APART + 1
    again.close()


def test_a_damaged_ring_is_replaced(tmp_path: Path):
    setup = setup_in(tmp_path)
    buffer = ReplayBuffer(setup)
    Sender(buffer).send(buffer, 100)
    crash(buffer)
    column = buffer.ring.directory / "floats.rows"
    column.write_bytes(column.read_bytes()[:-1])
    again = ReplayBuffer(setup)
    assert not again.was_attached
    assert again.ring.uuid != buffer.ring.uuid
    assert again.stats().env_steps == 0
    again.close()


def test_two_buffers_never_write_to_one_ring(buffer: ReplayBuffer):
    with pytest.raises(RingError, match="another process writes"):
        ReplayBuffer(buffer.setup)
    Sender(buffer).send(buffer, 100)
    assert buffer.stats().env_steps == 100


def test_nothing_is_left_of_a_buffer_that_is_removed(tmp_path: Path):
    buffer = ReplayBuffer(setup_in(tmp_path, settings_of(demonstrations=DemonstrationSettings(rows=512))))
    assert len(list((tmp_path / "shm").iterdir())) == 2
    buffer.remove()
    assert list((tmp_path / "shm").iterdir()) == []
