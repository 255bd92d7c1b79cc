"""A replay (`.Replay.Gbx`): the map it was driven on, and its ghosts."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Final

from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx.challenge import Challenge, challenge_in
from tmrl_ray.game.gbx.container import Container, load, open_container, read_chunks
from tmrl_ray.game.gbx.ghost import Ghost, read_ghost
from tmrl_ray.game.gbx.reader import Reader

REPLAY: Final = 0x03093000
_HEADER: Final = 0x03093000


@dataclass(frozen=True, eq=False, kw_only=True)
class Replay:
    """A recorded race, or several on the same map."""

    source: str
    """The file's name."""
    challenge_uid: str
    """The map's uid by the header; empty where it says nothing."""
    time_ms: int | None
    """The best time by the header."""
    nickname: str
    login: str
    ghosts: tuple[Ghost, ...]
    challenge_data: bytes
    """The map as a Gbx file of its own; empty where the replay embeds none."""

    @property
    def ghost(self) -> Ghost:
        """The first ghost: the player's.

        Raises:
            GbxError: the replay holds none.
        """
        if not self.ghosts:
            raise GbxError(f"{self.source}: the replay holds no ghost")
        return self.ghosts[0]

    @cached_property
    def challenge(self) -> Challenge:
        """The embedded map, read when it is first asked for.

        Raises:
            GbxError: there is none, or it is damaged.
        """
        if not self.challenge_data:
            raise GbxError(f"{self.source}: the replay embeds no map")
        return challenge_in(open_container(self.challenge_data, f"{self.source} (embedded map)"))


@dataclass
class _Draft:
    challenge_uid: str = ""
    time_ms: int | None = None
    nickname: str = ""
    login: str = ""
    ghosts: list[Ghost] = field(default_factory=list)
    challenge_data: bytes = b""


def read_replay(source: str | Path | bytes) -> Replay:
    """Read a replay.

    Args:
        source: the path of a `.Replay.Gbx`, or its bytes.

    Raises:
        GbxError: the file cannot be read, is no replay of TMNF or TMUF, or is damaged.
    """
    return replay_in(open_container(*load(source)))


def replay_in(container: Container) -> Replay:
    """Read the replay that a container holds."""
    if container.class_id != REPLAY:
        raise GbxError(f"{container.source}: class {container.class_id:#010x}, a replay is {REPLAY:#010x}")
    draft = _Draft()
    header = container.user_chunks.get(_HEADER)
    if header is not None:
        _read_header(Reader(header, container.source, "header"), draft)
    read_chunks(container.body, _CHUNKS, draft, last=(_GHOSTS,))
    return Replay(
        source=container.source,
        challenge_uid=draft.challenge_uid,
        time_ms=draft.time_ms,
        nickname=draft.nickname,
        login=draft.login,
        ghosts=tuple(draft.ghosts),
        challenge_data=draft.challenge_data,
    )


def _read_header(reader: Reader, draft: _Draft) -> None:
    version = reader.u32()
    if version < 2:  # a replay that was saved before the finish
        return
    draft.challenge_uid = reader.ident()[0]
    draft.time_ms = reader.time_ms()
    draft.nickname = reader.text()
    if version >= 6:
        draft.login = reader.text()


def _read_map(reader: Reader, draft: _Draft) -> None:
    draft.challenge_data = reader.take(reader.count(1))


def _read_ghosts(reader: Reader, draft: _Draft) -> None:
    reader.u32()  # version of the list
    for _ in range(reader.count(4)):
        ghost = read_ghost(reader)
        if ghost is not None:
            draft.ghosts.append(ghost)


_GHOSTS: Final = 0x03093014
_CHUNKS: Final = {0x03093002: _read_map, _GHOSTS: _read_ghosts}
