"""``tmrl-ray drive``: races of a scripted driver, in the simulator or in a game that listens somewhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmrl_ray.commands.command import ReadableFile, command, host_and_port, json_option
from tmrl_ray.commands.output import COMPILING, explain_delay, print_json, print_table, progress, seconds

if TYPE_CHECKING:
    from tmrl_ray.config.run import RunConfig
    from tmrl_ray.racing.rollout import RaceEnd
    from tmrl_ray.service import ScriptedRaces


@command(
    examples=[
        "drive --track loop --driver pursuit --races 3",
        "drive --track hairpin --driver human --races 5 --json driver.seed=7",
        "drive --track my_track.yaml --config configs/simulator.yaml cut_offs.race_ms=60000",
        "drive --track loop --connect 127.0.0.1:8478 --races 1",
    ]
)
@click.option("--track", required=True, metavar="NAME|FILE", help="Where to drive; see tmrl-ray game tracks.")
@click.option("--connect", type=host_and_port, metavar="HOST:PORT", help="Drive in this game; in this process without.")
@click.option("--map", "map_name", help="What that game calls the track, where it is not the track's name.")
@click.option("--driver", type=click.Choice(["pursuit", "human"]), help="Who drives; pursuit if nothing else is said.")
@click.option("--races", type=click.IntRange(min=1), default=1, show_default=True, help="How many races.")
@click.option("--config", "file", type=ReadableFile, help="Configuration file.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@json_option
def drive(
    track: str,
    connect: tuple[str, int] | None,
    map_name: str | None,
    driver: str | None,
    races: int,
    file: Path | None,
    overrides: tuple[str, ...],
    as_json: bool,
) -> None:
    """Let a scripted driver drive races, and report them.

    Of a configuration the parts connection, simulator, line, cut_offs, driver and game are used. Exit status 1 when
    the game is lost.
    """
    from tmrl_ray.config.loading import load_config
    from tmrl_ray.service import ScriptedRaces, compile_kernels
    from tmrl_ray.simulator.library import load_track

    options = [f"driver.kind={driver}"] if driver else []
    if connect is not None:
        options += [f"connection.host={connect[0]}", f"connection.port={connect[1]}"]
    config = load_config(file, [*overrides, *options, "game.frame_size=null"])
    place = load_track(track)
    with explain_delay(COMPILING):
        if config.connection is None:
            compile_kernels(track)
        scripted = ScriptedRaces(config, place, map_name)
    with scripted:
        ends = _drive(scripted, races)
    if as_json:
        print_json(_report(track, config, ends))
    else:
        print_table(
            ["race", "end", "time", "at checkpoints", "metres", "times real time"],
            [_row(number, end) for number, end in enumerate(ends, start=1)],
        )
    if ends[-1].lost is not None:
        raise ends[-1].lost


def _drive(scripted: ScriptedRaces, races: int) -> list[RaceEnd]:
    """Drive the races, up to the one in which the game is lost."""
    ends: list[RaceEnd] = []
    with progress("driving", races) as shown:
        while len(ends) < races and not (ends and ends[-1].lost):
            race = scripted.next_race()
            for step in race:
                shown.update(
                    len(ends) + 0.999 * min(step.metres / scripted.line.length_m, 1.0),
                    f"race {len(ends) + 1}, {step.metres:5.0f} m, {step.race_time_ms / 1000:6.2f} s",
                )
            ends.append(race.end)
            shown.update(len(ends), f"race {len(ends)} {ending(race.end)}")
    return ends


def ending(end: RaceEnd) -> str:
    """Say how a race ended."""
    if end.finish_time_ms is not None:
        return f"finished in {seconds(end.finish_time_ms)}"
    reason = {"stuck": "given up: no progress", "time": "given up: out of time", None: "the game was lost"}
    return f"{reason[end.cut_off]} at {end.metres:.0f} m"


def _row(number: int, end: RaceEnd) -> list[Any]:
    return [
        number,
        end.how if end.cut_off is None else end.cut_off,
        seconds(end.race_time_ms),
        " ".join(seconds(time) for time in end.split_times_ms),
        f"{end.metres:.0f}",
        f"{end.race_time_ms / 1000 / end.wall_s:.0f}",
    ]


def _report(track: str, config: RunConfig, ends: list[RaceEnd]) -> dict[str, Any]:
    finished = [end.finish_time_ms / 1000 for end in ends if end.finish_time_ms is not None]
    return {
        "track": track,
        "driver": config.driver.kind,
        "finished": len(finished),
        "best_time_s": min(finished, default=None),
        "races": [
            {
                "finished": end.finish_time_ms is not None,
                "finish_time_s": None if end.finish_time_ms is None else end.finish_time_ms / 1000,
                "end": end.how,
                "cut_off": end.cut_off,
                "race_time_s": end.race_time_ms / 1000,
                "checkpoint_times_s": [time / 1000 for time in end.split_times_ms],
                "metres": round(end.metres, 1),
                "decisions": end.steps,
                "wall_s": round(end.wall_s, 3),
            }
            for end in ends
        ],
    }
