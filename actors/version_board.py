"""Where the newest version of the weights is written up, for everybody on the machine of the ring to see.

Eight bytes in a file beside the ring. Whoever acts looks there before each race, or before each decision, at the cost
of a few microseconds; who is on another machine learns of new weights by the replay buffer's answers, a chunk later.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path

FILE = "newest_version"
_NUMBER = struct.Struct("<q")


class VersionBoard:
    """The newest version of a run's weights.

    Args:
        directory: of the ring.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE

    def write(self, version: int) -> None:
        """Say that weights of a version can be fetched. One that cannot be written is not seen: replies tell it too."""
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:  # the ring was removed at this moment
            return
        try:
            os.pwrite(descriptor, _NUMBER.pack(version), 0)
        finally:
            os.close(descriptor)

    def newest(self) -> int:
        """Return the newest version that was written; 0: none, or the ring is on another machine."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return 0
        try:
            data = os.pread(descriptor, _NUMBER.size, 0)
        finally:
            os.close(descriptor)
        version: int = _NUMBER.unpack(data)[0] if len(data) == _NUMBER.size else 0
        return version
