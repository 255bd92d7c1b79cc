"""``tmrl-ray game tracks``: what can be driven."""

from __future__ import annotations

from typing import Any

import click

from tmrl_ray.commands.command import command, json_option
from tmrl_ray.commands.output import print_json, print_table


@command(examples=["game tracks", "game tracks --generated", "game tracks --json"])
@click.option("--generated", is_flag=True, help="Also the generated tracks: 40 for training, 10 held out.")
@json_option
def tracks(generated: bool, as_json: bool) -> None:
    """List the tracks of the simulator.

    With the length, the checkpoints before the finish, and the time of the pursuit driver.
    """
    from tmrl_ray.racing.drivers import pursuit_times_s
    from tmrl_ray.racing.reference_line import line_of_track
    from tmrl_ray.simulator.library import held_out_tracks, load_track, track_names, training_tracks

    times = pursuit_times_s()
    hidden = set() if generated else {*training_tracks(), *held_out_tracks()}
    rows: list[dict[str, Any]] = []
    for name in track_names():
        if name in hidden:
            continue
        track = load_track(name)
        rows.append(
            {
                "name": name,
                "length_m": round(line_of_track(track).length_m, 1),
                "checkpoints": len(track.gates) - 1,
                "laps": track.laps,
                "pursuit_time_s": times[name],
            }
        )
    if as_json:
        print_json(rows)
    else:
        print_table(
            ["track", "length (m)", "checkpoints", "laps", "pursuit (s)"],
            [[*list(row.values())[:-1], f"{row['pursuit_time_s']:.2f}"] for row in rows],
        )
