"""The same inputs give the same bytes: in batches or tick by tick, after a rewind, in another process, mirrored."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from functools import cache

import numpy as np

from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.manoeuvres import drive_inputs
from tmrl_ray.simulator.proving_ground import car_at
from tmrl_ray.simulator.track import ContactArrays, Floats, Material, build_contacts
from tmrl_ray.simulator.tuning import CarTuning
from tmrl_ray.simulator.vehicle import run_ticks, tick_car

T = CarTuning().arrays
TICKS = 3000

GOLDEN = "428d3f7b1c998d711c2b1735254d81727303085d5b6bba9599e2e6d48daec0c7"
"""SHA-256 of the states of 3000 ticks on :func:`course`. A change of it is a change of the physics: recorded races,
saved states and frozen times of drivers are then no longer valid, and the changelog has to say so."""


@cache
def course(side: int = 1) -> ContactArrays:
    """A walled field of hills with every material, made of whole numbers so that no library's sine takes part.

    Args:
        side: -1 mirrors it left to right.
    """
    n, cell = 41, 8.0
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    height = ((i * 7 + j * 13) % 11) * ((i + 2 * j) % 3 == 0) * 0.125
    x, z = (i - n // 2) * cell, (j - 3) * cell
    p = np.stack([x * side, height, z], axis=-1).astype(np.float64)
    a, b, c, d = (q.reshape(-1, 3) for q in (p[:-1, :-1], p[:-1, 1:], p[1:, 1:], p[1:, :-1]))
    corners = np.stack([np.stack([a, b, c], axis=1), np.stack([a, c, d], axis=1)], axis=1).reshape(-1, 3, 3)
    kinds = np.array([Material.ASPHALT] * 5 + [Material.DIRT, Material.GRASS, Material.TURBO, Material.ICE])
    materials = kinds[(np.arange(len(corners)) // 2) % len(kinds)]
    edge = n // 2 * cell * 0.8
    walls = [wall(sign * edge, side) for sign in (-1, 1)]
    corners = np.concatenate([corners, *walls])
    materials = np.concatenate([materials, np.full(4, Material.CONCRETE)])
    if side < 0:
        corners = corners[:, [0, 2, 1]]  # else a mirrored triangle shows its back
    return build_contacts(np.ascontiguousarray(corners), materials.astype(np.uint8))


def wall(x: float, side: int) -> Floats:
    """A wall along the road that faces the middle."""
    low, high, near, far = -1.0, 6.0, -24.0, 300.0
    if x > 0:
        near, far = far, near
    x *= side
    a, b, c, d = (x, low, near), (x, high, near), (x, high, far), (x, low, far)
    return np.array([(a, b, c), (a, c, d)])


def script(ticks: int = TICKS, side: int = 1) -> Floats:
    """Keys that change every 7 to 40 ticks, from a generator of whole numbers."""
    inputs = np.zeros((ticks, 3))
    state, t = 20250101, 0
    while t < ticks:
        state = (state * 1103515245 + 12345) % 2**31
        hold = 7 + (state >> 8) % 34
        inputs[t : t + hold] = ((state >> 4) % 8 > 0, (state >> 16) % 6 == 0, side * ((state >> 20) % 3 - 1.0))
        t += hold
    return inputs


def run(side: int = 1) -> Floats:
    return drive_inputs(car_at(speed_mps=20.0), script(side=side), course(side), T)


def digest() -> str:
    return hashlib.sha256(np.ascontiguousarray(run()).tobytes()).hexdigest()


def test_golden_run_visits_what_it_should_guard() -> None:
    trace = run()
    materials = trace[:, cs.WHEEL_MATERIAL : cs.WHEEL_MATERIAL + 4]
    assert set(np.unique(materials).astype(int)) >= {Material.ASPHALT, Material.DIRT, Material.GRASS, Material.ICE}
    assert trace[:, cs.LATERAL_CONTACT].any()
    assert trace[:, cs.IS_SLIDING].any()
    assert (trace[:, cs.TURBO_TICKS_LEFT] > 0).any()
    assert (trace[:, cs.AIR_TICKS] > 20).any()
    assert (trace[:, cs.GEARBOX_STATE] == 1).any()


def test_golden_hash() -> None:
    assert digest() == GOLDEN


def test_another_process_gives_the_same_bytes() -> None:
    code = "from tests.simulator.test_car_exact import digest; print(digest())"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == digest()


def test_tick_by_tick_equals_many_ticks_at_once() -> None:
    car, inputs = car_at(speed_mps=20.0), script(700)
    trace = run()
    for t, (gas, brake, steer) in enumerate(inputs):
        tick_car(car, gas, brake, steer, course(), T)
        assert car.tobytes() == trace[t].tobytes()


def test_odd_batches_equal_one_run() -> None:
    car, inputs = car_at(speed_mps=20.0), script(1001)
    nothing = np.empty((0, cs.CAR_SIZE))
    for start in range(0, 1001, 13):
        run_ticks(car, inputs[start : start + 13], course(), T, nothing)
    assert car.tobytes() == run()[1000].tobytes()


def test_copy_of_the_vector_rewinds_to_the_last_bit() -> None:
    trace, inputs = run(), script()
    for start in (1, 333, 1111, 2222):
        again = drive_inputs(trace[start - 1].copy(), inputs[start : start + 500], course(), T)
        assert again.tobytes() == trace[start : start + 500].tobytes()


def test_mirrored_inputs_on_a_mirrored_course_give_the_mirrored_race() -> None:
    trace, mirrored = run(), run(side=-1)
    assert (mirrored[:, cs.POSITION] == -trace[:, cs.POSITION]).all()
    for same in (cs.POSITION + 1, cs.POSITION + 2, cs.LOCAL_SPEED + 2, cs.RPM, cs.GEAR):
        assert (mirrored[:, same] == trace[:, same]).all()
    pairs = [1, 0, 3, 2]
    for first in (cs.WHEEL_ABSORB, cs.WHEEL_CONTACT, cs.WHEEL_SLIDING, cs.WHEEL_MATERIAL):
        assert (mirrored[:, first : first + 4] == trace[:, first : first + 4][:, pairs]).all()
