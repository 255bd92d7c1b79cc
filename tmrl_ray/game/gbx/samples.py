"""The trace of a car that a ghost carries: its pose and motion, normally every 100 ms.

A sample of TMNF and TMUF is 61 bytes; angles, speeds and the wheels' states are rounded to one or two bytes. A
direction is a heading in the plane of x and y and a pitch towards z; a length is stored as its logarithm; a rotation
as half its angle and its axis. Each was checked against the positions of real ghosts. Field order: GBX.NET's
description of CSceneVehicleCar.

A sample lags a tick behind its time. In both ghosts of B13 the steering in the sample at time t is the input of the
tick from t - 20 to t - 10 ms, and the first one shows the fall of nine ticks, not of ten: :attr:`Samples.ticks` counts
them.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tmrl_ray.game.gbx.reader import NONE, Reader

Floats = NDArray[np.float64]

MAX_TRACE_BYTES: Final = 64 << 20
_CAR: Final = 0x0A02B000
_FIRST_VERSION: Final = 8
"""Older games store fewer fields."""

_RAW: Final = np.dtype(
    [
        ("position", "<f4", 3),
        ("half_angle", "<u2"),
        ("axis_heading", "<i2"),
        ("axis_pitch", "<i2"),
        ("speed", "<i2"),
        ("heading", "i1"),
        ("pitch", "i1"),
        ("spin", "<i2"),
        ("spin_heading", "i1"),
        ("spin_pitch", "i1"),
        ("forward_speed", "<u2"),
        ("side_speed", "<u2"),
        ("rpm", "<u2"),
        ("wheel_angles", "<u2", 4),
        ("steer", "u1"),
        ("gas", "u1"),
        ("brake", "u1"),
        ("unknown", "u1", 4),
        ("turbo", "u1"),
        ("steer_angle", "u1"),
        ("wheels", [("absorb", "u1"), ("material", "u1")], 4),
    ]
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Samples:
    """A car over time. Shape letters: N samples. World axes: y up; a rotation's columns are left, up, forward."""

    period_ms: int
    """Time between two samples: 100, or less in recordings of higher resolution."""
    times_s: Floats
    """(N,) race time by the game's clock; the car is shown as it was a tick before."""
    positions: Floats
    """(N, 3) metres."""
    rotations: Floats
    """(N, 3, 3) car to world."""
    velocities: Floats
    """(N, 3) m/s, world; rounded to 1 part in 1000 and to 1.4 degrees."""
    angular_velocities: Floats
    """(N, 3) rad/s, world; rounded alike."""
    forward_speeds_mps: Floats
    """(N,) along the car's forward axis; rounded to 0.17."""
    rpm: Floats
    """(N,)"""
    steer: Floats
    """(N,) -1 left .. 1 right, as applied."""
    gas: Floats
    """(N,) 0..1"""
    brake: Floats
    """(N,) 0..1"""
    turbo: Floats
    """(N,) strength, 0..1"""
    wheel_absorb_m: Floats
    """(N, 4) travel of the suspension, front left, front right, rear right, rear left; rounded to 0.016."""
    wheel_materials: NDArray[np.uint8]
    """(N, 4) contact material ids; the last one touched while a wheel is in the air."""

    def __len__(self) -> int:
        return len(self.times_s)

    @property
    def ticks(self) -> NDArray[np.int64]:
        """(N,) how many ticks of the race had been simulated when each sample was taken."""
        return np.maximum(np.rint(self.times_s * 100).astype(np.int64) - 1, 0)


def read_samples(reader: Reader) -> Samples | None:
    """Read the compressed trace of a ghost; None where it holds none.

    Raises:
        GbxError: the trace is damaged, is not one of a car, or is from a game older than TMNF.
    """
    at = reader.offset
    size, packed = reader.u32(), reader.take(reader.count(1))
    if size > MAX_TRACE_BYTES:
        reader.fail(f"a trace of {size} bytes, {MAX_TRACE_BYTES} are allowed", at=at)
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(packed, size + 1)
    except zlib.error as error:
        reader.fail(f"the trace is damaged: {error}", at=at)
    if len(data) != size or not unpacker.eof:
        reader.fail(f"the trace yields {len(data)} bytes, {size} were promised", at=at)
    return _samples(Reader(data, reader.source, "ghost's trace"))


def _samples(reader: Reader) -> Samples | None:
    kind = reader.u32()
    if kind == NONE:
        return None
    if kind != _CAR:
        reader.fail(f"a trace of class {kind:#010x}, a car is {_CAR:#010x}", at=0)
    has_period = reader.flag()
    reader.u32()
    period_ms, version = reader.u32(), reader.u32()
    if version < _FIRST_VERSION:
        reader.fail(f"a trace of version {version}; TMNF and TMUF write {_FIRST_VERSION} or later")
    records = reader.take(reader.count(1))
    starts = _starts(reader, len(records))
    raw_bytes = np.frombuffer(records, dtype=np.uint8)
    raw = raw_bytes[starts[:, None] + np.arange(_RAW.itemsize)].view(_RAW)[:, 0]
    if has_period:
        times_ms = np.arange(len(raw), dtype=np.float64) * period_ms
    else:
        count = reader.count(4)
        if count != len(raw):
            reader.fail(f"{count} times for {len(raw)} samples")
        times_ms = np.array([reader.u32() for _ in range(count)], dtype=np.float64)
    if (np.diff(times_ms) <= 0).any():
        reader.fail("the samples do not follow each other in time")
    if not np.isfinite(raw["position"]).all():
        reader.fail("a position is not finite")
    return _decoded(raw, times_ms, period_ms)


def _starts(reader: Reader, size: int) -> NDArray[np.int64]:
    """Return where each sample begins in the ``size`` bytes of the records."""
    at = reader.offset
    count = reader.u32()
    if count == 0:
        return np.zeros(0, dtype=np.int64)
    if count * _RAW.itemsize > size:
        reader.fail(f"{count} samples in {size} bytes", at=at)
    first = reader.u32()
    sizes = np.zeros(count - 1, dtype=np.int64)
    if count > 1:
        each = reader.u32()
        if each == NONE:
            sizes = np.array([reader.u32() for _ in range(count - 1)], dtype=np.int64)
        else:
            sizes += each
    if (sizes < _RAW.itemsize).any():
        reader.fail(f"samples of less than {_RAW.itemsize} bytes: an older game's", at=at)
    starts = first + np.concatenate(([0], np.cumsum(sizes)))
    if starts[-1] + _RAW.itemsize > size:
        reader.fail(f"the last sample begins at byte {starts[-1]} of {size}", at=at)
    return starts


def _decoded(raw: NDArray[np.void], times_ms: Floats, period_ms: int) -> Samples:
    half_angle = raw["half_angle"] / 65535 * np.pi
    axis = _direction(raw["axis_heading"] / 32767, raw["axis_pitch"] / 32767)
    return Samples(
        period_ms=period_ms,
        times_s=times_ms / 1000,
        positions=raw["position"].astype(np.float64),
        rotations=_rotations(np.cos(half_angle), np.sin(half_angle)[:, None] * axis),
        velocities=_vector(raw["speed"], raw["heading"], raw["pitch"]),
        angular_velocities=_vector(raw["spin"], raw["spin_heading"], raw["spin_pitch"]),
        forward_speeds_mps=raw["forward_speed"] / 65535 * 11000 - 1000,
        rpm=raw["rpm"] / 65535 * 30000,
        steer=np.clip(raw["steer"] / 127.5 - 1, -1, 1),
        gas=raw["gas"] / 255,
        brake=raw["brake"] / 255,
        turbo=raw["turbo"] / 255,
        wheel_absorb_m=raw["wheels"]["absorb"] / 255 * 4 - 2,
        wheel_materials=raw["wheels"]["material"].copy(),
    )


def _direction(heading: Floats, pitch: Floats) -> Floats:
    """Return unit vectors (N, 3) from a heading (-1..1 is half a turn) and a pitch (-1..1 is a quarter turn)."""
    heading, pitch = heading * np.pi, pitch * np.pi / 2
    return np.stack((np.cos(pitch) * np.cos(heading), np.cos(pitch) * np.sin(heading), np.sin(pitch)), axis=1)


def _vector(logarithm: NDArray[np.int16], heading: NDArray[np.int8], pitch: NDArray[np.int8]) -> Floats:
    """Return vectors (N, 3) from 1000 times the logarithm of their length, and their direction in 127ths."""
    return np.exp(logarithm / 1000)[:, None] * _direction(heading / 127, pitch / 127)


def _rotations(w: Floats, xyz: Floats) -> Floats:
    """Return the matrices (N, 3, 3) of unit quaternions w (N,), xyz (N, 3)."""
    x, y, z = xyz.T
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return np.stack([np.stack(row, axis=1) for row in rows], axis=1)
