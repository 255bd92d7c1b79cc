"""``tmrl-ray quickstart``: a first race, with nothing but this package."""

from __future__ import annotations

from pathlib import Path

import click

from tmrl_ray.commands.command import Directory, command
from tmrl_ray.commands.drive import ending
from tmrl_ray.commands.output import COMPILING, explain_delay, note, progress


@command(examples=["quickstart", "quickstart --track hairpin --out pictures"])
@click.option("--track", default="loop", show_default=True, metavar="NAME|FILE", help="Where to drive.")
@click.option("--out", type=Directory, default=Path("out"), show_default=True, help="Folder of the pictures.")
def quickstart(track: str, out: Path) -> None:
    """Drive a race in the simulator and film it.

    A scripted driver drives; the race ends with the finish time, a sheet of pictures and a video. Needs no game and no
    GPU. The first start compiles the simulator, which takes a minute.
    """
    from tmrl_ray.config.run import RunConfig
    from tmrl_ray.service import ScriptedRaces, compile_kernels, inputs_of
    from tmrl_ray.simulator.film import FilmSettings, check_film, film, write_film
    from tmrl_ray.simulator.library import load_track

    place = load_track(track)
    sheet, video = out / f"{place.name}.png", out / f"{place.name}.mp4"
    check_film(sheet, video)
    config = RunConfig.model_validate({"game": {"frame_size": None}})
    with explain_delay(COMPILING):
        compile_kernels(track)
        races = ScriptedRaces(config, place)
    with races, progress(f"driving {place.name}", races.line.length_m) as shown:
        race, steps = races.next_race(), []
        for step in race:
            steps.append(step)
            shown.update(step.metres, f"{step.metres:5.0f} m  {step.race_time_ms / 1000:6.2f} s")
        shown.update(races.line.length_m, ending(race.end))
    end, settings = race.end, FilmSettings(size=(480, 360))
    with progress("filming", end.race_time_ms) as shown:
        write_film(
            film(place, inputs_of(steps), end.race_time_ms, settings),
            end.race_time_ms,
            fps=settings.fps,
            sheet=sheet,
            video=video,
            on_shot=lambda shot: shown.update(shot.race_time_ms, shot.label),
        )
    click.echo(f"{place.name}: {ending(end)}, {end.race_time_ms / 1000 / end.wall_s:.0f} times faster than real time")
    click.echo(f"pictures: {sheet}\nvideo:    {video}")
    if end.finish_time_ms is None:
        raise click.exceptions.Exit(1)
    note("\nNext: tmrl-ray game play        drive it yourself (pip install 'tmrl_ray[play]')")
    note("      tmrl-ray game tracks      see what else there is to drive")
    note("      tmrl-ray game serve       let any client of the plugin drive the simulator")
