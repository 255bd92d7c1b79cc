"""``tmrl-ray game inspect``: what a map or a replay of the game says about itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tmrl_ray.commands.command import ReadableFile, command, json_option
from tmrl_ray.commands.output import print_facts, print_json, print_table, seconds


@command(examples=["game inspect A01-Race.Challenge.Gbx", "game inspect best_lap.Replay.Gbx --json"])
@click.argument("file", type=ReadableFile, metavar="FILE.Gbx")
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Show what a map or a replay of the game holds.

    Maps: names, medal times, blocks, checkpoints. Replays: times, recorded inputs, and the map inside. With --json
    everything, each block and each input event too.
    """
    from tmrl_ray.game.gbx import inspect as read

    report = read(file)
    if as_json:
        print_json(report)
    elif report["kind"] == "map":
        _print_map(report)
    else:
        _print_replay(report)


def _print_map(report: dict[str, Any]) -> None:
    medals = ", ".join(f"{name} {seconds(time)}" for name, time in report["medal_times_ms"].items() if time is not None)
    print_facts(
        {
            "map": report["plain_name"],
            "uid": report["uid"],
            "author": report["author"],
            "environment": f"{report['environment']}, {report['decoration']}",
            "medals": medals or "none",
            "laps": report["laps"],
            "blocks": report["block_count"],
        }
    )
    gates = [("checkpoint", gate) for gate in report.get("checkpoints", ())]
    gates += [("finish", gate) for gate in report.get("finishes", ())]
    if gates:
        click.echo()
        rows = [[kind, gate["name"], *(f"{metre:.0f}" for metre in gate["position"])] for kind, gate in gates]
        print_table(["gate", "block", "x (m)", "y (m)", "z (m)"], rows)


def _print_replay(report: dict[str, Any]) -> None:
    print_facts(
        {
            "replay": f"by {report['plain_nickname']} ({report['login']})",
            "time": seconds(report["time_ms"]),
            "map uid": report["map_uid"],
        }
    )
    rows = [
        [
            number,
            seconds(ghost["race_time_ms"]),
            " ".join(seconds(time) for time in ghost["checkpoint_times_ms"]),
            ghost["respawns"],
            ghost["sample_count"],
            len(ghost["events"]),
        ]
        for number, ghost in enumerate(report["ghosts"], start=1)
    ]
    click.echo()
    print_table(["ghost", "time", "at checkpoints", "respawns", "positions", "input events"], rows)
    if report["map"]:
        click.echo()
        _print_map(report["map"])
