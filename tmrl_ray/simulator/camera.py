"""Where the eye is: cameras 1 (far chase), 2 (near chase) and 3 (internal), as a pure function of the car's state.

The game smooths its chase cameras over time; ours may not remember anything, or a rewind would change the picture.
So a chase camera is a rig that is fixed to the car and tilts with the car's path: on the road the path lies in the
road's plane and the rig is rigid (upside down in a loop, too); in the air it follows the flight, so that a raised
nose does not put the eye under the ground and the place of landing stays in view. In a loop the road behind the car
curves up, so the eye is raised by what the car's turning says of that curve. At standstill the rig is rigid.

Numbers: near chase 7.5 m back, 3 m up, looking 3 m ahead, and a horizontal field of 70 to 90 degrees that rises with
speed (public descriptions of the game; 66 degrees vertical on a 4:3 screen lies in the middle of that range). The
far and the internal camera are measured by eye. Only +, -, *, / and sqrt, so that every processor agrees on the bits.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.simulator.car_state import ROTATION, SPIN, VELOCITY, CarState
from tmrl_ray.simulator.jit import kernel

EYE = 0  # 3: metres, world
RIGHT = 3  # 3: unit vectors, world
UP = 6
FORWARD = 9
TAN_HALF_WIDTH = 12  # tangent of half the horizontal field of view on a 4:3 screen: 1 / focal length in half widths
POSE_SIZE = 13

FAR_CHASE, NEAR_CHASE, INTERNAL = 1, 2, 3

NARROW_FIELD = 0.7002075382097097  # tan(35 degrees): the field at standstill
WIDE_FIELD = 1.0  # tan(45 degrees): the field at full speed and beyond
WIDE_SPEED_MPS = 110.0  # about 400 km/h, where a race on most tracks is at its fastest
SCREEN_RATIO = 4.0 / 3.0

PATH_SPEEDS_MPS = (5.0, 15.0)  # below the first the rig ignores the path, above the second it follows it
PATH_SLOPE_LIMIT = 0.7  # 35 degrees: further the rig does not tilt
FLAT_CURVE_PER_M = (
    0.01  # a dip of radius 100 m or more, and the car's nodding on its suspension, raise the eye by nothing
)
MOST_TURNED_RAD = 1.6  # a quarter of a loop: reached where its radius is 7 m


@kernel
def camera_pose(car: CarState, number: int, pose: NDArray[np.float64]) -> None:
    """Write the view of camera ``number`` into ``pose`` (POSE_SIZE,).

    Args:
        car: (CAR_SIZE,) the car.
        number: 1 far chase, 2 near chase, 3 internal.
        pose: filled with the eye, the unit vectors right, up and forward, and the tangent of half the field.
    """
    if number == INTERNAL:
        back, height, drop = -0.35, 1.02, 0.10  # on the driver's head, looking 6 degrees down
    elif number == FAR_CHASE:
        back, height, drop = 11.5, 4.6, 0.26
    else:
        back, height, drop = 7.5, 3.0, 0.21  # (3.0 m - 0.8 m) / (7.5 m + 3 m): at the car's middle, 3 m ahead

    speed2 = v_up = v_forward = nose_down = 0.0
    for i in range(3):
        v = car[VELOCITY + i]
        speed2 += v * v
        v_up += car[ROTATION + 3 * i + 1] * v
        v_forward += car[ROTATION + 3 * i + 2] * v
        nose_down += car[ROTATION + 3 * i] * car[SPIN + i]

    slope = lift = 0.0
    if number != INTERNAL and v_forward > PATH_SPEEDS_MPS[0]:
        weight = min(1.0, (v_forward - PATH_SPEEDS_MPS[0]) / (PATH_SPEEDS_MPS[1] - PATH_SPEEDS_MPS[0]))
        slope = weight * min(PATH_SLOPE_LIMIT, max(-PATH_SLOPE_LIMIT, v_up / v_forward))
        curve = max(0.0, -nose_down / v_forward - FLAT_CURVE_PER_M)
        turned = weight * min(MOST_TURNED_RAD, curve * back)  # from the eye to the car, about the loop's middle
        lift = 0.5 * turned * back
        back *= 1.0 - turned * turned / 6.0

    tilt = 1.0 / math.sqrt(1.0 + slope * slope)
    aim = 1.0 / math.sqrt(1.0 + drop * drop)
    for i in range(3):
        left = car[ROTATION + 3 * i]
        up = car[ROTATION + 3 * i + 1]
        forward = car[ROTATION + 3 * i + 2]
        rig_forward = (forward + slope * up) * tilt
        rig_up = (up - slope * forward) * tilt
        pose[EYE + i] = car[i] - back * rig_forward + (height + lift) * rig_up
        pose[RIGHT + i] = -left
        pose[UP + i] = (rig_up + drop * rig_forward) * aim
        pose[FORWARD + i] = (rig_forward - drop * rig_up) * aim

    share = min(1.0, math.sqrt(speed2) / WIDE_SPEED_MPS)
    pose[TAN_HALF_WIDTH] = NARROW_FIELD + (WIDE_FIELD - NARROW_FIELD) * share
