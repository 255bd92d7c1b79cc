"""The pages that TensorBoard shows first."""

from __future__ import annotations

import re

import pytest

from tmrl_ray.runs.declared import METRICS
from tmrl_ray.runs.metrics import Kind
from tmrl_ray.runs.tensorboard_layout import PAGES, layout
from tmrl_ray.runs.tensorboard_sink import TOLD_QUANTILES

SCALARS = [
    name + ending
    for metric in METRICS.metrics
    for name in metric.examples()
    for ending in ([f"/{each}" for each in TOLD_QUANTILES] if metric.kind is Kind.HISTOGRAM else [""])
]


@pytest.mark.parametrize("pattern", [pattern for charts in PAGES.values() for pattern in charts.values()])
def test_each_chart_has_metrics_that_are_told(pattern: str) -> None:
    assert any(re.search(pattern, name) for name in SCALARS)


def test_the_message_has_all_pages() -> None:
    message = layout()
    assert {page.title: [chart.title for chart in page.chart] for page in message.category} == {
        page: list(charts) for page, charts in PAGES.items()
    }
