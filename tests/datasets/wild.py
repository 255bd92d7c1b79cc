"""Writes races as other tools do, in the layout of the public TMNF datasets and its old variants."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tmrl_ray.racing.actions import ACTION_KEYS, KEY_NAMES

INTERVAL_MS = 100
SIZE = (20, 12)
TICKS = 130
"""1.3 s."""


def held(tick: int) -> int:
    """Return the action of a tick: another one every 70 ms, so that no two timelines a little apart agree."""
    return (0, 1, 2, 0, 3, 4, 0, 7, 11, 0, 2, 5)[tick // 7 % 12]


def jpeg(step: int) -> bytes:
    """Return a picture of one grey value that tells the step."""
    buffer = io.BytesIO()
    Image.fromarray(np.full((SIZE[1], SIZE[0]), 10 * step, np.uint8)).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def turned_to_world(time_ms: int) -> NDArray[np.float64]:
    """Return the car's axes as columns: it turns left by 0.4 rad/s."""
    angle = 1.0 + 0.0004 * time_ms
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def state(time_ms: int) -> dict[str, Any]:
    """Return a state at 20 m/s straight ahead, in the world's frame as the public datasets have it."""
    to_world = turned_to_world(time_ms)
    start, end = 1.0, 1.0 + 0.0004 * time_ms
    radius_m = 20 / 0.4
    position = radius_m * np.array([np.cos(start) - np.cos(end), 0.2, np.sin(end) - np.sin(start)])
    return {
        "race_time": time_ms,
        "time_ms": time_ms,
        "position": position.tolist(),
        "velocity": (to_world @ [0, 0, 20]).tolist(),
        "orientation_flat": to_world.T.ravel().tolist(),
        "angular_velocity": [0.0, 0.4, 0.0],
        "gear_and_wheels": [0.0] * 4 + [1.0] * 4 + [0.01] * 4 + [0.0, 3.0, 8000.0, 0.0] + [1.0, 0.0, 0.0, 0.0] * 4,
        "is_freewheeling": False,
        "zone_centers_in_car_frame": np.arange(120.0).tolist(),
        "margin": 700.0,
        "current_zone_idx": 20 + time_ms // 25,
    }


def entry(step: int) -> dict[str, Any]:
    """Return the entry of a frame."""
    time_ms = step * INTERVAL_MS
    action = held(time_ms // 10)
    return {
        "file": f"frame_{step:05d}_{time_ms}ms.jpeg",
        "step": step,
        "time_ms": time_ms,
        "capture_timestamp_utc": "2026-02-27T12:00:00+00:00",
        "action_idx": action,
        "inputs": dict(zip(KEY_NAMES, ACTION_KEYS[action].astype(bool).tolist(), strict=True)),
    }


METADATA = {
    "track_id": "4711",
    "replay_name": "pos1_someone_1300ms",
    "challenge_name": "A-Track",
    "fps": 10,
    "fps_meta": 10,
    "capture_interval_ms": 100,
    "meta_interval_ms": 100,
    "width": SIZE[0],
    "height": SIZE[1],
    "step_ms": 10,
    "race_time_ms": 10 * TICKS,
    "total_frames": 13,
    "race_finished": True,
    "tmi_script_used": True,
}


def write(folder: Path, manifest: Any, *, metadata: dict[str, Any] | None = None, steps: int = 13) -> Path:
    """Write a race of another tool; None for the manifest or the metadata: there is no such file."""
    folder.mkdir(parents=True)
    for step in range(steps):
        (folder / f"frame_{step:05d}_{step * INTERVAL_MS}ms.jpeg").write_bytes(jpeg(step))
    if manifest is not None:
        (folder / "manifest.json").write_text(json.dumps(manifest))
    if metadata is not None:
        (folder / "metadata.json").write_text(json.dumps(metadata))
    return folder


def manifest(steps: int = 13) -> dict[str, Any]:
    """Return the manifest as today's tools write it, without defects but for the finish, which they never capture."""
    return {
        "entries": [entry(step) for step in range(steps)],
        "actions": [held(tick) for tick in range(TICKS)],
        "meta": [state(step * INTERVAL_MS) for step in range(steps)],
    }
