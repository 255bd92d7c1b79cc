"""Writes small Gbx files by hand, so that the reader is tested without the game's files and without its own words."""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterable, Sequence

from lzallright import LZOCompressor

END = struct.pack("<I", 0xFACADE01)
NOTHING = struct.pack("<I", 0xFFFFFFFF)


def u32(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *(value & 0xFFFFFFFF for value in values))


def text(value: str) -> bytes:
    encoded = value.encode()
    return u32(len(encoded)) + encoded


class Names:
    """Writes a name out the first time and refers to it afterwards."""

    def __init__(self) -> None:
        self._known: list[str] = []
        self._started = False

    def __call__(self, *values: str | int | None) -> bytes:
        return b"".join(self._one(value) for value in values)

    def _one(self, value: str | int | None) -> bytes:
        start = b"" if self._started else u32(3)
        self._started = True
        if value is None:
            return start + NOTHING
        if isinstance(value, int):
            return start + u32(value)
        if value in self._known:
            return start + u32(0x40000000 | self._known.index(value) + 1)
        self._known.append(value)
        return start + u32(0x40000000) + text(value)


def chunk(identifier: int, content: bytes) -> bytes:
    return u32(identifier) + content


def skippable(identifier: int, content: bytes) -> bytes:
    return u32(identifier, 0x534B4950, len(content)) + content


def container(
    class_id: int, body: bytes, *, nodes: int = 9, user: Iterable[tuple[int, bytes]] = (), packed: bool = True
) -> bytes:
    chunks = list(user)
    heads = b"".join(u32(identifier, len(content)) for identifier, content in chunks)
    user_data = u32(len(chunks)) + heads + b"".join(content for _, content in chunks) if chunks else b""
    start = b"GBX" + struct.pack("<H", 6) + (b"BUCR" if packed else b"BUUR") + u32(class_id, len(user_data)) + user_data
    if not packed:
        return start + u32(nodes, 0) + body
    compressed = LZOCompressor().compress(body)
    return start + u32(nodes, 0, len(body), len(compressed)) + compressed


def block(names: Names, name: str, cell: tuple[int, int, int], rotation: int, flags: int = 0x1000) -> bytes:
    return names(name) + bytes((rotation, *cell)) + u32(flags)


BLOCKS = (
    ("StadiumRoadMainStartLine", (3, 1, 5), 3),
    ("StadiumRoadMain", (4, 1, 5), 3),
    ("StadiumRoadMainCheckpoint", (7, 1, 5), 3),
    ("StadiumRoadDirtHighCheckpoint", (11, 2, 5), 3),
    ("StadiumRoadMainFinishLine", (13, 1, 5), 3),
)


def challenge_body(
    blocks: Sequence[tuple[str, tuple[int, int, int], int]] = BLOCKS,
    *,
    environment: str | int = "Stadium",
    laps: tuple[bool, int] = (False, 3),
    skin: bool = True,
) -> bytes:
    """The body of a map: with a skinned block, an empty cell and, at the end, a chunk that the reader does not know."""
    names = Names()
    body = chunk(0x0304300D, names("StadiumCar", "Vehicles", "Nadeo"))
    parameters = (
        u32(2, 0x0305B000)
        + chunk(0x0305B001, text("") * 4)
        + chunk(0x0305B004, u32(41000, 31000, 23000, 19000, 0))
        + chunk(0x0305B008, u32(60000, 0))
        + END
    )
    collectors = u32(1, 0x0301B000) + chunk(0x0301B000, u32(1) + names("StadiumRoadMain", "Stadium", "Nadeo") + u32(7))
    body += chunk(0x03043011, collectors + END + parameters + u32(9))
    body += skippable(0x03043017, u32(2, 7, 1, 5, 11, 2, 5))
    body += skippable(0x03043018, u32(laps[0], laps[1]))
    body += skippable(0x03043019, b"anything")
    head = names("some-uid", environment, "an-author") + text("\ufeff$f00Map $$1") + names("Day", "Stadium", "Nadeo")
    placed = b"".join(block(names, *one) for one in blocks)
    placed += names("Unassigned1") + bytes((0, 0, 0, 0)) + NOTHING
    count = len(blocks)
    if skin:
        file = b"\x03" + bytes(32) + text("Skins\\a.zip") + text("")
        skin_node = u32(3, 0x03059000) + chunk(0x03059002, text("") + file + b"\x02" + text("")) + END
        placed += names("StadiumControlRoadPub") + bytes((1, 5, 1, 7)) + u32(0x9000) + names("an-author") + skin_node
        placed += names("StadiumControlRoadPub") + bytes((1, 5, 1, 8)) + u32(0x9000) + names("an-author") + u32(3)
        count += 2
    return body + chunk(0x0304301F, head + u32(32, 32, 32, 0, 1, count) + placed) + chunk(0x03043021, b"unknown") + END


def challenge(**options: object) -> bytes:
    return container(0x03043000, challenge_body(**options))  # type: ignore[arg-type]


def sample(
    position: tuple[float, float, float], speed_mps: float, *, heading: float = 0.0, steer: float = 0.0
) -> bytes:
    """One sample of 61 bytes of a car that faces along +x and moves along its heading (-1..1 is half a turn)."""
    logarithm = round(1000 * math.log(speed_mps)) if speed_mps > 0 else -32768
    quarter_turn_about_y = (65535 // 4, 32767 // 2, 0)  # half the angle; the axis is +y
    return (
        struct.pack("<3f", *position)
        + struct.pack("<Hhh", *quarter_turn_about_y)
        + struct.pack("<hbb", logarithm, round(127 * heading), 0)
        + struct.pack("<hbb", -32768, 0, 0)
        + struct.pack("<3H", round((speed_mps + 1000) / 11000 * 65535), 32768, round(4000 / 30000 * 65535))
        + struct.pack("<4H", 0, 0, 0, 0)
        + bytes((round(127.5 * (steer + 1)), 255, 0, 0, 0, 127, 127, 0, 127))
        + bytes((128, 16)) * 4
        + bytes(4)
    )


def trace(samples: Sequence[bytes], *, period_ms: int = 100, version: int = 9, times_ms: Sequence[int] = ()) -> bytes:
    return packed_trace(trace_data(samples, period_ms=period_ms, version=version, times_ms=times_ms))


def packed_trace(data: bytes) -> bytes:
    packed = zlib.compress(data)
    return u32(len(data), len(packed)) + packed


def trace_data(samples: Sequence[bytes], *, period_ms: int, version: int, times_ms: Sequence[int]) -> bytes:
    records = b"".join(samples)
    data = u32(0x0A02B000, 0 if times_ms else 1, 0, period_ms, version, len(records)) + records + u32(len(samples), 0)
    if len({len(one) for one in samples}) > 1:
        data += NOTHING + u32(*(len(one) for one in samples[:-1]))
    elif len(samples) > 1:
        data += u32(len(samples[0]))
    if times_ms:
        data += u32(len(times_ms), *times_ms)
    return data


def validation(names: Names, events: Sequence[tuple[int, str, int]], duration_ms: int) -> bytes:
    controls = list(dict.fromkeys(name for _, name, _ in events))
    content = u32(duration_ms, 0, len(controls)) + names(*controls) + u32(len(events), 0)
    for time_ms, name, value in events:
        content += u32(time_ms + 100000) + bytes((controls.index(name),)) + u32(value)
    return content + text("TmForever.2.11.26") + u32(1, 2, 3) + text("<laps>1</laps>") + u32(0)


def ghost(
    names: Names,
    *,
    index: int = 1,
    race_time_ms: int = 470,
    checkpoint_times_ms: Sequence[int] = (230, 470),
    samples: bytes | None = None,
    events: Sequence[tuple[int, str, int]] = ((0, "_FakeIsRaceRunning", 1), (10, "Accelerate", 1)),
) -> bytes:
    content = chunk(0x0303F005, samples) if samples is not None else b""
    content += skippable(0x03092005, u32(race_time_ms)) + skippable(0x03092008, u32(0))
    times = b"".join(u32(time, 0) for time in checkpoint_times_ms)
    content += skippable(0x0309200B, u32(len(checkpoint_times_ms)) + times)
    content += chunk(0x0309200C, u32(0)) + chunk(0x0309200E, names("ghost-uid")) + chunk(0x0309200F, text("a-login"))
    content += chunk(0x03092010, names(None)) + chunk(0x03092012, bytes(20)) + chunk(0x03092015, names("A Nick"))
    content += chunk(0x03092018, names("StadiumCar", "Vehicles", "Nadeo"))
    content += chunk(0x03092019, validation(names, events, race_time_ms))
    return u32(index, 0x03092000) + content + END


def replay(ghosts: Sequence[bytes], *, embedded: bytes = b"", class_id: int = 0x2407E000) -> bytes:
    names = Names()
    header = u32(7) + names("some-uid", "Stadium", "Nadeo") + u32(470) + text("A Nick") + text("a-login")
    body = chunk(0x03093002, u32(len(embedded)) + embedded) if embedded else b""
    body += skippable(0x03093007, u32(0))
    body += chunk(0x03093014, u32(10, len(ghosts)) + b"".join(ghosts) + u32(0, 0))
    user = [(0x03093000, header), (0x03093001, text("<header/>"))]
    return container(class_id, body + chunk(0x03093015, NOTHING) + END, user=user)


def straight_samples(count: int = 7, *, metres: float = 3.0) -> list[bytes]:
    """A car that drives along +x, ``metres`` between two samples."""
    return [sample((100 + metres * i, 9.36, 176.0), 10 * metres) for i in range(count)]
