"""Where each field stands in the bytes of a simulation state (TMInterface 1.4 and 2.1).

A state is 8356 + 4 * n_states + 8 * n_times bytes, little-endian. Every field starts at a multiple of four, so two
views of the whole buffer, one of 32-bit floats and one of 32-bit integers, reach all of them: the numbers below are
indices into those views, not byte offsets. Offsets were measured by writing through the accessors of the public
Python package; names without a meaning there (``field_8``, ``unknown``) are left out.

Lengths stand behind the name: ``_ROTATION = 172`` is nine numbers long. The wheels' fields are those of the first
wheel; the next wheel's stand ``WHEEL_STRIDE`` further on.
"""

from __future__ import annotations

from enum import IntFlag

FIXED_BYTES = 8356
"""Length of a state without checkpoints."""
STATE_BYTES = 4
"""Length of one entry of ``cp_states``."""
TIME_BYTES = 8
"""Length of one entry of ``cp_times``: a time and a stunt score."""
MAX_CHECKPOINTS = 10_000
"""More entries than this in either array are taken for garbage: a hundred laps of a hundred gates."""


class StateParts(IntFlag):
    """The value of ``flags``: which parts of a state hold something. The game sends all of them."""

    TIMERS = 0x01
    DYNA = 0x02
    MOBIL = 0x04
    WHEELS = 0x08
    PLUG_SOLID = 0x10
    COMMANDS = 0x20
    INPUTS = 0x40
    PLAYER = 0x80
    ALL = 0xFF


class InputName:
    """Our numbers for the inputs in the top byte of an event. Readers know an event by its place, not by its number."""

    RUNNING = 0
    FINISH = 1
    ACCELERATE = 2
    BRAKE = 3
    LEFT = 4
    RIGHT = 5
    STEER = 6
    GAS = 7


EVENT_VALUE_BITS = 24
EVENT_VALUE_MASK = 0xFFFFFF
"""An event's data is the input's number in the top byte and a value: 0 or 1 for a key, 24 bits in two's complement
for an axis, whose sign is turned (65536, full right, is stored as -65536)."""
INPUT_TIME_OFFSET_MS = 100_010
"""What the game adds to the race time of a tick for the time of an input event in it."""

VERSION = 0
CONTEXT_MODE = 1
FLAGS = 2
TIMERS = 3  # 53
TIMER_COUNT = 53
TIME = TIMERS + 1

PREVIOUS_STATE = 492 // 4
CURRENT_STATE = 672 // 4
TEMP_STATE = 852 // 4
DYNA_SIZE = 180 // 4
# Inside each of these three:
DYNA_QUATERNION = 0  # 4: w x y z, body to world
DYNA_ROTATION = 4  # 9: row-major; columns left, up, forward
DYNA_POSITION = 13  # 3: metres, world
DYNA_VELOCITY = 16  # 3: m/s, world
DYNA_ADD_VELOCITY = 19  # 3
DYNA_SPIN = 22  # 3: rad/s, world
DYNA_FORCE = 25  # 3
DYNA_TORQUE = 28  # 3
DYNA_INVERSE_INERTIA = 31  # 9
DYNA_RAW_VELOCITY = 41  # 3: linear speed before the game's tweaks
PRIVATE = 1032 // 4
PRIVATE_BYTES = 616
"""No field has a name here. The simulator keeps what the public fields cannot hold in it."""

INPUT_GAS = 1728 // 4
INPUT_BRAKE = 1732 // 4
INPUT_STEER = 1736 // 4
HORN_LIMIT = 1796 // 4
QUALITY = 1812 // 4
MAX_LINEAR_SPEED = 2384 // 4
GEARBOX_STATE = 2388 // 4
BLOCK_FLAGS = 2392 // 4
VEHICLE_STATES = (2396 // 4, 2564 // 4, 2732 // 4, 2900 // 4)
"""The four vehicle states for drawing: previous and current synchronous, current and previous asynchronous."""
# Inside each of these four:
VEHICLE_SPEED_FORWARD = 0
VEHICLE_SPEED_SIDEWARD = 1
VEHICLE_STEER = 2
VEHICLE_GAS = 3
VEHICLE_BRAKE = 4
VEHICLE_IS_TURBO = 5
VEHICLE_RPM = 32
VEHICLE_GEARBOX_STATE = 34
ENGINE_MAX_RPM = 3084 // 4
ENGINE_BRAKING_FACTOR = 3104 // 4
ENGINE_CLAMPED_RPM = 3108 // 4
ENGINE_RPM = 3112 // 4
ENGINE_SLIDE_FACTOR = 3116 // 4
ENGINE_REAR_GEAR = 3124 // 4
ENGINE_GEAR = 3128 // 4
HAS_LATERAL_CONTACT = 3148 // 4
LATERAL_CONTACT_TIME = 3152 // 4
WATER_FORCES = 3156 // 4
TURNING_RATE = 3160 // 4
TURBO_BOOST_FACTOR = 3172 // 4
TURBO_TYPE_CHANGE_TIME = 3176 // 4
TURBO_TIME = 3180 // 4
TURBO_TYPE = 3184 // 4
ROULETTE_VALUE = 3192 // 4
IS_FREEWHEELING = 3196 // 4
IS_SLIDING = 3224 // 4
WHEEL_CONTACT_ABSORB_COUNTER = 3308 // 4
BURNOUT_STATE = 3340 // 4
LOCAL_SPEED = 3452 // 4  # 3: m/s, car frame
CENTRAL_FORCE = 3720 // 4  # 3

WHEEL_COUNT = 4
WHEEL_STRIDE = 764 // 4
WHEEL_STEERABLE = 3820 // 4
WHEEL_OFFSET = 3984 // 4  # 3: metres, car frame
WHEEL_ABSORB = 3996 // 4
WHEEL_CONTACT = 4108 // 4
WHEEL_MATERIAL = 4112 // 4
WHEEL_SLIDING = 4116 // 4
WHEEL_AXIS = 4120 // 4  # 3
WHEEL_CONTACT_COUNT = 4136 // 4

TEAM = 7780 // 4
PREVIOUS_RACE_TIME = 7884 // 4
RACE_START_TIME = 7888 // 4
RACE_TIME = 7892 // 4
RACE_BEST_TIME = 7896 // 4
LAP_START_TIME = 7900 // 4
LAP_TIME = 7904 // 4
LAP_BEST_TIME = 7908 // 4
COMPLETED_COUNT = 7916 // 4
CURRENT_CHECKPOINT = 7932 // 4
CURRENT_TIME = 7980 // 4
RACE_STATE = 7992 // 4
LAP_CHECKPOINT_COUNT = 8020 // 4
CHECKPOINT_COUNT = 8024 // 4
CURRENT_LAP = 8028 // 4
RACE_FINISHED = 8032 // 4
DISPLAY_SPEED = 8036 // 4
FINISH_NOT_PASSED = 8040 // 4
COUNTDOWN_TIME = 8120 // 4

CACHED_INPUTS = 8156 // 4
CACHED_INPUT_COUNT = 10
CACHED_INPUT_SIZE = 3  # time of the tick, then the event: its time, its data
EVENT_RUNNING = 8276 // 4  # each event: time, data
EVENT_FINISH = 8284 // 4
EVENT_ACCELERATE = 8292 // 4
EVENT_BRAKE = 8300 // 4
EVENT_LEFT = 8308 // 4
EVENT_RIGHT = 8316 // 4
EVENT_STEER = 8324 // 4
EVENT_GAS = 8332 // 4
RESPAWN_COUNT = 8340 // 4
CP_STATE_COUNT = 8348 // 4
CP_STATES = 8352 // 4
