"""``tmrl-ray analyze``: what runs came to, as tables and plots."""

from __future__ import annotations

from pathlib import Path

import click

from tmrl_ray.commands.command import Directory, LazyGroup, command, json_option
from tmrl_ray.commands.output import print_json, print_table


@click.group(cls=LazyGroup, subcommands={"pretrain": "tmrl_ray.commands.analyze:pretrain"})
def analyze() -> None:
    """Compare what runs came to."""


@command(
    name="pretrain",
    examples=[
        "analyze pretrain runs/pretrain/bc",
        "analyze pretrain runs/pretrain/bc runs/pretrain/cloned --plots plots",
        "analyze pretrain runs/experiments/simulator/bc/v2/seed-1 --json",
    ],
)
@click.argument("runs", nargs=-1, required=True, type=Directory, metavar="RUN...")
@click.option("--every", type=click.IntRange(min=1), default=5, show_default=True, help="Epochs between two rows.")
@click.option("--plots", type=Directory, help="Draw into this folder, too.")
@json_option
def pretrain(runs: tuple[Path, ...], every: int, plots: Path | None, as_json: bool) -> None:
    """Compare stages of pretraining.

    Figures by epoch, of the best epochs, by action and by offset. RUN is the folder of a run; one that still goes on
    is shown as far as it is.
    """
    from tmrl_ray.analysis.stages import draw, flat, read_all, tables

    found = read_all(runs)
    drawn = [] if plots is None else draw(found, plots)
    if as_json:
        print_json({"runs": flat(found), "plots": [str(path) for path in drawn]})
        return
    for table in tables(found, every=every):
        click.echo(f"{table.title}:")
        print_table(table.columns, table.rows)
        click.echo("")
    for path in drawn:
        click.echo(f"drawn: {path}")
