"""One simulated game: menus or a race, a console, a camera. What TmForever is behind its plugin.

``session`` speaks the protocol with a client and calls in here. All that outlives a client is here: the race goes on
where it was when the next one connects.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np

from tmrl_ray.errors import InvalidInputError, ScriptError, StateError
from tmrl_ray.game.inputs import Inputs
from tmrl_ray.game.protocol import INT32, MAX_INPUTS_BYTES, MessageType, frame_bytes
from tmrl_ray.game.scripts import HELD_KEYS, Timeline, format_script, read_script
from tmrl_ray.simulator import console
from tmrl_ray.simulator.look import Look
from tmrl_ray.simulator.race import Race
from tmrl_ray.simulator.render import Renderer
from tmrl_ray.simulator.track import Track
from tmrl_ray.simulator.tuning import CarTuning

log = logging.getLogger(__name__)

MAX_VARIABLES = 256
MAX_RENDERERS = 4
"""Picture sizes for which buffers are kept; a client uses one."""
MAX_SCRIPT_BYTES = MAX_INPUTS_BYTES
NO_STATE = b"\0"
"""What the real game answers to GET_SIMULATION_STATE while it is in its menus: one byte."""


class SimulatedGame:
    """A game that stands in its menus until a map is loaded.

    Args:
        find_track: finds the track that a map's name stands for; raises an InvalidInputError when there is none.
        tuning: how the car drives.
        look: colours and light of the pictures; None: the standard look.
        scripts: the folder of ``load FILE``.
    """

    def __init__(
        self,
        find_track: Callable[[str], Track],
        *,
        tuning: CarTuning | None = None,
        look: Look | None = None,
        scripts: Path | None = None,
    ) -> None:
        self.race: Race | None = None
        self.speed = 1.0
        """Only whether it is 0 matters: the simulator runs as fast as its client answers."""
        self.step_period_ms = 10
        self.interface_visible = True
        self.camera = 2
        self.variables: dict[str, str] = {}
        self.began_anew = False
        """A race began or was restarted; whoever steps the game takes note and resets it."""
        self.map_refused = False
        """A map could not be loaded; whoever steps the game tells the client and resets it."""
        self._find_track = find_track
        self._tuning = tuning
        self._look = look
        self._scripts = scripts or Path()
        self._renderers: OrderedDict[tuple[int, int], Renderer] = OrderedDict()

    # The map and the race.

    def load_map(self, name: str) -> None:
        """Start a race on the track ``name``; fall back to the menus when there is none."""
        self.race = None
        self._renderers.clear()
        try:
            track = self._find_track(name)
        except InvalidInputError as error:
            log.warning("map %r cannot be loaded: %s", name, error)
            self.map_refused = True
            return
        self.race = Race(track, self._tuning)
        self.map_refused = False
        self.began_anew = True

    def give_up(self) -> None:
        """Restart the race, if there is one."""
        if self.race is not None:
            self.race.restart()
            self.began_anew = True

    def rewind(self, state: bytes) -> bool:
        """Go back to ``state``; tell whether the race is there now."""
        if self.race is None:
            return False
        try:
            self.race.load_state(state)
        except StateError as error:
            log.warning("rewind refused: %s", error)
            return False
        return True

    def state(self) -> bytes:
        """Return the bytes of the race's state."""
        return self.race.save_state().to_bytes() if self.race is not None else NO_STATE

    def press(self, inputs: Inputs) -> None:
        """Hold ``inputs``, if there is a race."""
        if self.race is not None:
            self.race.set_inputs(inputs)

    def warm_up(self) -> None:
        """Have all kernels compiled, so that no client waits for that: they are kept on disk, but not for ever."""
        if self.race is not None:
            self.rewind(self.state())
            self.race.advance()
            self.race.restart()
            self.picture(8, 8)
            self._renderers.clear()

    # Pictures.

    def picture(self, width: int, height: int) -> bytearray:
        """Return the call with the picture that the camera sees; a black one in the menus."""
        buffer = bytearray(INT32.size + frame_bytes(width, height))
        INT32.pack_into(buffer, 0, MessageType.REQUESTED_FRAME_SYNC)
        if self.race is not None:
            pixels = np.frombuffer(buffer, np.uint8, offset=INT32.size).reshape(height, width, 4)
            self._renderer(self.race.track, width, height).bgra(self.race.car, self.camera, out=pixels)
        return buffer

    def _renderer(self, track: Track, width: int, height: int) -> Renderer:
        size = (width, height)
        if size not in self._renderers:
            self._renderers[size] = Renderer(track, width, height, self._look)
            if len(self._renderers) > MAX_RENDERERS:
                self._renderers.popitem(last=False)
        self._renderers.move_to_end(size)
        return self._renderers[size]

    # The console.

    def execute(self, text: str) -> None:
        """Execute the commands of a text; what cannot be done is logged."""
        for command in console.parse_commands(text):
            self._execute(command)

    def _execute(self, command: console.Command) -> None:
        match command:
            case console.LoadMap(name):
                self.load_map(name)
            case console.SetCamera(number):
                self.camera = number
            case console.SetSpeed(speed):
                self.speed = speed
            case console.SetVariable(name, value):
                self._set_variable(name, value)
            case console.PressKey(key, down):
                self._press_key(key, down)
            case console.Teleport(position):
                self._teleport(position)
            case console.EndRace():
                if self.race is not None:
                    self.race.end()
            case console.LoadScript(file):
                self._load_script(file)
            case console.UnloadScript():
                if self.race is not None:
                    self.race.play_script(Timeline())
            case console.Ignored(name):
                log.debug("console command %r has no effect in the simulator", name)
            case console.Rejected(text, reason):
                log.warning("console command %r ignored: %s", text[:200], reason)

    def _set_variable(self, name: str, value: str) -> None:
        if name == "scripts_folder":
            self._scripts = Path(value)
        if name in self.variables or len(self.variables) < MAX_VARIABLES:
            self.variables[name] = value

    def _press_key(self, key: str, down: bool) -> None:
        race = self.race
        if race is None:
            return
        if key == "delete":
            if down:
                self.give_up()
        elif key == "enter":
            if down:
                race.respawn()
                self.began_anew = self.began_anew or race.race_time_ms < 0
        elif key in HELD_KEYS:
            race.set_inputs(race.inputs._replace(steer=None, **{HELD_KEYS[key]: down}))

    def _teleport(self, position: tuple[float, float, float]) -> None:
        if self.race is not None:
            state = self.race.save_state()
            state.position = position
            self.rewind(state.to_bytes())

    def _load_script(self, file: str) -> None:
        """Play the script ``file`` of the scripts' folder in this race and all that follow."""
        if self.race is None:
            return
        path = self._scripts / file
        try:
            if not path.is_file() or path.stat().st_size > MAX_SCRIPT_BYTES:
                raise ScriptError(f"{path}: not a file of at most {MAX_SCRIPT_BYTES} bytes")
            script = read_script(path)
        except (OSError, ScriptError) as error:
            log.warning("script not loaded: %s", error)
            return
        if script.commands:
            log.warning("script %s: its %d console commands are not executed", path, len(script.commands))
        self.race.play_script(script)

    def inputs_script(self) -> bytes:
        """Return the inputs of the race so far as a TMInterface script, UTF-8."""
        return format_script(self.race.input_log).encode() if self.race is not None else b""
