"""A pool of pretended collectors on a pretended clock: who is started, replaced, drained and left alone."""

from __future__ import annotations

import pytest

from actors.collector_pool import CollectorPool, Life, MemberState, PoolPolicy, Sighting
from actors.messages import CollectorState, Heartbeat
from tests.actors.fakes import Clock


def beat(number: int, beats: int, state: CollectorState = CollectorState.RACING, reason: str = "") -> Heartbeat:
    return Heartbeat(number, 1, state, beats, 0, 0, 0, 0, 0, 0, reason)


class Host:
    """Has room for so many members; each lives until told otherwise."""

    def __init__(self, room: int = 100) -> None:
        self.room = room
        self.calls: list[tuple[str, int]] = []
        self.up: set[int] = set()
        self.waiting: list[int] = []
        self.ended: set[int] = set()
        self.dead: dict[int, str] = {}
        self.hung: dict[int, CollectorState] = {}
        self.quarantined: dict[int, str] = {}
        self.beats = 0
        self.drains = True

    def start(self, number: int) -> None:
        self.calls.append(("start", number))
        for gone in (self.ended, self.dead, self.hung, self.quarantined):
            gone.discard(number) if isinstance(gone, set) else gone.pop(number, None)
        self.waiting.append(number)
        self._fill()

    def drain(self, number: int) -> None:
        self.calls.append(("drain", number))
        if self.drains:
            self.up.discard(number)
            self.ended.add(number)
            self._fill()

    def kill(self, number: int) -> None:
        self.calls.append(("kill", number))
        self.up.discard(number)
        if number in self.waiting:
            self.waiting.remove(number)
        self._fill()

    def look(self, number: int) -> Sighting:
        self.beats += 1
        if number in self.dead:
            return Sighting(Life.DEAD, reason=self.dead[number])
        if number in self.ended:
            return Sighting(Life.ENDED)
        if number in self.waiting:
            return Sighting(Life.PENDING)
        if number in self.quarantined:
            quarantined = beat(number, 7, CollectorState.QUARANTINED, self.quarantined[number])
            return Sighting(Life.UP, (quarantined,))
        if number in self.hung:
            return Sighting(Life.UP, (beat(number, 7, self.hung[number]),))
        return Sighting(Life.UP, (beat(number, self.beats),))

    def crash(self, number: int, reason: str = "killed") -> None:
        self.up.discard(number)
        self.dead[number] = reason

    def _fill(self) -> None:
        while self.waiting and len(self.up) < self.room:
            self.up.add(self.waiting.pop(0))


class Yard:
    """A pool, its host and its clock."""

    def __init__(self, wanted: int = 0, room: int = 100) -> None:
        self.clock = Clock()
        self.host = Host(room)
        self.pool = CollectorPool(self.host, PoolPolicy(), self.clock)
        self.pool.scale(wanted)
        self.step(2)

    def step(self, times: int = 1, seconds: float = 1.0) -> None:
        for _ in range(times):
            self.pool.reconcile()
            self.clock.now_s += seconds

    def states(self) -> list[str]:
        return [member.state.value for member in self.pool.members()]


def test_members_come_and_go_without_disturbing_the_others():
    """Row 8 of the fault matrix."""
    yard = Yard(2)
    assert yard.states() == ["running"] * 2
    yard.pool.scale(8)
    yard.step(2)
    assert yard.host.up == set(range(8))
    yard.pool.scale(1)
    yard.step(2)
    assert yard.host.up == {0}
    assert yard.states() == ["running"]
    assert [call for call in yard.host.calls if call[1] == 0] == [("start", 0)]
    assert yard.host.calls.count(("drain", 5)) == 1
    yard.pool.scale(0)
    yard.step(2)
    assert yard.pool.is_empty
    with pytest.raises(ValueError, match="-1"):
        yard.pool.scale(-1)


def test_a_member_that_does_not_drain_is_killed():
    yard = Yard(2)
    yard.host.drains = False
    yard.pool.scale(1)
    yard.step(29)
    assert yard.states() == ["running", "draining"]
    yard.pool.scale(2)  # it is wanted again, but has been told to go
    yard.step(3)
    assert ("kill", 1) in yard.host.calls
    assert yard.host.calls.count(("drain", 1)) == 1
    assert yard.states() == ["running", "running"]
    assert yard.host.calls.count(("start", 1)) == 2


def test_those_without_room_are_shown_and_come_when_there_is_some():
    """Row 9."""
    yard = Yard(5, room=2)
    yard.step(400)
    assert yard.states() == ["running"] * 2 + ["pending"] * 3
    yard.host.room = 4
    yard.host._fill()
    yard.step(2)
    assert yard.states() == ["running"] * 4 + ["pending"]
    yard.pool.scale(4)
    yard.step()
    assert yard.states() == ["running"] * 4
    assert ("kill", 4) in yard.host.calls


def test_crashes_are_paused_for_longer_and_longer_and_then_for_ever():
    """Row 5: back-off from 1 s on, quarantine after 5 crashes in 10 minutes, no hot loop."""
    yard = Yard(2)
    pauses_s = []
    for crash in range(5):
        yard.host.crash(1, f"crash {crash}")
        yard.pool.reconcile()
        died_s = yard.clock.now_s
        while yard.states()[1] == "backing_off":
            yard.step(seconds=0.25)
        pauses_s.append(yard.clock.now_s - died_s - 0.25)
    assert pauses_s == [1.0, 2.0, 4.0, 8.0, -0.25]
    yard.step(1000)
    member = yard.pool.members()[1]
    assert member.state is MemberState.QUARANTINED
    assert member.reason == "it crashed 5 times within 600 s, at last: crash 4"
    assert member.heartbeats == (), "nobody drives there"
    assert yard.host.calls.count(("start", 1)) == 5
    assert yard.states()[0] == "running"
    yard.pool.release(1)
    yard.step(2)
    assert yard.states() == ["running"] * 2
    assert yard.pool.members()[1].crashes == 0


def test_rare_crashes_are_forgiven():
    yard = Yard(1)
    for _ in range(20):
        yard.host.crash(0)
        yard.step(3, seconds=100.0)
    assert yard.states() == ["running"]
    assert yard.pool.members()[0].restarts == 20


def test_the_pause_has_an_end():
    policy = PoolPolicy(most_crashes=100)
    yard = Yard(1)
    yard.pool._policy = policy
    for _ in range(12):
        yard.host.crash(0)
        yard.step()
        entry = yard.pool._entries[0]
        assert entry.due_s - yard.clock.now_s <= policy.last_pause_s
        while yard.states() == ["backing_off"]:
            yard.step()
    assert yard.pool.members()[0].restarts == 12


def test_a_member_that_hangs_is_replaced():
    """Row 6."""
    yard = Yard(2)
    yard.host.hung[1] = CollectorState.RACING
    yard.step(60)
    assert yard.states() == ["running"] * 2
    yard.step(4)
    assert ("kill", 1) in yard.host.calls
    assert yard.pool.members()[1].reason.startswith("no sign of life for 6")
    yard.step(3)
    assert yard.states() == ["running"] * 2
    assert yard.host.calls.count(("start", 1)) == 2


def test_a_game_may_take_its_time_to_start():
    yard = Yard(1)
    yard.host.hung[0] = CollectorState.STARTING
    yard.step(290)
    assert yard.states() == ["running"]
    yard.step(20)
    assert yard.pool.members()[0].restarts == 1


def test_a_quarantined_collector_is_shown_and_not_replaced():
    yard = Yard(1)
    yard.host.quarantined[0] = "the game was lost 5 times"
    yard.step(700)
    (member,) = yard.pool.members()
    assert (member.state, member.reason) == (MemberState.QUARANTINED, "the game was lost 5 times")
    assert yard.host.calls == [("start", 0), ("kill", 0)]
    yard.pool.scale(0)
    yard.step()
    assert yard.pool.is_empty


def test_one_that_ends_unasked_counts_as_a_crash():
    yard = Yard(1)
    yard.host.ended.add(0)
    yard.step()
    (member,) = yard.pool.members()
    assert (member.state, member.reason) == (MemberState.BACKING_OFF, "it ended unasked")
