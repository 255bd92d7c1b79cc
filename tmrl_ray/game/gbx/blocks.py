"""The blocks of a map and what they mean for a race: where the car starts, which gates it passes.

The grid's cells are 32 x 8 x 32 m (Stadium). A block's rotation byte says where its front points: 0 to +z, 1 to -x,
2 to -z, 3 to +x; each was checked with a ghost or a reference line (2 by symmetry). World axes: y up, metres.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CELL_M: Final = (32.0, 8.0, 32.0)
ENVIRONMENT: Final = "Stadium"
"""The only environment whose cells and start heights are known here, and the only one with the Stadium car."""

_FORWARD: Final = ((0.0, 0.0, 1.0), (-1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (1.0, 0.0, 0.0))
_GROUND: Final = 0x1000
_SPAWN_BACK_M: Final = 4.8
_SPAWN_UP_M: Final = 2.21
"""The car's origin on the start block, from the block's centre: the first sample of every ghost."""
_HIGH_M: Final = 7.0
_SLANTED_M: Final = 5.0
_SLANTED: Final = tuple(f"StadiumRoadMainCheckpoint{side}" for side in ("Left", "Right", "Up", "Down"))
"""Height of the road above the block's base where it is not near the base (High, Left and Right: public clients'
figures; Up and Down: the line of ESL-Hockolicious)."""


class SpawnPose(NamedTuple):
    """Where the car's origin is when the countdown begins."""

    position: Floats
    """(3,) metres."""
    rotation: Floats
    """(3, 3), columns left, up, forward."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block of a map."""

    name: str
    cell: tuple[int, int, int]
    """Place on the grid: x, y (up), z."""
    rotation: int
    """0..3, see the module's text."""
    flags: int
    """The game's flags as they stand in the file."""

    @property
    def is_ground(self) -> bool:
        """Whether the block stands on the ground (its look differs in the air)."""
        return bool(self.flags & _GROUND)

    @property
    def is_start(self) -> bool:
        """Whether a race starts here."""
        return "StartLine" in self.name or self.is_multilap

    @property
    def is_finish(self) -> bool:
        """Whether a race (or a lap) ends here."""
        return "FinishLine" in self.name

    @property
    def is_checkpoint(self) -> bool:
        """Whether the block is a checkpoint (the finish is not)."""
        return "Checkpoint" in self.name

    @property
    def is_multilap(self) -> bool:
        """Whether the block is start and finish in one."""
        return "StartFinishLine" in self.name

    @property
    def forward(self) -> Floats:
        """(3,) the horizontal unit vector along which the block is driven."""
        return np.array(_FORWARD[self.rotation])

    @property
    def base(self) -> Floats:
        """(3,) the middle of the block's base, in metres."""
        size_x, size_y, size_z = CELL_M
        x, y, z = self.cell
        return np.array((x * size_x + size_x / 2, y * size_y, z * size_z + size_z / 2))

    @property
    def centre(self) -> Floats:
        """(3,) the middle of the gate that the block carries, in metres: its base, or its road where that is high."""
        rise = _HIGH_M if "High" in self.name else _SLANTED_M if self.name in _SLANTED else 0.0
        return self.base + (0.0, rise, 0.0)

    @property
    def spawn(self) -> SpawnPose:
        """The pose of a car that starts on this block."""
        forward, up = self.forward, np.array((0.0, 1.0, 0.0))
        position = self.base + _SPAWN_UP_M * up - _SPAWN_BACK_M * forward
        return SpawnPose(position, np.stack((np.cross(up, forward), up, forward), axis=1))
