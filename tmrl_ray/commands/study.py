"""``tmrl-ray experiment study``: the claims of the source documents against results of many seeds."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tmrl_ray.commands.command import OutputFile, command, json_option
from tmrl_ray.commands.experiment import do, folder_option, places, scale_option, workshop_of
from tmrl_ray.commands.output import note, print_json, print_table

if TYPE_CHECKING:
    from tmrl_ray.experiments.arms import Arm, Workshop
    from tmrl_ray.experiments.claims import Bounds, Estimate, Finding, How


def _seeds(_context: click.Context, _parameter: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        seeds = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError as error:
        raise click.BadParameter(f"{text!r} must be whole numbers with commas between them") from error
    if min(seeds) < 0:
        raise click.BadParameter(f"{text!r} has a number below 0")
    return seeds


@command(
    name="study",
    examples=[
        "experiment study --scale simulator --table",
        "experiment study P5 P6 --scale simulator --seeds 1,2,3",
        "experiment study --scale simulator --seeds 1,2,3,4,5 --dry-run",
    ],
)
@click.argument("claims", nargs=-1, metavar="[CLAIM]...")
@folder_option
@scale_option
@click.option("--seeds", default="1,2,3", show_default=True, callback=_seeds, help="Each arm is run with all of them.")
@click.option("--table", is_flag=True, help="Run nothing, and tell what the results say that are there.")
@click.option("--dry-run", is_flag=True, help="Print what is still to be run, and do nothing.")
@click.option("--csv", "csv_file", type=OutputFile, help="Write the value of each claim and seed, too.")
@places
@json_option
def study(  # noqa: PLR0913 - the options of a command
    claims: tuple[str, ...],
    folder: Path,
    scale: str | None,
    seeds: tuple[int, ...],
    table: bool,
    dry_run: bool,
    csv_file: Path | None,
    results: Path,
    data: Path,
    address: str | None,
    as_json: bool,
) -> None:
    """Hold what the source claims against results of seeds.

    CLAIM is the name of one, or of its protocol: P6; all without. What an arm needs is recorded and run too. Results
    are kept: to go on after an interruption, type the same again.
    """
    from tmrl_ray.experiments.claims import CLAIMS, Study, findings, write_csv

    workshop = workshop_of(folder, scale, results, data, address)
    plan = Study.read(folder / CLAIMS)
    chosen = plan.chosen(claims)
    arms = plan.arms_of(chosen, seeds)
    if not table:
        _run(workshop, arms, dry_run=dry_run)
    if dry_run:
        return
    found = findings(plan, chosen, workshop, seeds)
    if csv_file is not None:
        write_csv(csv_file, found)
    if as_json:
        print_json([_told(each) for each in found])
        return
    _print(found)
    missing = sum(not workshop.is_done(arm) for arm in arms)
    if missing:
        click.echo(f"\n{missing} of {len(arms)} arms and seeds are still to be run: type the same without --table")


def _run(workshop: Workshop, arms: list[Arm], *, dry_run: bool) -> None:
    shown: set[str] = set()
    for arm in arms:
        workshop.config(arm)  # what is wrong with the last arm is told before the first one is run
    for number, arm in enumerate(arms, start=1):
        steps = [step for step in workshop.steps(arm) if step.what not in shown]
        if dry_run:
            shown.update(step.what for step in steps)  # nothing is there afterwards: tell each once
        elif steps:
            note(f"arm {number} of {len(arms)}: {arm.name}, seed {arm.seed}")
        do(workshop, steps, dry_run=dry_run)


def _print(found: list[Finding]) -> None:
    columns = ["claim", "what is claimed", "source", "setting", "result", "IQM", "P(more)", "expected", "verdict"]
    print_table(columns, [row for each in found for row in _rows(each)])
    for setting, failed in (
        ("", [each for each in found if each.verdict == "does not hold"]),
        (" with the defects", [each for each in found if each.legacy_verdict == "does not hold"]),
    ):
        if failed:
            click.echo(f"\nnot reproduced{setting}:")
        for each in failed:
            click.echo(f"  {each.claim.id}: {each.claim.says}")


def _rows(each: Finding) -> Iterator[list[str | None]]:
    claim = each.claim
    told = (claim.id, claim.says, claim.source)
    yield [*told, "right", *_estimate(claim.how, each.right), _bounds(claim.how, claim.expects), each.verdict]
    if each.legacy is not None:
        expected = None if claim.legacy_expects is None else _bounds(claim.how, claim.legacy_expects)
        yield [None, None, None, "legacy", *_estimate(claim.how, each.legacy), expected, each.legacy_verdict]


def _bounds(how: How, bounds: Bounds) -> str | None:
    low, high = _text(how, bounds.at_least), _text(how, bounds.at_most)
    expected = {(True, True): f"{low} to {high}", (True, False): f"at least {low}", (False, True): f"at most {high}"}
    return expected.get((bounds.at_least > float("-inf"), bounds.at_most < float("inf")))


def _estimate(how: How, estimate: Estimate) -> list[str | None]:
    if not estimate.values:
        return [None, None, None]
    between = "" if estimate.interval is None else " [" + ", ".join(_text(how, end) for end in estimate.interval) + "]"
    more = None if estimate.more is None else f"{estimate.more:.2f}"
    mean = f"{_text(how, estimate.mean)}{between}, n={len(estimate.values)}"
    return [mean, _text(how, estimate.interquartile_mean), more]


def _text(how: How, value: float) -> str:
    if how == "change":
        return f"{100 * value:+.1f} %"
    if how == "difference":
        return f"{100 * value:+.1f} pp"
    return f"{value:.3g}"


def _told(each: Finding) -> dict[str, object]:
    expected = {"expects": each.claim.expects, "legacy_expects": each.claim.legacy_expects}
    return {
        "claim": each.claim.model_dump(mode="json", exclude=set(expected)),
        **{
            name: {end: value for end, value in bounds if abs(value) != float("inf")}
            for name, bounds in expected.items()
            if bounds is not None
        },
        "verdict": each.verdict,
        "legacy_verdict": each.legacy_verdict,
        **{
            name: {
                "by_seed": estimate.by_seed,
                "over_seeds": estimate.over_seeds,
                "over_maps": estimate.over_maps,
                "interval": estimate.interval,
                "interquartile_mean": estimate.interquartile_mean if estimate.values else None,
                "probability_of_more": estimate.more,
            }
            for name, estimate in (("right", each.right), ("legacy", each.legacy))
            if estimate is not None
        },
    }
