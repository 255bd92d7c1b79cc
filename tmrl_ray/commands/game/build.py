"""``tmrl-ray game build``: a track of a line that somebody drove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmrl_ray.commands.command import OutputFile, ReadableFile, command
from tmrl_ray.commands.output import note, print_facts
from tmrl_ray.errors import InvalidInputError

if TYPE_CHECKING:
    from tmrl_ray.game.gbx import Challenge
    from tmrl_ray.simulator.track import Floats
    from tmrl_ray.simulator.track_file import Checkpoint, CheckpointNear


@command(
    examples=[
        "game build best_lap.Replay.Gbx -o my_track.yaml",
        "game build line.npy --map ESL-Hockolicious.Challenge.Gbx -o hockolicious.yaml",
        "game build line.npy --width 24 --bank 15 -o wide.yaml",
    ]
)
@click.argument("source", type=ReadableFile, metavar="LINE.npy|REPLAY.Gbx")
@click.option("-o", "--output", type=OutputFile, required=True, help="Track file to write; its line goes beside it.")
@click.option(
    "--map", "map_file", type=ReadableFile, help="Map with the real checkpoints; a replay mostly has its own."
)
@click.option("--width", type=click.FloatRange(4, 60), default=16.0, show_default=True, help="Metres across the road.")
@click.option("--bank", type=click.FloatRange(0, 45), default=0.0, show_default=True, help="Lean in bends, degrees.")
@click.option("--name", help="Name of the track; that of the file when left out.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
def build(
    source: Path, output: Path, map_file: Path | None, width: float, bank: float, name: str | None, force: bool
) -> None:
    """Make a drivable track of a driven line.

    The line is a .npy file of (N, 3) positions in metres, or the way of a replay's ghost. The road follows it; the
    track file can be edited afterwards (materials, walls, gaps, checkpoints).
    """
    from tmrl_ray.racing.reference_line import line_of_track
    from tmrl_ray.simulator.library import load_track
    from tmrl_ray.simulator.line_track import evenly_spaced_checkpoints, write_track_yaml
    from tmrl_ray.simulator.track_file import Line

    if output.suffix not in {".yaml", ".yml"}:
        raise click.BadParameter(f"{output} must end in .yaml", param_hint="--output")
    if output.with_suffix(".npy").resolve() == source.resolve():
        raise InvalidInputError(f"the line of {output} would replace {source}", hint="Give the track another name.")
    taken = [str(path) for path in (output, output.with_suffix(".npy")) if path.exists()]
    if taken and not force:
        raise InvalidInputError(f"{' and '.join(taken)} exist already", hint="Use --force to replace them.")
    points, challenge = _read(source, map_file)
    if challenge is None:
        checkpoints: tuple[Checkpoint, ...] = evenly_spaced_checkpoints(points)
    else:
        points, checkpoints = _gates(points, challenge)
    write_track_yaml(points, output, name=name, line=Line(file="", width=width, bank=bank, checkpoints=checkpoints))
    track = load_track(str(output))
    print_facts(
        {
            "track": track.name,
            "length": f"{line_of_track(track).length_m:.0f} m",
            "checkpoints": len(track.gates) - 1,
            "triangles": len(track.triangles),
            "written": f"{output}, {output.with_suffix('.npy')}",
        }
    )
    click.echo(f"Drive it: tmrl-ray drive --track {output}")


def _read(source: Path, map_file: Path | None) -> tuple[Floats, Challenge | None]:
    from tmrl_ray.game.gbx import line_from_ghost, read_challenge, read_replay
    from tmrl_ray.simulator.line_track import read_line

    challenge = read_challenge(map_file) if map_file else None
    if source.suffix == ".npy":
        return read_line(source), challenge
    replay = read_replay(source)
    if challenge is None and replay.challenge_data:
        challenge = replay.challenge
    return line_from_ghost(replay.ghost, beyond_finish_m=0.0), challenge


def _gates(points: Floats, challenge: Challenge) -> tuple[Floats, tuple[CheckpointNear, ...]]:
    """Return the line up to the map's finish, and where it goes through the map's checkpoints."""
    import numpy as np

    from tmrl_ray.game.gbx import checkpoints_on_line
    from tmrl_ray.simulator.track_file import CheckpointNear

    blocks = challenge.checkpoints
    finishes = checkpoints_on_line(points, np.array([block.centre for block in challenge.finishes]).reshape(-1, 3))
    if finishes:
        points = points[: finishes[-1].index + 1]
    passes = checkpoints_on_line(points, np.array([block.centre for block in blocks]).reshape(-1, 3))
    missed = len(blocks) - len({each.gate for each in passes})
    if missed:
        note(f"{missed} of the map's {len(blocks)} checkpoints are not on the line and are left out")
    places = [np.round(points[each.index], 2).tolist() for each in passes]
    return points, tuple(CheckpointNear(near=(x, y, z)) for x, y, z in places)
