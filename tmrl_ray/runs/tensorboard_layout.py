"""The pages of TensorBoard's *Custom scalars*: the charts to look at first, several metrics in each.

All other metrics stand under *Time series*. The patterns are searched for in the names of what is told as scalars.
"""

from __future__ import annotations

from typing import Any

TAG = "custom_scalars__config__"
"""Where TensorBoard's plugin looks for the layout."""
PLUGIN = "custom_scalars"
PAGES: dict[str, dict[str, str]] = {
    "Driving": {
        "Evaluation: share of races finished": r"^evaluation/finish_rate/",
        "Evaluation: best and mean finish time, s": r"^evaluation/(best_time_s|time_s)/",
        "Evaluation: furthest point of the line, share": r"^evaluation/furthest_share/",
        "Finish time over a reference (below 1: ahead)": r"^race/medal_ratio/.*/evaluation/",
        "Collectors: furthest point of the line, share": r"^race/furthest_share/.*/(explore|greedy)$",
        "Collectors: finish time, s": r"^race/finish_time_s/.*/(explore|greedy)$",
        "Exploration: probabilities": r"^exploration/epsilon",
    },
    "Learning": {
        "Loss, and on races kept for testing": r"^learner/(loss|test_loss)$",
        "Error of values, and on races kept for testing": r"^learner/(td_error|test_td_error)$",
        "Values that the learner expects": r"^learner/(value|value_best|target)$",
        "How far actions differ": r"^learner/(action_gap|action_spread|quantile_std)$",
        "How uncertain the return of each action is": r"^learner/quantile_std/",
        "Norm of the gradient before clipping": r"^learner/gradient_norm_(median|d98|max)$",
        "Norm of the gradient by part": r"^learner/gradient_norm/",
        "Learning rate": r"^learner/learning_rate$",
    },
    "Data path": {
        "Decisions taken in, and rows learned from, per s": r"^(experience/ingested_per_s|learner/samples_per_s)$",
        "How often a decision is drawn": r"^experience/samples_per_insert/",
        "Limiter: samples owed, and its band": r"^limiter/(balance|band)$",
        "Decisions kept, share of the window": r"^experience/occupancy$",
        "Policy lag of drawn rows, versions": r"^experience/policy_age/(median|q98)$",
        "Time of each stage, median, ms": r"^(experience/(ingest|draw)_ms|learner/(index_wait|gather|step)_ms)/median$",
        "Lost, repeated and torn": r"^experience/(rows_dropped/.*|duplicate_chunks|malformed_chunks|torn_rows)$",
    },
    "System": {
        "The learner's time, shares": r"^learner/(idle|training|gathering|testing|publishing)_share$",
        "A decision's time, median, ms": r"^collector/stage_ms/.*/median$",
        "Collectors by what they do": r"^collector/count/",
        "Memory of each process, bytes": r"^memory/process_bytes/",
        "Checkpoints: time to save, and age, s": r"^checkpoint/(seconds|age_s)$",
        "Started again": r"^(game|collector)/restarts/",
    },
}
"""By page and chart, which metrics."""


def layout() -> Any:
    """Return the pages as TensorBoard's own message."""
    from tensorboard.plugins.custom_scalar import layout_pb2

    return layout_pb2.Layout(
        category=[
            layout_pb2.Category(
                title=page,
                chart=[
                    layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=[pattern]))
                    for title, pattern in charts.items()
                ],
            )
            for page, charts in PAGES.items()
        ]
    )
