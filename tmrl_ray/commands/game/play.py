"""``tmrl-ray game play``: a person at the wheel of the simulator."""

from __future__ import annotations

from pathlib import Path

import click

from tmrl_ray.commands.command import OutputFile, ReadableFile, command, picture_size
from tmrl_ray.commands.output import COMPILING, explain_delay


@command(
    examples=[
        "game play",
        "game play --track hairpin --camera 1",
        "game play --track full --script best.txt --video drive.mp4",
    ]
)
@click.option("--track", default="loop", show_default=True, metavar="NAME|FILE", help="Where to drive.")
@click.option("--camera", type=click.IntRange(1, 3), default=2, show_default=True, help="1 far, 2 near, 3 internal.")
@click.option(
    "--size", type=picture_size, default="640x480", show_default=True, metavar="WxH", help="Picture's pixels."
)
@click.option("--script", type=OutputFile, help="Keep the inputs of the fastest race here, as TMInterface reads them.")
@click.option("--video", type=OutputFile, help="Keep the pictures here (.mp4).")
@click.option("--tuning", type=ReadableFile, help="Constants of the car, as game calibrate writes them.")
def play(
    track: str, camera: int, size: tuple[int, int], script: Path | None, video: Path | None, tuning: Path | None
) -> None:
    """Drive in a window, with the keyboard.

    Arrow keys or WASD drive, R restarts, Enter goes back to the last checkpoint, C changes the camera, Esc ends it.
    Needs the extra play: pip install 'tmrl_ray[play]'
    """
    from typing import cast

    from tmrl_ray.config.game import Camera
    from tmrl_ray.service import compile_kernels, load_tuning
    from tmrl_ray.simulator.library import load_track
    from tmrl_ray.simulator.play import PlaySettings
    from tmrl_ray.simulator.play import play as play_races

    place = load_track(track)
    car = load_tuning(tuning)
    with explain_delay(COMPILING):
        compile_kernels(track)
    settings = PlaySettings(size=size, camera=cast(Camera, camera), script=script, video=video)
    played = play_races(place, settings, tuning=car)
    times_s = played.finish_times_s
    if times_s:
        click.echo(f"{len(times_s)} races finished, the fastest in {min(times_s):.2f} s")
    else:
        click.echo("no race was finished")
    for path in played.written:
        click.echo(f"written: {path}")
    if script is not None and script not in played.written:
        click.echo(f"not written: {script}, as nothing was pressed")
