"""What can be read off the raw picture: a linear probe must find where the car is on the road, and how askew."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tests.simulator.posed_car import car_on_road
from tmrl_ray.simulator.library import load_track
from tmrl_ray.simulator.render import Renderer
from tmrl_ray.simulator.ribbon import SPACING_M
from tmrl_ray.simulator.track import Track

TRACK = "oval"
RACES, HELD_OUT, FRAMES = 17, 3, 211
RUN_OUT_M = 65.0  # nobody races past the finish
CAR_HALF_WIDTH_M = 1.2
LARGEST_ERROR_RAD = 0.5
PENALTY = 5.0

Floats = NDArray[np.float32]


def race(track: Track, renderer: Renderer, seed: int) -> tuple[Floats, Floats]:
    """Frames (T, 4096) all over a track at random speeds, and the lateral offset and heading error of each (T, 2)."""
    rng = np.random.default_rng(seed)
    frames = np.zeros((FRAMES, renderer.height * renderer.width), np.float32)
    truths = np.zeros((FRAMES, 2), np.float32)
    for k in range(FRAMES):
        distance = rng.uniform(2.0, len(track.line) * SPACING_M - RUN_OUT_M)
        reach = track.half_width[round(distance / SPACING_M)] - CAR_HALF_WIDTH_M
        lateral, heading = rng.uniform(-reach, reach), rng.uniform(-LARGEST_ERROR_RAD, LARGEST_ERROR_RAD)
        speed = rng.uniform(20.0, 60.0)
        car = car_on_road(track, distance, lateral_m=lateral, heading_rad=heading, speed_mps=speed)
        frames[k] = renderer.grey(car).ravel() / np.float32(255)
        truths[k] = lateral, heading
    return frames, truths


def test_linear_probe_reads_offset_and_heading() -> None:
    track = load_track(TRACK)
    renderer = Renderer(track, 64, 64)
    races = [race(track, renderer, seed) for seed in range(RACES + HELD_OUT)]
    frames, truths = (np.concatenate(part) for part in zip(*races[:RACES], strict=True))
    mean_frame, mean_truth = frames.mean(axis=0), truths.mean(axis=0)
    frames -= mean_frame
    inner = frames @ frames.T + PENALTY * np.eye(len(frames), dtype=np.float32)  # ridge regression in its dual form
    weights = frames.T @ np.linalg.solve(inner, truths - mean_truth)

    seen, truth = (np.concatenate(part) for part in zip(*races[RACES:], strict=True))
    error = (seen - mean_frame) @ weights + mean_truth - truth
    r2 = 1 - (error**2).sum(axis=0) / ((truth - truth.mean(axis=0)) ** 2).sum(axis=0)
    assert r2[0] >= 0.9, f"lateral offset: R2 {r2[0]:.3f}"
    assert r2[1] >= 0.9, f"heading error: R2 {r2[1]:.3f}"
