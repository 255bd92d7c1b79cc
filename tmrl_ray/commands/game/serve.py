"""``tmrl-ray game serve``: the simulator as a game that listens."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path

import click

from tmrl_ray.commands.command import ReadableFile, command
from tmrl_ray.commands.output import COMPILING, explain_delay, note

_LOOPBACK = {"127.0.0.1", "::1", "localhost"}


@command(
    examples=[
        "game serve --track loop --port 8478",
        "game serve --track my_track.yaml --port 0",
        "game serve --track hairpin --instances 4",
        "game serve --track loop --fault hang@3000",
    ]
)
@click.option("--track", metavar="NAME|FILE", help="Map that is loaded first; without it the game waits in its menus.")
@click.option("--port", type=click.IntRange(0, 65535), default=8478, show_default=True, help="0: any free port.")
@click.option("--instances", type=click.IntRange(1, 64), default=1, show_default=True, help="Games, on ports in a row.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--tuning", type=ReadableFile, help="Constants of the car, as game calibrate writes them.")
@click.option("--look", type=click.IntRange(min=0), help="Seed of other colours and light; the standard look without.")
@click.option(
    "--scripts", type=click.Path(file_okay=False, path_type=Path), default=Path(), help="Folder of input scripts."
)
@click.option("--fault", "faults", multiple=True, metavar="KIND@MS", help="Go wrong on purpose: hang@3000, slow@0:200.")
@click.option("-v", "--verbose", is_flag=True, help="Log connections too.")
def serve(
    track: str | None,
    port: int,
    instances: int,
    host: str,
    tuning: Path | None,
    look: int | None,
    scripts: Path,
    faults: tuple[str, ...],
    verbose: bool,
) -> None:
    """Serve simulated games that speak the plugin's protocol.

    Prints one line, "ready" and the ports, when all games accept clients, and serves until it is interrupted. Kinds of
    faults: hang, slow, garbage, short_frame, no_number and exit, each with the race time at which it strikes.
    """
    from tmrl_ray.service import compile_kernels, load_tuning
    from tmrl_ray.simulator.faults import parse_fault
    from tmrl_ray.simulator.look import random_look
    from tmrl_ray.simulator.server import ServerSettings
    from tmrl_ray.simulator.server import serve as serve_games

    level = logging.INFO if verbose else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s: %(message)s", force=True)
    settings = ServerSettings(
        track=track,
        port=port,
        instances=instances,
        host=host,
        tuning=load_tuning(tuning),
        look=None if look is None else random_look(look),
        scripts=scripts,
        faults=[parse_fault(text) for text in faults],
    )
    if host not in _LOOPBACK:
        note(f"whoever reaches {host} can drive these games: the protocol knows no passwords")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    with explain_delay(COMPILING):
        compile_kernels(track)
    status = serve_games(settings, lambda ports: click.echo(f"ready {' '.join(map(str, ports))}"), stop)
    if status:
        raise click.exceptions.Exit(status)
