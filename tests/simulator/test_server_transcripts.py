"""The server against transcripts, written by hand from the description of the protocol."""

from __future__ import annotations

import struct
from collections.abc import Callable

from tests.simulator.minimal_client import MinimalClient
from tmrl_ray.simulator.server import GameServer

Serve = Callable[..., GameServer]

GREETING = """
    < 05000000                      # ON_CONNECT at once
    > 06000000 0000803f             # SET_SPEED 1
    > 13000000 32000000             # SET_ON_STEP_PERIOD 50
    > 0e000000
    > text set countdown_speed 8
    > 16000000                      # IS_IN_MENUS
    < 01000000
    > 0e000000
    > text map "My Challenges/flat.Challenge.Gbx"
    > 16000000
    < 00000000                      # not any more
    > 05000000
"""
FIRST_STEP = """
    < 01000000 d8f5ffff             # RUN_STEP -2600
    > 0f000000 74270000             # SET_TIMEOUT 10100
    > 0e000000
    > text cam 2
    > 15000000 00000000             # TOGGLE_INTERFACE 0
    > 0b000000                      # GIVE_UP
    > 01000000
"""


def countdown(first_ms: int = -2600) -> str:
    """The run steps of a countdown, each answered, and that of time 0, left open."""
    steps = [struct.pack("<ii", 1, time_ms).hex() for time_ms in range(first_ms, 1, 50)]
    return "\n > 01000000 \n".join(f"< {step}" for step in steps) + "\n"


def test_linesight_plays_an_action_with_a_picture(serve_game: Serve):
    """State and request in the run step, inputs in the picture."""
    with MinimalClient(serve_game().port) as client:
        client.play(GREETING + FIRST_STEP + countdown())
        client.play("""
            > 09000000                       # GET_SIMULATION_STATE
            < state
            > 08000000                       # REWIND_TO_CURRENT_STATE
            > 06000000 00000000              # SET_SPEED 0
            > 11000000 07000000 05000000     # REQUEST_FRAME 7 x 5
            > 01000000
            < 04000000
            < picture 7 5
            > 0a000000 00010100              # SET_INPUT_STATE right, accelerate
            > 06000000 0000a042              # SET_SPEED 80
            > 04000000
            < 01000000 32000000              # RUN_STEP 50
            > 09000000
            < state
            > 01000000
            < 01000000 64000000              # RUN_STEP 100, without a picture in between
        """)
        at_zero, at_50 = client.states
        assert len(at_zero) == 8356 + 12 * 3
        assert struct.unpack_from("<i", at_zero, 7892) == (0,)
        assert struct.unpack_from("<i", at_50, 7892) == (50,)
        assert struct.unpack_from("<i", at_zero, 8296)[0] & 0xFFFFFF == 0
        assert struct.unpack_from("<i", at_50, 8296)[0] & 0xFFFFFF == 1  # accelerate
        assert struct.unpack_from("<i", at_50, 8320)[0] & 0xFFFFFF == 1  # right
        assert struct.unpack_from("<i", at_50, 8316) == (100_010,)
        assert set(client.pictures[0][3::4]) == {255}


def test_a_gym_backend_answers_first_and_asks_in_the_next_call(serve_game: Serve):
    """The other public ordering, with all messages of a call in one packet."""
    with MinimalClient(serve_game().port) as client:
        client.play(GREETING + countdown())
        client.play("""
            > 01000000
            < 01000000 32000000
            > 09000000 0a000000 01000100 01000000    # state, inputs, answer, at once
            < state
            < 01000000 64000000
            > 01000000 09000000 0a000000 00000001    # the answer first: the rest is heard in the next call
            < 01000000 96000000
            < state
            > 01000000
            < 01000000 c8000000
        """)
        assert [struct.unpack_from("<i", state, 7892)[0] for state in client.states] == [50, 150]


def test_the_race_without_pictures_of_rulka(serve_game: Serve):
    with MinimalClient(serve_game(track="flat").port) as client:
        client.play("< 05000000 \n > 13000000 64000000 05000000 \n < 01000000 d8f5ffff \n > 01000000")
        client.run_until(0)
        for time_ms in range(100, 1100, 100):
            client.send(10, b"\0\0\1\0", 1)
            assert client.call() == (1, time_ms)


def test_the_finish_and_the_rewind_that_undoes_it(serve_game: Serve):
    """In the checkpoint call of the finish: the last time is set to -1 in the bytes, and rewound to."""
    with MinimalClient(serve_game(track="flat").port) as client:
        client.play("< 05000000 \n > 13000000 32000000 05000000")
        client.run_until(0)
        start = client.state()
        finishing = bytearray(start)
        struct.pack_into("<i", finishing, 7892, 30_000)
        struct.pack_into("<6i", finishing, 8368, 9000, 0, 17_000, 0, -1, 0)  # two of three times
        struct.pack_into("<2i", finishing, 8352, 1, 1)
        struct.pack_into("<3f", finishing, 724, 0.0, 0.03, 121.0)
        struct.pack_into("<3f", finishing, 736, 0.0, 0.0, 40.0)
        client.send(7, len(finishing), bytes(finishing))
        assert client.state()[7892:7896] == struct.pack("<i", 30_000)
        client.send(1)
        while (call := client.call())[0] == 1:
            client.send(1)
        assert call == (2, 3, 3)
        assert client.ask(16) == 1
        state = bytearray(client.state())
        (finish_ms,) = struct.unpack_from("<i", state, 7892)
        assert struct.unpack_from("<6i", state, 8368) == (9000, 0, 17_000, 0, finish_ms, 0)
        assert struct.unpack_from("<i", state, 8032) == (1,)
        struct.pack_into("<i", state, 8384, -1)
        client.send(7, len(state), bytes(state))
        assert client.ask(16) == 0
        assert client.is_silent()  # the call stays open until the next race starts
        client.send(6, struct.pack("<f", 80.0), 2)
        next_step = finish_ms // 50 * 50 + 50
        assert client.call() == (1, next_step)
        client.send(7, len(start), start)
        assert client.state() == start
        client.send(1)
        assert client.call() == (1, 50)


def test_an_unprevented_finish_stops_the_clock_and_calls_at_every_tick(serve_game: Serve):
    with MinimalClient(serve_game(track="flat").port) as client:
        finish_ms = to_the_finish(client)
        client.send(2)
        for _ in range(3):
            assert client.call() == (1, finish_ms)
            assert client.ask(16) == 1
            client.send(1)
        assert client.call() == (1, finish_ms)
        client.send(12, 11, 1)  # too late to prevent it; restart
        assert client.call() == (1, -2600)
        assert client.ask(16) == 0


def test_a_prevented_finish_lets_the_clock_run(serve_game: Serve):
    with MinimalClient(serve_game(track="flat").port) as client:
        finish_ms = to_the_finish(client)
        client.send(12)
        assert client.ask(16) == 0
        client.send(2)
        assert client.call() == (1, finish_ms // 50 * 50 + 50)


def to_the_finish(client: MinimalClient) -> int:
    """Put the car in front of the finish and play until its call, which is open then; return the finish time."""
    client.play("< 05000000 \n > 13000000 32000000 05000000")
    client.run_until(0)
    state = bytearray(client.state())
    struct.pack_into("<6i", state, 8368, 10, 0, 20, 0, -1, 0)
    struct.pack_into("<2i", state, 8352, 1, 1)
    struct.pack_into("<i", state, 7892, 30_020)
    struct.pack_into("<3f", state, 724, 0.0, 0.03, 121.0)
    struct.pack_into("<3f", state, 736, 0.0, 0.0, 40.0)
    client.send(7, len(state), bytes(state), 1)
    while (call := client.call())[0] == 1:
        client.send(1)
    assert call == (2, 3, 3)
    return struct.unpack_from("<i", client.state(), 7892)[0]


def test_laps_have_a_call_of_their_own(serve_game: Serve):
    with MinimalClient(serve_game(track="Two Laps").port) as client:
        client.play("< 05000000 \n > 13000000 32000000 05000000")
        client.run_until(0)
        for passed, z in enumerate((34.0, 74.0, 34.0, 74.0), start=1):
            state = bytearray(client.state())
            struct.pack_into("<3f", state, 724, 0.0, 0.03, z)
            struct.pack_into("<3f", state, 736, 0.0, 0.0, 50.0)
            client.send(7, len(state), bytes(state), 1)
            while (call := client.call())[0] == 1:
                client.send(1)
            assert call == (2, passed, 4)
            client.send(2)
            if passed % 2 == 0:
                assert client.call() == (3, passed // 2, 2)
                client.send(3)
            assert client.call()[0] == 1
