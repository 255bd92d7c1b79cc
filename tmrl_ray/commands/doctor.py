"""``tmrl-ray doctor``: what this machine has and lacks."""

from __future__ import annotations

import click

from tmrl_ray.commands.command import Port, command, json_option
from tmrl_ray.commands.output import print_json, print_table

_COLOURS = {"ok": "green", "note": "yellow", "problem": "red"}


@command(examples=["doctor", "doctor --port 8490", "doctor --clean", "doctor --json"])
@click.option("--port", type=Port, default=8478, show_default=True, help="First of the games' ports.")
@click.option("--clean", is_flag=True, help="First clear up what killed runs left behind: games, experience.")
@json_option
def doctor(port: int, clean: bool, as_json: bool) -> None:
    """See what this machine has and lacks, and what to do.

    Versions, cores, memory, /dev/shm, ports and left-overs. Nothing is changed unless --clean is given. Exit status 1
    when something is wrong that keeps tmrl_ray from working.
    """
    from dataclasses import asdict

    from tmrl_ray.doctor import clear_up, examine

    if clean:
        clear_up()
    findings = list(examine(port))
    problems = [finding for finding in findings if finding.status == "problem"]
    if as_json:
        print_json({"healthy": not problems, "findings": [asdict(finding) for finding in findings]})
    else:
        print_table(["", "what", "found"], [[finding.status, finding.name, finding.value] for finding in findings])
        for finding in findings:
            if finding.advice:
                click.echo(f"{click.style(finding.name, fg=_COLOURS[finding.status])}: {finding.advice}")
    if problems:
        raise click.exceptions.Exit(1)
