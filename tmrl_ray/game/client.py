"""The messages of the game's protocol, from the client's side.

A game says something (a *call*) and stands still until it is answered; while it stands still it hears us::

    client = GameClient.connect(Address("127.0.0.1", 8478))
    call = client.wait_call()                 # the game stands still
    client.execute_command("cam 2")           # queued
    state = client.simulation_state()         # sent with everything queued; the game answers
    client.respond()                          # the game goes on

Messages are queued until an answer is needed or the call is answered, and leave in one send. The client knows which
call is open and cannot answer another one, or ask a game that runs. ``tmrl_ray.game.session`` makes races of it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.config.game import Patience
from tmrl_ray.errors import GameLostError, GameProtocolError, InvalidInputError
from tmrl_ray.game.connection import Address, Connection, Deadline, always
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.protocol import (
    INT32,
    MAX_INPUTS_BYTES,
    MAX_STEER,
    PAYLOADS,
    STEER_PROBE,
    SYNC_CALLS,
    MessageType,
    encode,
    encode_with_bytes,
)
from tmrl_ray.game.sim_state import MAX_STATE_BYTES

_SHOWN_BYTES = 32
"""How much of what the game sent an error message shows."""


class Connected(NamedTuple):
    """The game greets a new connection, or is in its menus again."""


class RunStep(NamedTuple):
    """The game is about to run the tick that starts at this race time."""

    race_time_ms: int


class CheckpointCountChanged(NamedTuple):
    """A checkpoint was passed in the last tick; at ``current == target`` it was the finish."""

    current: int
    target: int


class LapCountChanged(NamedTuple):
    """A lap was completed."""

    current: int
    target: int


class Frame(NamedTuple):
    """The picture that was asked for."""

    bgra: NDArray[np.uint8]
    """(H, W, 4), top row first, a fresh array."""


Call = Connected | RunStep | CheckpointCountChanged | LapCountChanged | Frame
_CALL_CLASSES: dict[MessageType, type[Connected | RunStep | CheckpointCountChanged | LapCountChanged]] = {
    MessageType.ON_CONNECT_SYNC: Connected,
    MessageType.RUN_STEP_SYNC: RunStep,
    MessageType.CHECKPOINT_COUNT_CHANGED_SYNC: CheckpointCountChanged,
    MessageType.LAP_COUNT_CHANGED_SYNC: LapCountChanged,
}


class GameClient:
    """One connection to a game.

    After a :class:`~tmrl_ray.errors.GameLostError` the connection is closed: nobody knows what the next bytes mean.

    Args:
        connection: a fresh connection; it belongs to the client from now on.
        patience: how long to wait.
    """

    def __init__(self, connection: Connection, patience: Patience | None = None) -> None:
        self.patience = patience or Patience()
        self.open_call: MessageType | None = None
        """The call that the game waits for us to answer; None while it runs."""
        self._connection = connection
        self._outgoing = bytearray()
        self._frame_size: tuple[int, int] | None = None
        self._state_comes = False

    @classmethod
    def connect(
        cls,
        address: Address,
        patience: Patience | None = None,
        still_running: Callable[[], bool] = always,
    ) -> GameClient:
        """Connect to the game at ``address``, with as many attempts as fit into ``patience.connect_s``.

        Args:
            address: where the game listens.
            patience: how long to wait, also later.
            still_running: false once the game's process has ended, to stop waiting then.

        Raises:
            GameUnavailableError: nothing accepted a connection.
        """
        patience = patience or Patience()
        return cls(Connection.open(address, patience.connect_s, still_running), patience)

    def __enter__(self) -> GameClient:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def address(self) -> Address:
        """Where the game listens."""
        return self._connection.address

    def wait_call(self, timeout_s: float | None = None) -> Call:
        """Wait for the game's next call, which is open then.

        Args:
            timeout_s: how long to wait; ``patience.answer_s`` when None.

        Raises:
            GameHungError: no call came in time.
            GameGoneError: the connection ended.
            GameProtocolError: what came is no call.
        """
        if self.open_call is not None:
            raise RuntimeError(f"{self.open_call.name} is not answered yet: the game cannot call again")
        self._no_state_may_come()
        deadline = Deadline(self.patience.answer_s if timeout_s is None else timeout_s)
        number = self._read_int(deadline, "its next call")
        if number not in SYNC_CALLS:
            raise self._nonsense(f"message {number} where its next call was due (1 to 5)", INT32.pack(number))
        message = MessageType(number)
        if message is MessageType.REQUESTED_FRAME_SYNC:
            call: Call = self._read_frame(deadline)
        else:
            payload = PAYLOADS[message]
            values = payload.unpack(self._connection.read(payload.size, deadline, f"the rest of {message.name}"))
            call = _CALL_CLASSES[message](*values)
        self.open_call = message
        return call

    def respond(self) -> None:
        """Answer the open call: the game goes on. Everything queued leaves before, in the same send."""
        if self.open_call is None:
            raise RuntimeError("no call is open: there is nothing to answer")
        self._outgoing += INT32.pack(self.open_call)
        self.open_call = None
        self._flush(Deadline(self.patience.answer_s))

    def flush(self) -> None:
        """Send what is queued now, and leave the call open."""
        self._flush(Deadline(self.patience.answer_s))

    def set_speed(self, speed: float) -> None:
        """Set how many times faster than real time the game runs; 0 pauses the race while pictures still come."""
        self._queue(MessageType.SET_SPEED, speed)

    def rewind_to_state(self, state: bytes) -> None:
        """Replace the game's state; the next tick starts from it. Ask for the state again afterwards."""
        self._queue_bytes(MessageType.REWIND_TO_STATE, state)

    def rewind_to_current_state(self) -> None:
        """Cut off the ticks that the game would still run before it draws."""
        self._queue(MessageType.REWIND_TO_CURRENT_STATE)

    def set_input_state(self, inputs: Inputs) -> None:
        """Press and release the four keys; ``inputs.steer`` is not looked at, and analog steering ends."""
        self._queue(MessageType.SET_INPUT_STATE, inputs.left, inputs.right, inputs.accelerate, inputs.brake)

    def set_analog_steer(self, steer: int) -> None:
        """Steer by -65536 (full left) to 65536 until the next ``set_input_state``; see ``knows_analog_steer``."""
        if not -MAX_STEER <= steer <= MAX_STEER:
            raise InvalidInputError(f"steer is {steer}; it goes from {-MAX_STEER} (left) to {MAX_STEER} (right)")
        self._queue(MessageType.SET_ANALOG_STEER, steer)

    def give_up(self) -> None:
        """Restart the race from its countdown."""
        self._queue(MessageType.GIVE_UP)

    def prevent_simulation_finish(self) -> None:
        """Keep the race going behind the finish."""
        self._queue(MessageType.PREVENT_SIMULATION_FINISH)

    def execute_command(self, command: str) -> None:
        """Execute a line of TMInterface's console."""
        self._queue_bytes(MessageType.EXECUTE_COMMAND, command.encode())

    def set_timeout(self, timeout_ms: int) -> None:
        """Set how long the game waits for us in one call before it closes the connection."""
        self._queue(MessageType.SET_TIMEOUT, timeout_ms)

    def request_frame(self, width: int, height: int) -> None:
        """Ask for one picture, which comes as a call. Not while a picture is shown: the plugin would forget it."""
        if self.open_call is MessageType.REQUESTED_FRAME_SYNC:
            raise RuntimeError("answer this picture before asking for the next: the plugin forgets a request in it")
        self._queue(MessageType.REQUEST_FRAME, width, height)
        self._frame_size = (width, height)

    def unrequest_frame(self) -> None:
        """Take back a request for a picture."""
        self._queue(MessageType.UNREQUEST_FRAME)
        self._frame_size = None

    def reset_camera(self) -> None:
        """Put the camera where it belongs, after a rewind."""
        self._queue(MessageType.RESET_CAMERA)

    def set_on_step_period(self, period_ms: int) -> None:
        """Set the race time between two ``RunStep`` calls."""
        self._queue(MessageType.SET_ON_STEP_PERIOD, period_ms)

    def toggle_interface(self, visible: bool) -> None:
        """Show or hide the race's instruments."""
        self._queue(MessageType.TOGGLE_INTERFACE, visible)

    def request_state(self) -> None:
        """Ask for the state without waiting for it; ``read_state`` must come before anything else is read."""
        self._queue(MessageType.GET_SIMULATION_STATE)
        self._state_comes = True

    def read_state(self) -> NDArray[np.uint8]:
        """Return the bytes of the state asked for, a fresh array; one or a few bytes while no race is loaded."""
        if not self._state_comes:
            raise RuntimeError("the state was not asked for")
        self._state_comes = False
        deadline = Deadline(self.patience.answer_s)
        self._flush(deadline)
        return self._read_block(deadline, MAX_STATE_BYTES, "the state")

    def simulation_state(self) -> NDArray[np.uint8]:
        """Ask for the state and return its bytes like ``read_state``."""
        self.request_state()
        return self.read_state()

    def race_finished(self) -> bool:
        """Ask whether the race is over."""
        return self._ask_bool(MessageType.RACE_FINISHED)

    def is_in_menus(self) -> bool:
        """Ask whether the game shows its menus."""
        return self._ask_bool(MessageType.IS_IN_MENUS)

    def inputs_script(self) -> str:
        """Return the inputs of the race so far as a TMInterface script."""
        deadline = self._ask(MessageType.GET_INPUTS)
        text = self._read_block(deadline, MAX_INPUTS_BYTES, "the inputs").tobytes()
        try:
            return text.decode()
        except UnicodeDecodeError as error:
            raise self._nonsense(f"inputs that are no UTF-8 ({error})", text) from error

    def knows_analog_steer(self) -> bool:
        """Find out whether the game knows the analog steering message, which the public plugin does not."""
        self._queue(MessageType.SET_ANALOG_STEER, STEER_PROBE)
        deadline = self._ask(MessageType.IS_IN_MENUS)
        what = "the answer to SET_ANALOG_STEER"
        first = self._read_int(deadline, what)
        if first != MessageType.SET_ANALOG_STEER:
            self._as_bool(first, what)  # it was the answer to IS_IN_MENUS already
            return False
        self._as_bool(self._read_int(deadline, what), what)
        return True

    def close(self) -> None:
        """Tell the game that we leave, if it still listens, and close the connection. Never raises."""
        goodbye, self._outgoing = self._outgoing + encode(MessageType.SHUTDOWN), bytearray()
        with contextlib.suppress(GameLostError):  # there may be nobody to say goodbye to
            self._connection.send(goodbye, Deadline(0))
        self._connection.close()

    def _queue(self, message: MessageType, *values: float) -> None:
        self._must_listen(message)
        self._outgoing += encode(message, *values)

    def _queue_bytes(self, message: MessageType, data: bytes) -> None:
        self._must_listen(message)
        self._outgoing += encode_with_bytes(message, data)

    def _must_listen(self, message: MessageType) -> None:
        if self.open_call is None:
            raise RuntimeError(f"no call is open: the game runs and would not hear {message.name}")

    def _ask(self, message: MessageType) -> Deadline:
        """Send a question with all that is queued; return when its answer is due."""
        self._no_state_may_come()
        self._queue(message)
        deadline = Deadline(self.patience.answer_s)
        self._flush(deadline)
        return deadline

    def _no_state_may_come(self) -> None:
        if self._state_comes:
            raise RuntimeError("the state that was asked for comes first: read it")

    def _flush(self, deadline: Deadline) -> None:
        if self._outgoing:
            data, self._outgoing = self._outgoing, bytearray()
            self._connection.send(data, deadline)

    def _read_int(self, deadline: Deadline, what: str) -> int:
        number: int = INT32.unpack(self._connection.read(INT32.size, deadline, what))[0]
        return number

    def _read_block(self, deadline: Deadline, most: int, what: str) -> NDArray[np.uint8]:
        length = self._read_int(deadline, what)
        if not 0 <= length <= most:
            raise self._nonsense(f"{length} as the length of {what} (0 to {most} are possible)", INT32.pack(length))
        block = np.empty(length, np.uint8)
        self._connection.read_into(block.data, deadline, what)
        return block

    def _read_frame(self, deadline: Deadline) -> Frame:
        if self._frame_size is None:
            raise self._nonsense("a picture that was not asked for", INT32.pack(MessageType.REQUESTED_FRAME_SYNC))
        width, height = self._frame_size
        self._frame_size = None
        bgra = np.empty((height, width, 4), np.uint8)
        self._connection.read_into(bgra.data.cast("B"), deadline, f"a picture of {width} x {height}")
        return Frame(bgra)

    def _ask_bool(self, message: MessageType) -> bool:
        deadline = self._ask(message)
        return self._as_bool(self._read_int(deadline, f"the answer to {message.name}"), message.name)

    def _as_bool(self, number: int, what: str) -> bool:
        if number not in (0, 1):
            raise self._nonsense(f"{number} as {what} (0 or 1 are possible)", INT32.pack(number))
        return bool(number)

    def _nonsense(self, what: str, read: bytes) -> GameProtocolError:
        more = self._connection.waiting_bytes
        shown = (read + more)[:_SHOWN_BYTES]
        self._connection.close()
        return GameProtocolError(
            f"the game on {self.address} sent {what}; bytes from there on: {shown.hex(' ')}"
            f"{' ...' if len(read) + len(more) > len(shown) else ''}",
            hint="Something else listens on this port, or another plugin; find out with: tmrl-ray game check",
        )
