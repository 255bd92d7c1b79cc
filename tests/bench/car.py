"""How many ticks of the car one core computes on a recorded lap.

    python -m tests.bench.car

A pursuit driver laps the shipped track ``long``; then its inputs are replayed by one kernel call, and tick by tick
from Python. The best of several repeats counts: other work on the machine only ever makes a run slower.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tmrl_ray.simulator import car_state as cs
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.track import Floats, Track
from tmrl_ray.simulator.tuning import CarTuning
from tmrl_ray.simulator.vehicle import run_ticks, settle_car, tick_car

TRACK = "long"
REPEATS = 9
T = CarTuning().arrays


def start(track: Track) -> Floats:
    """Return a car that stands on the start of a track."""
    car = cs.at_rest(track.spawn.position, track.spawn.rotation)
    settle_car(car, track.contacts, T, 100)
    return car


def record_lap(track: Track, *, max_ticks: int = 20_000) -> tuple[Floats, Floats]:
    """Return the inputs (T, 3) and the speeds (T,) km/h of a lap: look ahead by 0.7 s, and brake for what is bent."""
    car, line = start(track), track.line
    inputs, speeds, at = [], [], 0
    while len(inputs) < max_ticks and at < len(line) - 60:
        position = car[cs.POSITION : cs.POSITION + 3]
        window = line[at : at + 80]
        at += int(((window - position) ** 2).sum(axis=1).argmin())
        speed = float(car[cs.LOCAL_SPEED + 2])
        target = line[min(at + 8 + int(1.0 * speed), len(line) - 1)] - position
        rotation = car[cs.ROTATION : cs.ROTATION + 9].reshape(3, 3)
        left, _, forward = rotation.T @ target
        steer = float(np.clip(-6.0 * left / max(abs(forward), 1.0), -1.0, 1.0))
        allowed = _speed_for_bends(line[at : at + 40 + int(4.0 * speed)])
        gas, brake = float(speed < allowed), float(speed > allowed + 4.0)
        inputs.append((gas, brake, steer))
        tick_car(car, gas, brake, steer, track.contacts, T)
        speeds.append(speed * 3.6)
    return np.array(inputs), np.array(speeds)


def _speed_for_bends(ahead: Floats) -> float:
    """Return a speed from which one can slow down for every bend ahead, m/s."""
    points = ahead[::8]
    steps = np.diff(points[:, [0, 2]], axis=0)
    lengths = np.maximum(np.sqrt((steps**2).sum(axis=1)), 0.1)
    turns = np.abs(np.diff(np.unwrap(np.arctan2(steps[:, 0], steps[:, 1])))) / lengths[1:]
    bend_speeds = np.sqrt(40.0 / np.maximum(turns, 1e-3))
    distances = np.cumsum(lengths)[:-1]
    return float(np.sqrt(bend_speeds**2 + 2.0 * 20.0 * distances).min()) if len(turns) else 60.0


def best_seconds(action: Callable[[], object]) -> float:
    """Return the shortest time of several runs, after one to compile."""
    action()
    times = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    """Print the table."""
    track = load_track(TRACK)
    inputs, speeds = record_lap(track)
    contacts, nothing = track.contacts, np.empty((0, cs.CAR_SIZE))
    trace = np.empty((len(inputs), cs.CAR_SIZE))
    run_ticks(start(track), inputs, contacts, T, trace)
    print(f"{TRACK}: {len(track.triangles)} triangles, {len(inputs)} ticks, {speeds.mean():.0f} km/h on average,")
    print(f"{speeds.max():.0f} at most, body at a wall in {trace[:, cs.LATERAL_CONTACT].mean():.1%} of the ticks")
    whole = best_seconds(lambda: run_ticks(start(track), inputs, contacts, T, nothing))
    car, rows = start(track), inputs[:2000].tolist()

    def one_by_one() -> None:
        for gas, brake, steer in rows:
            tick_car(car, gas, brake, steer, contacts, T)

    single = best_seconds(one_by_one) / len(rows)
    print(f"{'one kernel call':24s}{len(inputs) / whole:12,.0f} ticks/s{1e6 * whole / len(inputs):8.2f} us/tick")
    print(f"{'tick by tick, Python':24s}{1.0 / single:12,.0f} ticks/s{1e6 * single:8.2f} us/tick")


if __name__ == "__main__":
    main()
