"""What a picture costs, on a lap of the longest track that ships: ``python -m tests.bench.render``.

Aims, on one core: 3,000 grey frames a second at 64x64 and 1,500 at 160x120. The least of several rounds over the lap
counts, in processor time: it is the figure that the other processes of a busy machine disturb least.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from tests.simulator.posed_car import car_on_road
from tmrl_ray.simulator.car_state import CarState
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.render import Renderer
from tmrl_ray.simulator.ribbon import SPACING_M
from tmrl_ray.simulator.scene import scene_of

TRACK = "long"
STEP_M = 2.0
ROUNDS = 5
SIZES = ((64, 64), (84, 84), (160, 120), (640, 480))


def lap(seed: int = 0) -> list[CarState]:
    """Return the cars of one lap: off the middle and askew as a driver is, at speeds from 40 to 80 m/s."""
    track = load_track(TRACK)
    rng = np.random.default_rng(seed)
    distances = np.arange(STEP_M, len(track.line) * SPACING_M - STEP_M, STEP_M)
    phase = rng.uniform(0, 2 * np.pi, 3)
    return [
        car_on_road(
            track,
            distance,
            lateral_m=4 * np.sin(distance / 60 + phase[0]),
            heading_rad=0.15 * np.sin(distance / 40 + phase[1]),
            speed_mps=60 + 20 * np.sin(distance / 150 + phase[2]),
        )
        for distance in distances
    ]


def seconds_per_call(call: Callable[[CarState], object], cars: list[CarState]) -> float:
    """Return the processor time of one call, from the fastest round over ``cars``."""
    call(cars[0])
    best = float("inf")
    for _ in range(ROUNDS):
        start = time.process_time()
        for car in cars:
            call(car)
        best = min(best, (time.process_time() - start) / len(cars))
    return best


def main() -> None:
    """Print the table."""
    track = load_track(TRACK)
    start = time.process_time()
    scene = scene_of(track)
    prepared_ms = 1000 * (time.process_time() - start)
    cars = lap()
    print(f"{TRACK}: {len(track.triangles)} triangles, {len(scene.spheres)} chunks, prepared in {prepared_ms:.0f} ms")
    print(f"{'size':>9} {'camera':>6} {'grey us':>8} {'grey/s':>8} {'bgra us':>8} {'bgra/s':>8}")
    for width, height in SIZES:
        renderer = Renderer(track, width, height)
        grey_out = np.empty((height, width), dtype=np.uint8)
        bgra_out = np.empty((height, width, 4), dtype=np.uint8)
        every = max(1, width * height // 19200)
        for camera in (1, 2, 3):
            chosen = cars[::every]
            grey = seconds_per_call(lambda car, c=camera, r=renderer, o=grey_out: r.grey(car, c, out=o), chosen)
            bgra = seconds_per_call(lambda car, c=camera, r=renderer, o=bgra_out: r.bgra(car, c, out=o), chosen)
            size = f"{width}x{height}"
            print(f"{size:>9} {camera:>6} {grey * 1e6:8.0f} {1 / grey:8.0f} {bgra * 1e6:8.0f} {1 / bgra:8.0f}")


if __name__ == "__main__":
    main()
