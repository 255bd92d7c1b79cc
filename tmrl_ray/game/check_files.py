"""The files of a real game that ``tmrl-ray game check`` looks at, before the game is asked anything."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tmrl_ray.game.check import CheckStep

PLUGIN = Path(__file__).parent / "plugin" / "TmrlRay.as"
"""Our plugin, to be copied into TMInterface's folder of plugins."""
PUBLIC_PLUGIN = "Python_Link.as"
"""The public plugin with the same protocol."""
_PORT_LINE = re.compile(r"^\s*set\s+custom_port\s+(\S+)", re.MULTILINE)


def check_files(tminterface: Path, port: int, *, loader: Path | None = None) -> Iterator[CheckStep]:
    """Yield what is right and wrong with the files of a real game; all steps, they do not depend on each other.

    Args:
        tminterface: TMInterface's folder, ``Documents/TMInterface`` of the Windows user or inside the Wine prefix.
        port: the port that the game should listen on.
        loader: TMLoader.exe, if the game is started by it.
    """
    if loader is not None:
        yield _loader(loader)
    yield _plugin(tminterface / "Plugins")
    yield _port(tminterface, port)


def _loader(loader: Path) -> CheckStep:
    if loader.is_file():
        return CheckStep(name="TMLoader", ok=True, found=str(loader))
    advice = "Install TMLoader (ModLoader), with TMInterface 2.1 in a profile, and name its TMLoader.exe."
    return CheckStep(name="TMLoader", ok=False, found=f"no file {loader}", advice=advice)


def _plugin(folder: Path) -> CheckStep:
    ours, public = folder / PLUGIN.name, folder / PUBLIC_PLUGIN
    if ours.is_file() and public.is_file():
        found, advice = (
            f"{ours.name} and {public.name} are both in {folder}",
            f"Both want the same port: remove {public}",
        )
    elif public.is_file():
        return CheckStep(name="plugin file", ok=True, found=f"the public plugin, {public}")
    elif not ours.is_file():
        found, advice = f"no plugin in {folder}", f"Copy {PLUGIN} to {folder}"
    elif ours.read_bytes() != PLUGIN.read_bytes():
        found, advice = f"{ours} is another version than this tmrl_ray's", f"Copy {PLUGIN} over it"
    else:
        return CheckStep(name="plugin file", ok=True, found=str(ours))
    return CheckStep(name="plugin file", ok=False, found=found, advice=advice)


def _port(tminterface: Path, port: int) -> CheckStep:
    """Look for custom_port in the files that TMInterface executes when it starts."""
    name = "custom_port"
    for file in (tminterface / "config.txt", tminterface / "builtin.txt"):
        if not file.is_file():
            continue
        values = _PORT_LINE.findall(file.read_text(encoding="utf-8", errors="replace"))
        if values and values[-1] not in (str(port), "0"):
            found = f"{file} sets custom_port to {values[-1]}, the game is expected on {port}"
            advice = f'Start the game with /configstring="set custom_port {port}", or correct the file.'
            return CheckStep(name=name, ok=False, found=found, advice=advice)
    return CheckStep(name=name, ok=True, found=f"nothing in {tminterface} sets another port")
