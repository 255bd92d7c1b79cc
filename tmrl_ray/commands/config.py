"""``tmrl-ray config``: what can be set, what a file says in the end, and whether it is right."""

from __future__ import annotations

from pathlib import Path

import click

from tmrl_ray.commands.command import LazyGroup, ReadableFile, command, json_option
from tmrl_ray.commands.output import print_json

_HERE = "tmrl_ray.commands.config"


@click.group(
    cls=LazyGroup,
    subcommands={name: f"{_HERE}:{name}" for name in ("show", "explain", "validate")},
)
def config() -> None:
    """Show, explain and validate configurations.

    Wherever a configuration is taken, settings may follow as key.sub=value.
    """


@command(
    examples=[
        "config show",
        "config show configs/real_game.yaml",
        "config show configs/real_game.yaml game.camera=3 reward.per_ms=-1e-3",
    ]
)
@click.argument("parts", nargs=-1, metavar="[FILE] [KEY=VALUE]...")
@json_option
def show(parts: tuple[str, ...], as_json: bool) -> None:
    """Print a configuration in full, and its hash.

    Without FILE these are the defaults. The output is a configuration file itself.
    """
    from tmrl_ray.config.loading import config_hash, load_config, to_yaml

    file, overrides = split_parts(parts)
    settings = load_config(file, overrides)
    if as_json:
        print_json({"hash": config_hash(settings), "config": settings.model_dump(mode="json")})
        return
    click.echo(f"# hash {config_hash(settings)}\n{to_yaml(settings)}", nl=False)


@command(examples=["config explain", "config explain game", "config explain reward.per_ms"])
@click.argument("key", default="")
@json_option
def explain(key: str, as_json: bool) -> None:
    """Say what each setting is, and what it may be.

    KEY narrows it to one setting or one group. A file may also have base: FILE, a configuration that it builds on.
    """
    from dataclasses import asdict

    from tmrl_ray.config.describe import explain as explain_model
    from tmrl_ray.config.run import RunConfig
    from tmrl_ray.config.yaml_text import dump_yaml
    from tmrl_ray.errors import ConfigError

    every = list(explain_model(RunConfig))
    notes = [note for note in every if not key or note.path == key or note.path.startswith((f"{key}.", f"{key}["))]
    if not notes:
        groups = ", ".join(dict.fromkeys(note.path.partition(".")[0].partition("[")[0] for note in every))
        raise ConfigError(f"there is no setting {key!r}", hint=f"The groups are {groups}.")
    if as_json:
        print_json({"settings": [asdict(note) for note in notes]})
        return
    for note in notes:
        default = (
            note.default if isinstance(note.default, str) else dump_yaml(note.default).removesuffix("...\n").strip()
        )
        click.echo(click.style(note.path, bold=True))
        click.echo(f"    {note.text}\n    must be {note.allowed}\n    default: {' '.join(default.split())}\n")


@command(examples=["config validate configs/*.yaml", "config validate configs/real_game.yaml game.camera=3"])
@click.argument("parts", nargs=-1, required=True, metavar="FILE... [KEY=VALUE]...")
@json_option
def validate(parts: tuple[str, ...], as_json: bool) -> None:
    """Check configuration files, and print their hashes.

    The overrides are applied to each of them. Exit status 2 when any of them is wrong.
    """
    from tmrl_ray.config.loading import config_hash, load_config
    from tmrl_ray.errors import ConfigError

    overrides = [part for part in parts if is_override(part)]
    files = [part for part in parts if not is_override(part)]
    if not files:
        raise click.UsageError(f"no FILE to check among: {' '.join(parts)}")
    hashes: dict[str, str] = {}
    errors: dict[str, str] = {}
    for name in files:
        try:
            hashes[name] = config_hash(load_config(Path(name), overrides))
        except ConfigError as error:
            errors[name] = str(error)
    if as_json:
        print_json({"valid": hashes, "invalid": errors})
    else:
        for name, digest in hashes.items():
            click.echo(f"{name}: valid, hash {digest}")
    if errors:
        raise ConfigError("\n".join(errors.values()))


def is_override(part: str) -> bool:
    """Return whether an argument is ``key=value`` and not a file."""
    return "=" in part and not Path(part).exists()


def split_parts(parts: tuple[str, ...]) -> tuple[Path | None, list[str]]:
    """Split the arguments of a command into a configuration file and overrides.

    Raises:
        click.BadParameter: more than one file, or a file that is not there.
    """
    files = [part for part in parts if not is_override(part)]
    if len(files) > 1:
        raise click.BadParameter(f"one FILE at most, these are {len(files)}: {', '.join(files)}")
    file = ReadableFile.convert(files[0], None, None) if files else None
    return (None if file is None else Path(file)), [part for part in parts if is_override(part)]
