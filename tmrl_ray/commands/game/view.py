"""``tmrl-ray game view``: pictures of a race on a track."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

from tmrl_ray.commands.command import OutputFile, ReadableFile, command, picture_size
from tmrl_ray.commands.output import COMPILING, explain_delay, progress

if TYPE_CHECKING:
    from tmrl_ray.game.scripts import Timeline
    from tmrl_ray.simulator.track import Track

LONGEST_MS = 300_000
"""Where a film ends whose race is not finished; races are given up at the same time."""


@command(
    examples=[
        "game view --track hairpin -o hairpin.png",
        "game view --track loop --video lap.mp4 --size 640x480 --camera 1",
        "game view --track loop --script best.txt --video best.mp4",
    ]
)
@click.option("--track", required=True, metavar="NAME|FILE", help="What to look at; see tmrl-ray game tracks.")
@click.option("-o", "--output", type=OutputFile, metavar="SHEET.png", help="Write pictures side by side here.")
@click.option("--video", type=OutputFile, metavar="LAP.mp4", help="Write a video here.")
@click.option("--camera", type=click.IntRange(1, 3), default=2, show_default=True, help="1 far, 2 near, 3 internal.")
@click.option(
    "--size", type=picture_size, default="320x240", show_default=True, metavar="WxH", help="Picture's pixels."
)
@click.option(
    "--script", type=ReadableFile, help="Inputs to drive, as TMInterface writes them; a scripted driver without."
)
@click.option("--look", type=click.IntRange(min=0), help="Seed of other colours and light; the standard look without.")
def view(
    track: str,
    output: Path | None,
    video: Path | None,
    camera: int,
    size: tuple[int, int],
    script: Path | None,
    look: int | None,
) -> None:
    """Write pictures or a video of a race on a track."""
    from tmrl_ray.config.game import Camera
    from tmrl_ray.game.scripts import read_script
    from tmrl_ray.service import compile_kernels
    from tmrl_ray.simulator.film import FilmSettings, check_film, duration_ms, film, write_film
    from tmrl_ray.simulator.library import load_track
    from tmrl_ray.simulator.look import random_look

    if output is None and video is None:
        raise click.UsageError("name a file to write: -o SHEET.png, --video LAP.mp4, or both")
    check_film(output, video)
    place = load_track(track)
    with explain_delay(COMPILING):
        compile_kernels(track)
        inputs = _driven(place) if script is None else read_script(script)
        until_ms = duration_ms(place, inputs, LONGEST_MS)
    settings = FilmSettings(size=size, camera=cast(Camera, camera), look=None if look is None else random_look(look))
    with progress("filming", until_ms) as shown:
        write_film(
            film(place, inputs, until_ms, settings),
            until_ms,
            fps=settings.fps,
            sheet=output,
            video=video,
            on_shot=lambda shot: shown.update(shot.race_time_ms, shot.label),
        )
    for path in (output, video):
        if path is not None:
            click.echo(f"written: {path}")


def _driven(track: Track) -> Timeline:
    """Let the scripted driver drive, and return what it pressed."""
    from tmrl_ray.config.run import RunConfig
    from tmrl_ray.service import ScriptedRaces, inputs_of

    with ScriptedRaces(RunConfig.model_validate({"game": {"frame_size": None}}), track) as races:
        return inputs_of(list(races.next_race()))
