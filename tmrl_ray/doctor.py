"""What a machine has and lacks for tmrl_ray: the findings behind ``tmrl-ray doctor``.

Nothing is changed unless ``clear_up`` is called; packages are asked for their versions by their metadata.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

import psutil

from tmrl_ray import __version__
from tmrl_ray.config.game import ConnectionSettings
from tmrl_ray.game.process import default_state_dir, reap_orphans, recorded_games

Status = Literal["ok", "note", "problem"]

GIB = 2**30
ENOUGH_MEMORY_BYTES = 2 * GIB
"""The simulator with its compiled kernels needs about 0.5 GiB; the rest is for what else runs."""
ENOUGH_DISK_BYTES = GIB
"""Compiled kernels, pictures and videos of a first day."""
ENOUGH_SHARED_MEMORY_BYTES = GIB // 4
"""Containers often have 64 MiB of /dev/shm, where the replay buffer of a training run cannot live."""
INSTANCES = 8
"""How many consecutive game ports are looked at."""

_REQUIRED = ("numpy", "numba", "pydantic", "gymnasium", "av", "pillow", "lzallright", "psutil")
_EXTRAS = {"play": ("pygame",), "train": ("torch", "ray", "tensorboard", "safetensors")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    status: Status
    value: str
    """What was found."""
    advice: str = ""
    """What to do about it; empty when nothing needs to be done."""


def examine(port: int = ConnectionSettings().port, state_dir: Path | None = None) -> Iterator[Finding]:
    """Yield what the machine has and lacks, the software first.

    Args:
        port: the first of the ports on which games are expected.
        state_dir: where starts of games are recorded; None: this user's folder.
    """
    parts = (_versions, _extras, _cores, _memory, _shared_memory, _disk, _kernels)
    for part in parts:
        yield from part()
    yield from _ports(port)
    yield from _games(default_state_dir() if state_dir is None else state_dir)
    yield from _rings()
    yield from _token()


def clear_up(state_dir: Path | None = None) -> None:
    """End the games and remove the experience that killed runs left behind."""
    reap_orphans(default_state_dir() if state_dir is None else state_dir)
    if os.name == "posix":
        from tmrl_ray.experience.left_over_rings import remove_left_over_rings

        remove_left_over_rings()


def _versions() -> Iterator[Finding]:
    yield Finding("tmrl_ray", "ok", f"{__version__} in {Path(__file__).parent}")
    yield Finding("python", "ok", f"{platform.python_version()} in {sys.prefix}")
    yield Finding("system", "ok", f"{platform.system()} {platform.release()} {platform.machine()}")
    for name in _REQUIRED:
        version = _version(name)
        if version is None:
            yield Finding(name, "problem", "not installed", "Install the package again: pip install tmrl_ray")
        else:
            yield Finding(name, "ok", version)


def _extras() -> Iterator[Finding]:
    for extra, names in _EXTRAS.items():
        versions = {name: _version(name) for name in names}
        value = ", ".join(f"{name} {version or 'not installed'}" for name, version in versions.items())
        missing = [name for name, version in versions.items() if version is None]
        advice = f"Needed for this only: pip install 'tmrl_ray[{extra}]'" if missing else ""
        yield Finding(f"extra {extra}", "note" if missing else "ok", value, advice)


def _cores() -> Iterator[Finding]:
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _cgroup_number("cpu.max")
    value = f"{usable} usable" + (f", limited to {quota:.1f} by the container" if quota is not None else "")
    yield Finding("cores", "ok", value)


def _memory() -> Iterator[Finding]:
    memory = psutil.virtual_memory()
    limit = _cgroup_number("memory.max")
    total = memory.total if limit is None else min(memory.total, limit)
    value = f"{memory.available / GIB:.1f} GiB free of {total / GIB:.1f} GiB"
    if memory.available < ENOUGH_MEMORY_BYTES:
        yield Finding("memory", "note", value, "Close other programs, or run fewer instances of the game.")
    else:
        yield Finding("memory", "ok", value)


def _shared_memory() -> Iterator[Finding]:
    path = Path("/dev/shm")
    if not path.is_dir():
        yield Finding("/dev/shm", "ok", f"not there on {platform.system()}")
        return
    usage = shutil.disk_usage(path)
    value = f"{usage.free / GIB:.2f} GiB free of {usage.total / GIB:.2f} GiB"
    if usage.free < ENOUGH_SHARED_MEMORY_BYTES:
        advice = "Training keeps its replay buffer there. In a container: docker run --shm-size=4g"
        yield Finding("/dev/shm", "note", value, advice)
    else:
        yield Finding("/dev/shm", "ok", value)


def _disk() -> Iterator[Finding]:
    here = Path.cwd()
    free = shutil.disk_usage(here).free
    value = f"{free / GIB:.1f} GiB free in {here}"
    if not os.access(here, os.W_OK):
        yield Finding("disk", "problem", f"{here} cannot be written to", "Work in a folder of your own.")
    elif free < ENOUGH_DISK_BYTES:
        yield Finding("disk", "problem", value, "Make room: pictures, videos and runs are written here.")
    else:
        yield Finding("disk", "ok", value)


def _kernels() -> Iterator[Finding]:
    """Look whether numba can keep compiled code: where it cannot, the simulator's kernels refuse to load."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(__file__).parent / "simulator"
    folder = Path(chosen) if chosen else beside if os.access(beside, os.W_OK) else Path.home() / ".cache" / "numba"
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if os.access(existing, os.W_OK):
        yield Finding("kernel cache", "ok", str(folder))
    else:
        advice = "Set NUMBA_CACHE_DIR to a folder that you can write to."
        yield Finding("kernel cache", "problem", f"{folder} cannot be written to", advice)


def _ports(first: int) -> Iterator[Finding]:
    """Look who listens on the games' ports, without connecting: a game drops its client for a new one."""
    numbers = range(first, first + INSTANCES)
    taken = [number for number in numbers if not _can_listen(number)]
    name = f"ports {numbers[0]}-{numbers[-1]}"
    if not taken:
        yield Finding(name, "ok", "free: no game listens on this machine")
        return
    owners = _listeners()
    value = ", ".join(f"{number} ({owners.get(number, 'owner unknown')})" for number in taken)
    yield Finding(name, "ok", f"in use: {value}", f"To see if it is a game: tmrl-ray game check --connect {taken[0]}")


def _games(state_dir: Path) -> Iterator[Finding]:
    """Look for games that we started: those of other runs, and those that killed runs left behind."""
    records = recorded_games(state_dir)
    orphans = [record for record in records if record.parent.find() is None]
    if len(records) > len(orphans):
        ports = ", ".join(str(record.port) for record in records if record not in orphans)
        yield Finding("games of ours", "ok", f"run on ports {ports}")
    if orphans:
        value = ", ".join(f"port {each.port}: {len(each.members())} processes" for each in orphans)
        advice = (
            "Killed runs left them behind. The next start of a game ends them; to do it now: tmrl-ray doctor --clean"
        )
        yield Finding("left-over games", "note", value, advice)
    else:
        yield Finding("left-over games", "ok", f"none (records in {state_dir})")


def _rings() -> Iterator[Finding]:
    """Look for experience that killed runs left in shared memory: only a reboot would remove it otherwise."""
    if os.name != "posix":
        return
    from tmrl_ray.experience.left_over_rings import left_over_rings

    rings = left_over_rings()
    if rings:
        value = ", ".join(f"{ring.directory} ({ring.size_bytes / GIB:.2f} GiB)" for ring in rings)
        advice = "Killed runs left it behind. The next start of a run removes it; to do it now: tmrl-ray doctor --clean"
        yield Finding("left-over rings", "note", value, advice)
    else:
        yield Finding("left-over rings", "ok", "none: no experience of killed runs in shared memory")


def _token() -> Iterator[Finding]:
    """Look who may read the token of this user's Ray clusters: Ray writes its file for everybody."""
    path = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    if not path.is_file():
        yield Finding("cluster token", "ok", f"none in {path}: made when it is needed")
    elif os.name == "posix" and path.stat().st_mode & 0o077:
        advice = f"Whoever has it can run anything on your clusters: chmod 600 {path}"
        yield Finding("cluster token", "note", f"others on this machine may read {path}", advice)
    else:
        yield Finding("cluster token", "ok", str(path))


def _can_listen(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        if os.name == "posix":  # elsewhere the option would let us take a port that is in use
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _listeners() -> dict[int, str]:
    """Return which process listens on which port, as far as this user may know."""
    owners: dict[int, str] = {}
    try:
        connections = psutil.net_connections(kind="tcp")
    except (psutil.AccessDenied, OSError):
        return owners
    for connection in connections:
        if connection.status == psutil.CONN_LISTEN and connection.pid and connection.laddr:
            try:
                owners[connection.laddr[1]] = f"{psutil.Process(connection.pid).name()}, pid {connection.pid}"
            except psutil.Error:
                continue
    return owners


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _cgroup_number(name: str) -> float | None:
    """Return a limit of the container, in cores or bytes; None where there is none."""
    try:
        words = Path("/sys/fs/cgroup", name).read_text(encoding="ascii").split()
    except OSError:
        return None
    if not words or words[0] == "max":
        return None
    return int(words[0]) / int(words[1]) if len(words) > 1 else float(words[0])
