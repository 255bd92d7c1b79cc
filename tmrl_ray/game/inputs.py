"""What a player can press."""

from __future__ import annotations

from typing import NamedTuple


class Inputs(NamedTuple):
    """The four keys of a race, and the analog steering that replaces two of them when it is given."""

    left: bool = False
    right: bool = False
    accelerate: bool = False
    brake: bool = False
    steer: int | None = None
    """Analog steering, -65536 (full left) to 65536 (full right); None: the keys ``left`` and ``right`` steer."""


RELEASED = Inputs()
