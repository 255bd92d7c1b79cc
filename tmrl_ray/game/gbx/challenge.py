"""A map (`.Challenge.Gbx`): who made it, its medal times, its blocks.

Chunks are read up to the one that holds the blocks. What follows (media tracker, music, comments) brings dozens of
other classes and nothing that a race needs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx.blocks import ENVIRONMENT, Block, SpawnPose
from tmrl_ray.game.gbx.container import Container, ignore, load, open_container, read_chunks, read_node
from tmrl_ray.game.gbx.reader import Reader

CHALLENGE: Final = 0x03043000
_COLLECTOR_LIST: Final = 0x0301B000
_PARAMETERS: Final = 0x0305B000
_SKIN: Final = 0x03059000
_HAS_AUTHOR: Final = 0x8000
_NO_BLOCK: Final = 0xFFFFFFFF
_BLOCK_MIN_BYTES: Final = 10


@dataclass(frozen=True, kw_only=True)
class MedalTimes:
    """The times to beat, in milliseconds; None where the map has none."""

    author: int | None = None
    gold: int | None = None
    silver: int | None = None
    bronze: int | None = None


@dataclass(frozen=True, kw_only=True)
class Challenge:
    """A map."""

    name: str
    """As the player sees it, with the game's formatting codes ($fff, $o, ...)."""
    uid: str
    author: str
    environment: str
    decoration: str
    """Time of day: Day, Sunrise, Sunset, Night."""
    size: tuple[int, int, int]
    """Cells along x, y (up) and z."""
    medal_times: MedalTimes
    laps: int
    """1 on a map that is no lap race."""
    checkpoint_cells: tuple[tuple[int, int, int], ...]
    """The checkpoints by the game's own list: for comparison with the blocks."""
    blocks: tuple[Block, ...]

    @property
    def start(self) -> Block:
        """The block on which a race starts.

        Raises:
            GbxError: the map has none, or more than one.
        """
        starts = [block for block in self._stadium_blocks if block.is_start]
        if len(starts) != 1:
            raise GbxError(f"map {self.name!r} has {len(starts)} start blocks, a race needs one")
        return starts[0]

    @property
    def spawn(self) -> SpawnPose:
        """Where the car stands when the countdown begins."""
        return self.start.spawn

    @property
    def checkpoints(self) -> tuple[Block, ...]:
        """The checkpoint blocks, in the order of the file, which is not the order of driving."""
        return tuple(block for block in self._stadium_blocks if block.is_checkpoint)

    @property
    def finishes(self) -> tuple[Block, ...]:
        """The blocks that end a race, or a lap."""
        return tuple(block for block in self._stadium_blocks if block.is_finish)

    @property
    def _stadium_blocks(self) -> tuple[Block, ...]:
        if self.environment != ENVIRONMENT:
            raise GbxError(
                f"map {self.name!r} is of {self.environment!r}: places in metres are known for {ENVIRONMENT} only"
            )
        return self.blocks


@dataclass
class _Parameters:
    medal_times: MedalTimes = MedalTimes()


@dataclass
class _Draft:
    """What the chunks fill, in the order in which they come."""

    ident: tuple[str, str, str] = ("", "", "")
    name: str = ""
    decoration: str = ""
    size: tuple[int, int, int] = (0, 0, 0)
    parameters: _Parameters = field(default_factory=_Parameters)
    laps: int = 1
    checkpoint_cells: tuple[tuple[int, int, int], ...] = ()
    blocks: tuple[Block, ...] | None = None


def read_challenge(source: str | Path | bytes) -> Challenge:
    """Read a map.

    Args:
        source: the path of a `.Challenge.Gbx`, or its bytes.

    Raises:
        GbxError: the file cannot be read, is no map of TMNF or TMUF, or is damaged.
    """
    return challenge_in(open_container(*load(source)))


def challenge_in(container: Container) -> Challenge:
    """Read the map that a container holds."""
    if container.class_id != CHALLENGE:
        raise GbxError(f"{container.source}: class {container.class_id:#010x}, a map is {CHALLENGE:#010x}")
    draft = _Draft()
    read_chunks(container.body, _CHUNKS, draft, last=(_BLOCKS,))
    if draft.blocks is None:
        raise GbxError(f"{container.source}: a map without the chunk of its blocks")
    uid, environment, author = draft.ident
    return Challenge(
        name=draft.name,
        uid=uid,
        author=author,
        environment=environment,
        decoration=draft.decoration,
        size=draft.size,
        medal_times=draft.parameters.medal_times,
        laps=draft.laps,
        checkpoint_cells=draft.checkpoint_cells,
        blocks=draft.blocks,
    )


def _read_vehicle(reader: Reader, _draft: _Draft) -> None:
    reader.ident()


def _read_parameters_chunk(reader: Reader, draft: _Draft) -> None:
    read_node(reader, _COLLECTOR_LIST, {_COLLECTOR_LIST: _read_collector_list}, object)
    parameters = read_node(reader, _PARAMETERS, _PARAMETER_CHUNKS, _Parameters)
    if parameters is not None:
        draft.parameters = parameters
    reader.u32()  # kind of map: solo, multiplayer, puzzle, ...


def _read_collector_list(reader: Reader, _list: object) -> None:
    for _ in range(reader.count(16)):
        reader.ident()
        reader.u32()


def _read_tips(reader: Reader, _parameters: object) -> None:
    for _ in range(4):
        reader.text()


def _read_medals(reader: Reader, parameters: _Parameters) -> None:
    bronze, silver, gold, author = (reader.time_ms() for _ in range(4))
    reader.u32()
    parameters.medal_times = MedalTimes(author=author, gold=gold, silver=silver, bronze=bronze)


def _read_numbers(reader: Reader, _parameters: object) -> None:
    reader.skip(4 * reader.count(4))


def _read_checkpoints(reader: Reader, draft: _Draft) -> None:
    draft.checkpoint_cells = tuple(_cell(reader) for _ in range(reader.count(12)))


def _read_laps(reader: Reader, draft: _Draft) -> None:
    is_lap_race, laps = reader.flag(), reader.u32()
    draft.laps = max(laps, 1) if is_lap_race else 1


def _cell(reader: Reader) -> tuple[int, int, int]:
    return reader.u32(), reader.u32(), reader.u32()


def _read_blocks(reader: Reader, draft: _Draft) -> None:
    draft.ident = reader.ident()
    draft.name = reader.text()
    draft.decoration = reader.ident()[0]
    draft.size = _cell(reader)
    reader.u32()  # whether the map must be unlocked
    wide_flags = reader.u32() > 0
    count = reader.count(_BLOCK_MIN_BYTES)
    blocks: list[Block] = []
    while len(blocks) < count:
        block = _read_block(reader, wide_flags)
        if block is not None:
            blocks.append(block)
    draft.blocks = tuple(blocks)


def _read_block(reader: Reader, wide_flags: bool) -> Block | None:
    name = reader.name()
    at = reader.offset
    rotation, x, y, z = reader.take(4)
    if rotation > 3:
        reader.fail(f"block {name!r} with rotation {rotation}, known are 0 to 3", at=at)
    flags = reader.u32() if wide_flags else reader.u16()
    if flags == _NO_BLOCK:
        return None
    if flags & _HAS_AUTHOR:
        reader.name()
        read_node(reader, _SKIN, _SKIN_CHUNKS, object)
    return Block(name, (x, y, z), rotation, flags)


def _read_skin(reader: Reader, _skin: object) -> None:
    reader.text()
    reader.skip_file_reference()


def _read_skin_and_parent(reader: Reader, skin: object) -> None:
    _read_skin(reader, skin)
    reader.skip_file_reference()


def _read_skin_text(reader: Reader, _skin: object) -> None:
    reader.text()
    reader.text()


def _read_second_skin(reader: Reader, _skin: object) -> None:
    reader.u32()
    reader.skip_file_reference()


_SKIN_CHUNKS: Final = {
    0x03059000: _read_skin_text,
    0x03059001: _read_skin,
    0x03059002: _read_skin_and_parent,
    0x03059003: _read_second_skin,
}
_PARAMETER_CHUNKS: Final = {
    0x0305B000: ignore(32),
    0x0305B001: _read_tips,
    0x0305B002: ignore(64),
    0x0305B003: ignore(24),
    0x0305B004: _read_medals,
    0x0305B005: ignore(12),
    0x0305B006: _read_numbers,
    0x0305B007: ignore(4),
    0x0305B008: ignore(8),  # stunts: time limit and author's score
}
_BLOCKS: Final = 0x0304301F
_CHUNKS: Final = {
    0x0304300D: _read_vehicle,
    0x03043011: _read_parameters_chunk,
    0x03043017: _read_checkpoints,
    0x03043018: _read_laps,
    0x0304301B: ignore(4),
    _BLOCKS: _read_blocks,
}
