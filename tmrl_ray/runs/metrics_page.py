"""METRICS.md, made of the declarations: ``python -m tmrl_ray.runs.metrics_page METRICS.md`` writes it anew."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.metrics import Kind, Metric, Registry

_ABOUT = {
    "race": "Races, each a row of its own. *explore*: a collector's, from the start line. *practice*: a collector's, "
    "from elsewhere on the track, so that its times are no times of the whole race. *greedy*: a collector's, without "
    "exploration. *evaluation*: the evaluator's, with weights that do not change meanwhile.",
    "evaluation": "One row for each evaluation: several greedy races on each map with the same weights.",
    "learner": "What the learner computes, and where its time goes.",
    "parameter": "Single tensors of the network, every few minutes.",
    "experience": "The replay buffer: what comes in, what is drawn, what there is.",
    "limiter": "The limiter, which holds collecting and learning in step.",
    "collector": "Collectors, by their number.",
    "game": "Games.",
    "exploration": "How collectors explore.",
    "weights": "From the learner to whoever acts.",
    "clock": "The clocks beside env steps.",
    "checkpoint": "Checkpoints.",
    "memory": "Memory.",
    "run": "The run as a whole.",
    "metrics": "Faults of the metrics themselves.",
    "pretrain": "Pretraining, a row for each epoch: here the step axis is epochs.",
}

_INTRODUCTION = """\
# Metrics

Every metric that there is; this page is made of their declarations (`tmrl_ray/runs/declared`).

The step axis is **env steps**: decisions that were taken in over the whole run. Learner steps and training hours stand
on every row. Wall time, which TensorBoard offers too, includes the nights between a stop and a resume.

- TensorBoard: `tensorboard --logdir runs`. Each chart's help is the text below. A histogram is also told as two
  scalars, `NAME/median` and `NAME/q98`.
- Ray, Prometheus, Grafana: the second name, with what stands in braces as labels, and `run`. Prometheus adds `ray_`
  before the name and, after that of a counter, `_total`. Counters go on after a resume.
- `metrics.jsonl` in the run's folder: the same rows for programs.

A **scalar** is told as it is, or as the mean of what came since the last row. A **counter** is the total over the whole
run. A **histogram** tells how what came since the last row is spread. Values that are not finite are left out and
counted (`metrics/dropped_values`). All losses, values and errors are means per sample, whatever the batch size.
"""


def metrics_page(registry: Registry = METRICS) -> str:
    """Return the page."""
    by_group = groupby(sorted(registry.metrics, key=lambda metric: list(_ABOUT).index(metric.group)), _group)
    return "\n".join([_INTRODUCTION, *(line for group, metrics in by_group for line in _section(group, metrics))])


def _group(metric: Metric) -> str:
    return metric.group


def _section(group: str, metrics: Iterator[Metric]) -> Iterator[str]:
    yield f"## {group}\n"
    yield f"{_ABOUT[group]}\n"
    yield "| metric | unit | what it is | when it rises | healthy |"
    yield "|---|---|---|---|---|"
    for metric in metrics:
        kind = "" if metric.kind is Kind.SCALAR else f"*{metric.kind}* "
        unit = metric.unit or " "
        name = f"`{metric.name}`"
        if metric.kind is not Kind.TEXT:
            name += f"<br>`{metric.ray_name}`"
        cells = (name.replace("|", r"\|"), unit, kind + metric.help, metric.rising, metric.healthy or " ")
        yield f"| {' | '.join(cells)} |"
    yield ""


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(metrics_page(), encoding="utf-8")
