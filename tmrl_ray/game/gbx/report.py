"""What a map or a replay says about itself, as data for JSON: `tmrl-ray game inspect FILE.Gbx --json`."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import Any

from tmrl_ray.errors import GbxError
from tmrl_ray.game.gbx.blocks import ENVIRONMENT, Block
from tmrl_ray.game.gbx.challenge import CHALLENGE, Challenge, challenge_in
from tmrl_ray.game.gbx.container import load, open_container
from tmrl_ray.game.gbx.ghost import Ghost
from tmrl_ray.game.gbx.replay import REPLAY, Replay, replay_in

_FORMATTING = re.compile(r"\$(?:[0-9a-fA-F]{3}|[lhp](?:\[[^\]]*\])?|.)")


def inspect(path: str | Path) -> dict[str, Any]:
    """Return what a `.Challenge.Gbx` or `.Replay.Gbx` holds.

    Args:
        path: the file.

    Returns:
        JSON-able values. ``kind`` is "map" or "replay"; times are in milliseconds, places in metres.

    Raises:
        GbxError: the file is neither, or is damaged.
    """
    container = open_container(*load(path))
    if container.class_id == CHALLENGE:
        return {"kind": "map", **_map_report(challenge_in(container))}
    if container.class_id == REPLAY:
        return {"kind": "replay", **_replay_report(replay_in(container))}
    raise GbxError(
        f"{path}: class {container.class_id:#010x}, neither a map ({CHALLENGE:#010x}) nor a replay ({REPLAY:#010x})"
    )


def plain(text: str) -> str:
    """Return a name without the game's formatting codes ($fff, $o, ...)."""
    return _FORMATTING.sub("", text.replace("$$", "\0")).replace("\0", "$").strip()


def _map_report(challenge: Challenge) -> dict[str, Any]:
    times = challenge.medal_times
    report: dict[str, Any] = {
        "name": challenge.name,
        "plain_name": plain(challenge.name),
        "uid": challenge.uid,
        "author": challenge.author,
        "environment": challenge.environment,
        "decoration": challenge.decoration,
        "size_cells": list(challenge.size),
        "laps": challenge.laps,
        "medal_times_ms": {
            "author": times.author,
            "gold": times.gold,
            "silver": times.silver,
            "bronze": times.bronze,
        },
        "block_count": len(challenge.blocks),
        "block_names": dict(sorted(Counter(block.name for block in challenge.blocks).items())),
        "blocks": [
            {"name": block.name, "cell": list(block.cell), "rotation": block.rotation, "flags": block.flags}
            for block in challenge.blocks
        ],
    }
    if challenge.environment == ENVIRONMENT:
        spawn = challenge.spawn
        report["spawn"] = {"position": spawn.position.tolist(), "rotation": spawn.rotation.tolist()}
        report["checkpoints"] = [_gate_report(block) for block in challenge.checkpoints]
        report["finishes"] = [_gate_report(block) for block in challenge.finishes]
    return report


def _gate_report(block: Block) -> dict[str, Any]:
    return {"name": block.name, "position": block.centre.tolist(), "forward": block.forward.tolist()}


def _replay_report(replay: Replay) -> dict[str, Any]:
    return {
        "map_uid": replay.challenge_uid,
        "time_ms": replay.time_ms,
        "nickname": replay.nickname,
        "plain_nickname": plain(replay.nickname),
        "login": replay.login,
        "ghosts": [_ghost_report(ghost) for ghost in replay.ghosts],
        "map": _map_report(replay.challenge) if replay.challenge_data else None,
    }


def _ghost_report(ghost: Ghost) -> dict[str, Any]:
    trace = ghost.recorded_samples
    return {
        "race_time_ms": ghost.race_time_ms,
        "checkpoint_times_ms": list(ghost.checkpoint_times_ms),
        "respawns": ghost.respawns,
        "login": ghost.login,
        "nickname": ghost.nickname,
        "vehicle": ghost.vehicle,
        "game_version": ghost.game_version,
        "sample_count": len(trace) if trace is not None else 0,
        "sample_period_ms": trace.period_ms if trace is not None else None,
        "controls": sorted({event.control for event in ghost.controls}),
        "events": [
            {"time_ms": event.time_ms, "control": event.control, "value": event.value} for event in ghost.controls
        ],
    }
