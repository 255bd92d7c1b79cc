"""``tmrl-ray inject``: see what a run takes over from pretraining, or write the network that it would begin with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tmrl_ray.commands.command import OutputFile, ReadableFile, command, json_option, needs_training
from tmrl_ray.commands.output import note, print_facts, print_json, print_table

if TYPE_CHECKING:
    from learner.pretrained import Injection
    from tmrl_ray.training import Training


@command(
    examples=[
        "inject --dry-run -c configs/quickstart.yaml learner.pretrained=runs/cloned",
        "inject --dry-run learner.pretrained.encoder=encoder.pt",
        "inject --output begin.safetensors -c configs/quickstart.yaml learner.pretrained=runs/cloned",
    ]
)
@click.option("-c", "--config", "file", type=ReadableFile, help="Configuration file; the defaults without.")
@click.option("--dry-run", is_flag=True, help="Only print what would be taken over, tensor by tensor.")
@click.option("--output", type=OutputFile, help="Write the network that a run would begin with, as safetensors.")
@json_option
@click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")
def inject(file: Path | None, dry_run: bool, output: Path | None, as_json: bool, overrides: tuple[str, ...]) -> None:
    """See what a new run takes over from pretraining.

    A run does the same by itself. Where anything does not fit, both end with each name and shape that is wrong.
    """
    from tmrl_ray.config.loading import load_config
    from tmrl_ray.errors import ConfigError

    if dry_run == (output is not None):
        raise click.UsageError("say --dry-run, or --output and a file")
    config = load_config(file, overrides)
    with needs_training():
        from tmrl_ray.iqn.network import build_network
        from tmrl_ray.training import Training

        training = Training.of(config)
        network = build_network(config.network, training.io, seed=0)
        injection = training.injection(network)
    if injection is None:
        raise ConfigError(
            "learner.pretrained names no artifact, so nothing would be taken over",
            hint="Give one: learner.pretrained=FOLDER",
        )
    if output is not None:
        _write(training, output)
        note(f"written: {output}")
    if as_json:
        print_json(_told(injection))
        return
    for path, origin in injection.origins.items():
        facts = {"artifact": path, "stage": f"{origin.stage}, {origin.task}", "run": origin.run}
        facts["epoch"] = f"{origin.epoch} of {origin.epochs_trained} trained"
        facts |= {name: f"{value:.4g}" for name, value in origin.metrics.items() if value is not None}
        print_facts(facts)
        click.echo()
    print_table(["part", "tensor", "shape", "of", "change"], _rows(injection))
    numbers = sum(each.tensor.numel() for each in injection.taken)
    total = sum(each.numel() for each in network.parameters())
    click.echo(f"\n{len(injection.taken)} tensors, {numbers:,} of {total:,} parameters ({numbers / total:.0%})")
    for name in injection.left_out:
        click.echo(f"left out: {name}")


def _write(training: Training, output: Path) -> None:
    import torch
    from safetensors.torch import save

    from tmrl_ray.runs.disk import Disk, replace_file

    replace_file(Disk(), output, save(training.update(torch.device("cpu"), new=True).weights()))


def _rows(injection: Injection) -> Iterator[tuple[str, ...]]:
    for each in injection.taken:
        yield each.part, each.name, _shape(each.tensor.shape), Path(each.source).name, each.change


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _told(injection: Injection) -> dict[str, Any]:
    return {
        "artifacts": {path: origin.model_dump(mode="json") for path, origin in injection.origins.items()},
        "taken": [
            {
                "part": each.part,
                "tensor": each.name,
                "shape": list(each.tensor.shape),
                "source": each.source,
                "change": each.change,
            }
            for each in injection.taken
        ],
        "left_out": list(injection.left_out),
        "identity": injection.identity,
    }
