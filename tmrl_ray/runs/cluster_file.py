"""Where a run under way can be reached: a file in its folder that only its owner can read, for it may hold a token."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from tmrl_ray.errors import RunError

CLUSTER_FILE = "cluster.json"


@dataclass(frozen=True)
class ClusterPlace:
    """The Ray cluster on which a run goes on."""

    address: str
    """HOST:PORT."""
    dashboard: str | None
    """Its page."""
    logs: str
    """Folder of the logs of Ray and of the actors, on the machine of the run's process."""
    token: str | None
    """What the cluster demands, where it was started for this run; None: the environment says."""

    @classmethod
    def read(cls, directory: Path) -> ClusterPlace:
        """Read that of the run in ``directory``.

        Raises:
            RunError: the run is on no cluster.
        """
        path = directory / CLUSTER_FILE
        try:
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError as error:
            raise RunError(
                f"the run {directory.name} cannot be reached: it has just begun, or it is one of --serial",
                hint="Ask again in a few seconds. A run of --serial is ended with Ctrl-C and has no other commands.",
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise RunError(f"{path} does not say where a run is: {error}", hint="Give its --address.") from error

    def write(self, directory: Path) -> None:
        """Write it, for its owner alone."""
        path = directory / CLUSTER_FILE
        path.unlink(missing_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)

    @staticmethod
    def remove(directory: Path) -> None:
        """Remove that of the run in ``directory``."""
        (directory / CLUSTER_FILE).unlink(missing_ok=True)
