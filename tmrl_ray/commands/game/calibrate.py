"""``tmrl-ray game calibrate``: how near the simulated car is to the real one."""

from __future__ import annotations

from pathlib import Path

import click

from tmrl_ray.commands.command import OutputFile, ReadableFile, command, json_option
from tmrl_ray.commands.output import COMPILING, explain_delay, note, print_json, print_table


@command(
    examples=[
        "game calibrate",
        "game calibrate --tuning my_car.json --json",
        "game calibrate --fit -o my_car.json",
    ]
)
@click.option("--tuning", type=ReadableFile, help="Constants of the car; those that ship without it.")
@click.option("--fit", "fit_it", is_flag=True, help="Fit the free constants to the measured figures.")
@click.option("--evaluations", type=click.IntRange(min=10), default=200, show_default=True, help="How long to fit.")
@click.option("-o", "--output", type=OutputFile, help="Write the constants here, for --tuning of other commands.")
@json_option
def calibrate(tuning: Path | None, fit_it: bool, evaluations: int, output: Path | None, as_json: bool) -> None:
    """Compare the simulated car with the real one.

    Prints every measured figure, what the model gives, and the residual. Exit status 1 when a figure is outside of its
    tolerance.
    """
    from tmrl_ray.service import load_tuning
    from tmrl_ray.simulator.calibrate import FREE_CONSTANTS, fit, report

    car = load_tuning(tuning)
    with explain_delay(COMPILING):
        rows = report(car)
    if fit_it:
        note(f"fitting {', '.join(FREE_CONSTANTS)} ...")
        car = fit(car, evaluations=evaluations)
        rows = report(car)
    if output is not None:
        output.write_text(car.model_dump_json(indent=1) + "\n", encoding="utf-8")
    constants = {name: getattr(car, name) for name in FREE_CONSTANTS}
    if as_json:
        figures = [
            {
                "name": row.name,
                "unit": row.unit,
                "measured": row.measured,
                "simulated": row.simulated,
                "residual": row.residual,
                "tolerance": row.tolerance,
                "within": row.within,
            }
            for row in rows
        ]
        print_json({"figures": figures, "constants": constants})
    else:
        print_table(
            ["figure", "unit", "measured", "simulated", "residual", "tolerance", ""],
            [
                [
                    row.name,
                    row.unit,
                    f"{row.measured:.3f}",
                    f"{row.simulated:.3f}",
                    f"{row.residual:+.3f}",
                    f"{row.tolerance:.3f}",
                    "" if row.within else "outside",
                ]
                for row in rows
            ],
        )
        for name, value in constants.items():
            click.echo(f"{name} = {value:.6g}")
    if not all(row.within for row in rows):
        raise click.exceptions.Exit(1)
