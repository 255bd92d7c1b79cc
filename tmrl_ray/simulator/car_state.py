"""The car's state: one float64 vector, so that saving, comparing and hashing it is copying bytes.

Everything that the next tick depends on is in here, the camera's needs included; nothing else is remembered
between ticks. Wheels: 0 front left, 1 front right, 2 rear right, 3 rear left.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

POSITION = 0  # 3: metres, world
QUATERNION = 3  # 4: w x y z, body to world
VELOCITY = 7  # 3: m/s, world
SPIN = 10  # 3: rad/s, world
ROTATION = 13  # 9: row-major matrix of the quaternion; columns left, up, forward
WHEEL_ABSORB = 22  # 4: metres of suspension travel, as the game reports damper_absorb (0.005 pressed .. 0.2 hanging)
WHEEL_ABSORB_RATE = 26  # 4: m/s
WHEEL_CONTACT = 30  # 4: 0 or 1
WHEEL_MATERIAL = 34  # 4: contact material id of the last contact
WHEEL_SLIDING = 38  # 4: 0 or 1
GAS = 42  # 0..1, as applied in the last tick
BRAKE = 43  # 0 or 1, as applied in the last tick
STEER = 44  # -1 (left) .. 1 (right), after the slew of the steering
GEAR = 45  # 0 reverse, 1..5
GEARBOX_STATE = 46  # 0 normal, 1 shifting, 2 standing start
SHIFT_TICKS_LEFT = 47  # ticks for which the clutch stays open; then the rpm move, and the shift ends with them
RPM = 48
TURBO_KIND = 49  # 0 none, else the contact material of the pad
TURBO_TICKS_LEFT = 50
FREE_WHEELING = 51  # 0 or 1
LATERAL_CONTACT = 52  # 0 or 1: the body touched a wall in the last tick
WALL_TICKS_LEFT = 53  # ticks for which the slow-down after a wall contact goes on
IS_SLIDING = 54  # 0 or 1: any wheel slides
TURNING_RATE = 55  # rad/s about the car's up axis
LOCAL_SPEED = 56  # 3: m/s, car frame (left, up, forward)
FORCE = 59  # 3: m/s2, world: the sum of the last tick's forces on a mass of 1
AIR_TICKS = 62  # ticks since the last wheel contact
SPARE = 63  # 9: always 0, for later models of the car
CAR_SIZE = 72
"""Length of the vector. 72 * 8 = 576 bytes: with a 40-byte header it fits the 616 free bytes of the game's state."""

CarState = NDArray[np.float64]


def at_rest(position: NDArray[np.float64], rotation: NDArray[np.float64]) -> CarState:
    """Return a car that stands still at ``position`` (3,) with ``rotation`` (3, 3), in first gear, wheels hanging."""
    car = np.zeros(CAR_SIZE)
    car[POSITION : POSITION + 3] = position
    car[ROTATION : ROTATION + 9] = np.asarray(rotation, dtype=np.float64).ravel()
    car[QUATERNION : QUATERNION + 4] = quaternion_of(np.asarray(rotation, dtype=np.float64))
    car[WHEEL_ABSORB : WHEEL_ABSORB + 4] = 0.2
    car[GEAR] = 1
    car[GEARBOX_STATE] = 2
    return car


def quaternion_of(rotation: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the unit quaternion (4,) w x y z, w >= 0, of a rotation matrix (3, 3)."""
    r = rotation
    squares = np.array(
        [
            1 + r[0, 0] + r[1, 1] + r[2, 2],
            1 + r[0, 0] - r[1, 1] - r[2, 2],
            1 - r[0, 0] + r[1, 1] - r[2, 2],
            1 - r[0, 0] - r[1, 1] + r[2, 2],
        ]
    )
    largest = int(np.argmax(squares))
    root = np.sqrt(squares[largest])  # twice the largest component
    w_x, w_y, w_z = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    x_y, x_z, y_z = r[1, 0] + r[0, 1], r[0, 2] + r[2, 0], r[2, 1] + r[1, 2]
    rows = (
        (root**2, w_x, w_y, w_z),
        (w_x, root**2, x_y, x_z),
        (w_y, x_y, root**2, y_z),
        (w_z, x_z, y_z, root**2),
    )
    quaternion: NDArray[np.float64] = np.array(rows[largest]) / (2 * root)
    return quaternion if quaternion[0] >= 0 else -quaternion
