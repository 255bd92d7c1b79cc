import socket
import struct
import threading
import time

import numpy as np
import pytest

from tmrl_ray.config.game import Patience
from tmrl_ray.errors import (
    GameGoneError,
    GameHungError,
    GameProtocolError,
    GameUnavailableError,
    InvalidInputError,
)
from tmrl_ray.game.client import (
    CheckpointCountChanged,
    Connected,
    Frame,
    GameClient,
    LapCountChanged,
    RunStep,
)
from tmrl_ray.game.connection import Address
from tmrl_ray.game.inputs import Inputs

QUICK = Patience(connect_s=2, greeting_s=2, load_s=2, answer_s=2)
HASTY = Patience(connect_s=0.3, greeting_s=0.3, load_s=0.3, answer_s=0.3)


def connect(game, patience=QUICK):
    return GameClient.connect(game.address, patience)


def test_calls_arrive_with_their_values_and_are_answered_with_their_number(scripted_game):
    def script(peer):
        peer.send(5)
        peer.expect(5)
        peer.send(1, -2600)
        peer.expect(1)
        peer.send(2, 3, 7)
        peer.expect(2)
        peer.send(3, 1, 5)
        peer.expect(3)
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        for call in (Connected(), RunStep(-2600), CheckpointCountChanged(3, 7), LapCountChanged(1, 5)):
            assert client.wait_call() == call
            client.respond()


def test_every_message_is_sent_as_the_protocol_says(scripted_game):
    state = bytes(range(256)) * 3

    def script(peer):
        peer.send(1, 0)
        peer.expect(6, struct.pack("<f", 80.0))
        peer.expect(7, len(state), state)
        peer.expect(8, 10, b"\1\0\1\0", 11, 12)
        peer.expect(14, 5, b"cam 2", 15, struct.pack("<I", 4_000_000_000))
        peer.expect(17, 160, 120, 18, 19, 50, 20, 21, 0, 100, -65536, 1)
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        client.wait_call()
        client.set_speed(80)
        client.rewind_to_state(state)
        client.rewind_to_current_state()
        client.set_input_state(Inputs(left=True, accelerate=True))
        client.give_up()
        client.prevent_simulation_finish()
        client.execute_command("cam 2")
        client.set_timeout(4_000_000_000)
        client.request_frame(160, 120)
        client.reset_camera()
        client.set_on_step_period(50)
        client.unrequest_frame()
        client.toggle_interface(False)
        client.set_analog_steer(-65536)
        client.respond()


def test_what_is_queued_leaves_in_one_send(scripted_game, monkeypatch):
    def script(peer):
        peer.send(1, 0)
        peer.expect(8, 11, 12, 1)
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        client.wait_call()
        sent = []
        send = client._connection.send
        monkeypatch.setattr(client._connection, "send", lambda data, due: (sent.append(bytes(data)), send(data, due)))
        client.rewind_to_current_state()
        client.give_up()
        client.prevent_simulation_finish()
        assert sent == []
        client.respond()
        assert sent == [struct.pack("<4i", 8, 11, 12, 1)]


def test_questions_are_answered(scripted_game):
    def script(peer):
        peer.send(1, 0)
        peer.expect(9)
        peer.send(5, b"state")
        peer.expect(22)
        peer.send(1)
        peer.expect(16)
        peer.send(0)
        peer.expect(23)
        peer.send(18, "0 press up # été".encode())
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        client.wait_call()
        assert client.simulation_state().tobytes() == b"state"
        assert client.is_in_menus() is True
        assert client.race_finished() is False
        assert client.inputs_script() == "0 press up # été"


def test_a_state_can_be_asked_for_in_the_send_that_answers_the_call(scripted_game):
    def script(peer):
        peer.send(1, 50)
        peer.expect(9, 8, 1)
        peer.send(3, b"abc", 1, 100)
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        client.wait_call()
        client.request_state()
        client.rewind_to_current_state()
        client.respond()
        with pytest.raises(RuntimeError, match="read it"):
            client.wait_call()
        assert client.read_state().tobytes() == b"abc"
        assert client.wait_call() == RunStep(100)


@pytest.mark.parametrize("size", [(3, 5), (160, 120), (640, 480)])
def test_a_picture_has_its_rows_in_order_whatever_its_size(scripted_game, size):
    width, height = size
    picture = np.random.default_rng(3).integers(0, 256, (height, width, 4), dtype=np.uint8)

    def script(peer):
        peer.send(1, 50)
        peer.expect(17, width, height, 1)
        peer.send(4, picture.tobytes())
        peer.expect(4)
        peer.send(1, 100)
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        client.wait_call()
        client.request_frame(width, height)
        client.respond()
        call = client.wait_call()
        assert isinstance(call, Frame)
        np.testing.assert_array_equal(call.bgra, picture)
        with pytest.raises(RuntimeError, match="forgets"):
            client.request_frame(width, height)
        client.respond()
        assert client.wait_call() == RunStep(100)


def test_a_map_name_that_is_not_ascii_is_sent_with_its_length_in_bytes(scripted_game):
    command = 'map "Été – 赛道.Challenge.Gbx"'
    encoded = command.encode()
    assert len(encoded) > len(command)

    def script(peer):
        peer.send(5)
        peer.expect(14, len(encoded), encoded, 5)
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        client.wait_call()
        client.execute_command(command)
        client.respond()


@pytest.mark.parametrize(("answer", "knows"), [((100, 0), True), ((1,), False), ((0,), False)])
def test_analog_steering_is_found_out_without_harm_to_the_public_plugin(scripted_game, answer, knows):
    def script(peer):
        peer.send(1, 0)
        peer.expect(100, 0x7FFFFFFF, 22)
        peer.send(*answer)
        peer.expect(22)
        peer.send(0)
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        client.wait_call()
        assert client.knows_analog_steer() is knows
        assert client.is_in_menus() is False


def test_bytes_that_arrive_one_by_one_make_the_same_call(scripted_game):
    game = scripted_game(lambda peer: (peer.drip(struct.pack("<3i", 2, 4, 9), 0.005, game.stop), peer.expect_goodbye()))
    with connect(game) as client:
        assert client.wait_call() == CheckpointCountChanged(4, 9)


def test_a_call_that_is_not_open_cannot_be_answered_nor_a_running_game_be_asked(scripted_game):
    def script(peer):
        peer.send(1, 0)
        peer.expect(1)
        peer.expect_goodbye()

    with connect(scripted_game(script)) as client:
        with pytest.raises(RuntimeError, match="no call is open"):
            client.respond()
        for ask in (client.simulation_state, client.is_in_menus, client.give_up, lambda: client.set_speed(1)):
            with pytest.raises(RuntimeError, match="no call is open"):
                ask()
        client.wait_call()
        with pytest.raises(RuntimeError, match="RUN_STEP_SYNC is not answered"):
            client.wait_call()
        client.respond()
        with pytest.raises(RuntimeError, match="no call is open"):
            client.respond()


@pytest.mark.parametrize("number", [0, 6, 24, 100, -1, 0x50545448])
def test_a_message_that_is_no_call_is_refused_with_its_bytes(scripted_game, number):
    def script(peer):
        peer.send(number, b"\xde\xad\xbe\xef" * 20)
        peer.read(1)

    client = connect(scripted_game(script))
    time.sleep(0.05)
    with pytest.raises(GameProtocolError) as caught:
        client.wait_call()
    assert f"message {number} " in str(caught.value)
    assert f"{struct.pack('<i', number).hex(' ')} de ad be ef" in str(caught.value)
    assert "tmrl-ray game check" in caught.value.hint


@pytest.mark.parametrize(
    ("ask", "answer", "words"),
    [
        (lambda client: client.simulation_state(), (-1,), "-1 as the length of the state"),
        (lambda client: client.simulation_state(), (0x7FFFFFFF,), "as the length of the state"),
        (lambda client: client.inputs_script(), (-5,), "length of the inputs"),
        (lambda client: client.inputs_script(), (2, b"\xff\xfe"), "no UTF-8"),
        (lambda client: client.is_in_menus(), (2,), "2 as IS_IN_MENUS"),
        (lambda client: client.race_finished(), (-1,), "-1 as RACE_FINISHED"),
        (lambda client: client.knows_analog_steer(), (100, 7), "SET_ANALOG_STEER"),
    ],
)
def test_absurd_answers_are_refused(scripted_game, ask, answer, words):
    def script(peer):
        peer.send(1, 0)
        peer.read(4)
        peer.send(*answer)
        while peer.read(64):
            pass

    client = connect(scripted_game(script))
    client.wait_call()
    with pytest.raises(GameProtocolError, match=words):
        ask(client)
    with pytest.raises(GameGoneError):
        client.respond()


def test_a_picture_that_nobody_asked_for_is_refused(scripted_game):
    client = connect(scripted_game(lambda peer: (peer.send(4, b"\0" * 64), peer.read(64))))
    with pytest.raises(GameProtocolError, match="not asked for"):
        client.wait_call()


def test_a_silent_game_is_given_up_at_the_deadline(scripted_game):
    client = connect(scripted_game(lambda peer: peer.read(1)), HASTY)
    start = time.monotonic()
    with pytest.raises(GameHungError, match=r"0\.3 s for its next call"):
        client.wait_call()
    assert 0.3 <= time.monotonic() - start < 1.5


def test_a_game_that_drips_for_ever_is_given_up_at_the_deadline_too(scripted_game):
    def script(peer):
        peer.send(1, 0)
        peer.expect(9)
        peer.send(8356)
        peer.drip(b"\0" * 8356, 0.02, game.stop)

    game = scripted_game(script)
    client = connect(game, HASTY)
    client.wait_call()
    start = time.monotonic()
    with pytest.raises(GameHungError, match="for the state"):
        client.simulation_state()
    assert time.monotonic() - start < 1.5
    game.stop.set()
    game.thread.join(5)
    game.errors.clear()  # the script may have noticed that nobody reads any more


@pytest.mark.parametrize("sent", [b"", b"\1\0\0", b"\1\0\0\0\x0a"])
def test_a_game_that_leaves_is_gone_at_once(scripted_game, sent):
    client = connect(scripted_game(lambda peer: peer.sock.sendall(sent)))
    start = time.monotonic()
    with pytest.raises(GameGoneError, match="closed the connection"):
        client.wait_call()
    assert time.monotonic() - start < 1


def test_a_wait_ends_when_the_process_of_the_game_has_ended(scripted_game):
    running = threading.Event()
    running.set()
    game = scripted_game(lambda peer: peer.read(1))
    client = GameClient.connect(game.address, QUICK, running.is_set)
    threading.Timer(0.2, running.clear).start()
    start = time.monotonic()
    with pytest.raises(GameGoneError, match="process has ended"):
        client.wait_call()
    assert time.monotonic() - start < 1.5


def test_a_game_that_does_not_read_is_given_up(scripted_game):
    game = scripted_game(lambda peer: (peer.send(1, 0), game.stop.wait(5)))
    client = connect(game, HASTY)
    client.wait_call()
    for _ in range(500):
        client.rewind_to_state(bytes(100_000))
    with pytest.raises(GameHungError, match="to read what we sent"):
        client.respond()


def test_where_nothing_listens_connecting_ends_after_a_bounded_time():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
    start = time.monotonic()
    with pytest.raises(GameUnavailableError, match=r"attempts in 0\.3 s") as caught:
        GameClient.connect(address, HASTY)
    assert time.monotonic() - start < 1
    assert str(address) in str(caught.value) and "game check" in caught.value.hint


def test_connecting_waits_for_a_game_that_is_still_starting():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
    late = []
    timer = threading.Timer(0.3, lambda: late.append(socket.create_server(address)))
    timer.start()
    client = GameClient.connect(address, QUICK)
    timer.join()
    client.close()
    late[0].close()


def test_connecting_stops_when_the_process_has_ended():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = Address(*listener.getsockname())
    start = time.monotonic()
    with pytest.raises(GameUnavailableError, match="has ended"):
        GameClient.connect(address, QUICK, lambda: False)
    assert time.monotonic() - start < 1


def test_steer_out_of_range_is_refused_before_it_is_sent(scripted_game):
    with connect(scripted_game(lambda peer: (peer.send(1, 0), peer.expect_goodbye()))) as client:
        client.wait_call()
        with pytest.raises(InvalidInputError, match="65537"):
            client.set_analog_steer(65537)


def test_a_client_works_in_another_thread_than_the_one_that_made_it(scripted_game):
    client = connect(scripted_game(lambda peer: (peer.send(1, 70), peer.expect(1), peer.expect_goodbye())))
    calls = []
    thread = threading.Thread(target=lambda: (calls.append(client.wait_call()), client.respond(), client.close()))
    thread.start()
    thread.join(5)
    assert calls == [RunStep(70)]
    client.close()  # once more: harmless
