"""``tmrl-ray dataset``: look at recorded races, check and repair them, and turn them into other forms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmrl_ray.commands.command import Directory, LazyGroup, OutputFile, command, json_option
from tmrl_ray.commands.output import print_facts, print_json, print_table, progress

if TYPE_CHECKING:
    from tmrl_ray.datasets.validate import Defect

_HERE = "tmrl_ray.commands.dataset"


@click.group(
    cls=LazyGroup,
    subcommands={name: f"{_HERE}:{name}" for name in ("info", "validate", "repair", "convert", "cache")},
)
def dataset() -> None:
    """Look at recorded races, check and repair them, and turn them into other forms.

    A dataset is ROOT/MAP/RACE/ with metadata.json, manifest.json and a picture for each frame, as tmrl-ray record and
    the public TMNF tools write it.
    """


@command(examples=["dataset info data/races", "dataset info data/races --sheet sheet.png"])
@click.argument("root", type=Directory)
@click.option("--sheet", type=OutputFile, help="Write a picture with frames of some races.")
@json_option
def info(root: Path, sheet: Path | None, as_json: bool) -> None:
    """Say what is in a dataset, in figures and as a picture.

    By map the races, their frames and times; what was held for how much of the time.
    """
    from tmrl_ray.datasets.folder import find_races
    from tmrl_ray.datasets.sheet import draw_sheet
    from tmrl_ray.datasets.summary import summarise

    folders = find_races(root)
    with progress("reading", len(folders)) as shown:
        summary = summarise(folders, lambda done: shown.update(done))
    if sheet is not None:
        draw_sheet(folders).save(sheet)
    if as_json:
        print_json(summary.to_json())
        return
    print_table(
        ["map", "races", "finished", "frames", "best (s)", "mean (s)"],
        [[name, *each.cells()] for name, each in summary.maps.items()],
    )
    click.echo()
    print_facts(summary.facts())
    if sheet is not None:
        click.echo(f"sheet: {sheet}")


@command(examples=["dataset validate data/races", "dataset validate data/races --json"])
@click.argument("root", type=Directory)
@json_option
def validate(root: Path, as_json: bool) -> None:
    """Find every defect of a dataset. Exit status 1 when there is any."""
    found = _defects(root, "checking")
    if as_json:
        print_json({"races": len(found), "defects": _listed(found)})
    else:
        _print_defects(found)
    if any(found.values()):
        raise click.exceptions.Exit(1)


@command(examples=["dataset repair data/races --out data/repaired"])
@click.argument("root", type=Directory)
@click.option("--out", type=Directory, required=True, help="Root of the new dataset; must not be there.")
@json_option
def repair(root: Path, out: Path, as_json: bool) -> None:
    """Write a new dataset without the defects.

    Those that can be repaired, that is; tmrl-ray dataset validate lists them, and says what is done about each. Races
    that cannot be read are left out. The old dataset stays as it is.
    """
    from tmrl_ray.datasets.folder import find_races
    from tmrl_ray.datasets.repair import repair_into
    from tmrl_ray.datasets.validate import REPAIRS, validate_folder
    from tmrl_ray.errors import DatasetError

    _must_be_new(out)
    folders, left_out, remaining = find_races(root), [], 0
    changed = 0
    with progress("repairing", len(folders)) as shown:
        for number, folder in enumerate(folders, start=1):
            race, defects = validate_folder(folder)
            try:
                if race is None:
                    raise DatasetError(defects[0].what)
                repair_into(race, defects, out)
                changed += any(defect.kind in REPAIRS for defect in defects)
                remaining += any(defect.kind not in REPAIRS for defect in defects)
            except DatasetError as error:
                left_out.append({"race": f"{folder.parent.name}/{folder.name}", "why": str(error.args[0])})
            shown.update(number, folder.name)
    if as_json:
        print_json({"races": len(folders), "repaired": changed, "left_out": left_out, "out": str(out)})
        return
    for each in left_out:
        click.echo(f"left out: {each['race']}: {each['why']}")
    print_facts(
        {
            "races": f"{len(folders)}, {changed} repaired, {len(left_out)} left out",
            "not repaired": f"defects of {remaining} races that do no harm where they do not matter",
            "dataset": out,
            "check it": f"tmrl-ray dataset validate {out}",
        }
    )


@command(
    examples=[
        "dataset convert data/races --to parquet --out data/shards",
        "dataset convert data/shards --to folders --out data/races",
    ]
)
@click.argument("root", type=Directory)
@click.option("--to", type=click.Choice(["parquet", "folders"]), required=True, help="What to make.")
@click.option("--out", type=Directory, required=True, help="Where; must not be there.")
@click.option("--val-fraction", type=click.FloatRange(0, 1, max_open=True), default=0.1, show_default=True,
              help="Share of the maps in shards for validation.")  # fmt: skip
@click.option("--seed", type=int, default=42, show_default=True, help="Of that split.")
@json_option
def convert(root: Path, to: str, out: Path, val_fraction: float, seed: int, as_json: bool) -> None:
    """Turn folders into Parquet shards, or shards into folders.

    Both keep all that is known of each race. Folders of other tools become folders of ours by tmrl-ray dataset repair.
    """
    from tmrl_ray.errors import InvalidInputError

    try:
        from tmrl_ray.datasets.parquet import read_shards, write_shards
    except ModuleNotFoundError as error:
        raise InvalidInputError(
            f"Parquet needs the package {error.name}, which is not installed", hint="pip install 'tmrl_ray[train]'"
        ) from error
    from tmrl_ray.datasets.folder import write_race

    _must_be_new(out)
    if to == "parquet":
        counts = write_shards(root, out, val_fraction=val_fraction, seed=seed)
    else:
        counts = {}
        for part, race in read_shards(root):
            write_race(out, race)
            counts[part] = counts.get(part, 0) + 1
    if as_json:
        print_json({"out": str(out), "races": counts})
    else:
        print_facts({"out": out, **{f"races ({part})": count for part, count in counts.items()}})


@command(
    examples=[
        "dataset cache data/races --out data/cache",
        "dataset cache data/races --out data/cache frame_size=[64,64] floats=false",
    ]
)
@click.argument("root", type=Directory)
@click.option("--out", type=Directory, required=True, help="Folder of the cache; one that is stale is built anew.")
@click.option("--workers", type=click.IntRange(min=0), help="Processes; else one for each CPU. 0: this one only.")
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
@json_option
def cache(root: Path, out: Path, workers: int | None, overrides: tuple[str, ...], as_json: bool) -> None:
    """Make the arrays to learn from, memory-mapped.

    The pretraining stages do it themselves when they need to. What can be set: frame_size, floats, actions,
    decision_period_ms, finished_only, maps, observation.
    """
    import time

    from tmrl_ray.config.dataset import CacheSettings
    from tmrl_ray.config.loading import load_settings
    from tmrl_ray.datasets.cache_build import prepare_cache

    settings = load_settings(CacheSettings, None, overrides)
    began_s, frames = time.perf_counter(), 0
    with progress("building", 1) as shown:

        def told(done: int, total: int, so_far: int) -> None:
            nonlocal frames
            frames = so_far
            shown.update(done / total, f"{so_far} frames")

        built = prepare_cache(root, out, settings, workers=workers, told=told)
    elapsed_s = time.perf_counter() - began_s
    facts: dict[str, Any] = {
        "cache": str(out),
        "key": built.key,
        "races": len(built.races),
        "maps": len(built.maps),
        "frames": len(built),
        "built": frames > 0,
        "frames_per_s": round(frames / elapsed_s, 1) if frames else None,
    }
    if as_json:
        print_json(facts)
    else:
        facts["built"] = f"now, {facts.pop('frames_per_s'):.0f} frames/s" if frames else "before, and still right"
        print_facts({name: value for name, value in facts.items() if name != "frames_per_s"})


def _defects(root: Path, label: str) -> dict[str, list[Defect]]:
    from tmrl_ray.datasets.folder import find_races
    from tmrl_ray.datasets.validate import validate_folder

    folders = find_races(root)
    found: dict[str, list[Defect]] = {}
    with progress(label, len(folders)) as shown:
        for number, folder in enumerate(folders, start=1):
            name = f"{folder.parent.name}/{folder.name}"
            found[name] = validate_folder(folder)[1]
            shown.update(number, name)
    return found


def _listed(found: dict[str, list[Defect]]) -> list[dict[str, Any]]:
    from tmrl_ray.datasets.validate import REPAIRS

    return [
        {"race": race, "defect": defect.kind.value, "what": defect.what, "repair": REPAIRS.get(defect.kind)}
        for race, defects in found.items()
        for defect in defects
    ]


def _print_defects(found: dict[str, list[Defect]]) -> None:
    listed = _listed(found)
    for each in listed:
        click.echo(f"{each['race']}: {click.style(each['defect'], bold=True)}: {each['what']}")
        if each["repair"]:
            click.echo(f"    repaired: {each['repair']}")
    broken = sum(bool(defects) for defects in found.values())
    click.echo(f"{len(found)} races, {broken} with defects" + (", none with any" if not broken else ""))


def _must_be_new(out: Path) -> None:
    from tmrl_ray.errors import DatasetError

    if out.exists() and any(out.iterdir()):
        raise DatasetError(f"{out} is there already", hint="Nothing is overwritten: give a new folder.")
