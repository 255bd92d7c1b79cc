"""Metrics of the replay buffer: what came in, what was drawn, what there is, and the limiter between them."""

from __future__ import annotations

from tmrl_ray.runs.declared.learning import MILLISECONDS
from tmrl_ray.runs.distribution import logarithmic_bounds
from tmrl_ray.runs.metrics import Kind, Metric

AGES = (0.5, *logarithmic_bounds(1.5, 150_000.0, per_decade=4))
"""For numbers of versions or steps: 0, 1, and so on, coarser and coarser."""

_FLOWS = (
    Metric(
        name="experience/rows_ingested",
        kind=Kind.COUNTER,
        unit="rows",
        ray="transitions_ingested",
        help="Decisions that were taken in; the rows around them that chunks bring along are not counted.",
        rising="Rises all the time; how fast tells experience/ingested_per_s.",
    ),
    Metric(
        name="experience/ingested_per_s",
        unit="1/s",
        rate_of="experience/rows_ingested",
        help="Decisions that were taken in each second: the throughput of all collectors.",
        rising="Collecting gets faster.",
    ),
    Metric(
        name="experience/rows_sampled",
        kind=Kind.COUNTER,
        unit="rows",
        ray="transitions_sampled",
        help="Rows that were drawn.",
        rising="Rises all the time; how fast tells experience/sampled_per_s.",
    ),
    Metric(
        name="experience/sampled_per_s",
        unit="1/s",
        rate_of="experience/rows_sampled",
        help="Rows that were drawn each second.",
        rising="Learning gets faster.",
    ),
    Metric(
        name="experience/rows_dropped/{reason:refused|discarded}",
        kind=Kind.COUNTER,
        unit="rows",
        ray="transitions_dropped",
        help="Decisions that did not become experience: of chunks that the buffer refused (unknown incarnation, or "
        "too old), or of a race that its collector discarded for that.",
        healthy="0; a few after a kill.",
        rising="Collectors start anew all the time, or the buffer has lost its ring.",
    ),
    Metric(
        name="experience/duplicate_chunks",
        kind=Kind.COUNTER,
        ray="duplicate_chunks",
        unit="chunks",
        help="Chunks that came once more, which does no harm.",
        healthy="0; a few after a kill.",
        rising="Answers to collectors get lost or take too long.",
    ),
    Metric(
        name="experience/malformed_chunks",
        kind=Kind.COUNTER,
        unit="chunks",
        help="Chunks that were none, or of another layout.",
        healthy="0.",
        rising="Another version of the program sends, or the network damages messages.",
    ),
    Metric(
        name="experience/lost_batches",
        kind=Kind.COUNTER,
        unit="batches",
        help="Batches of which every row had been overwritten before it was read, and which were left out.",
        healthy="0.",
        rising="The learner reads long after it asked.",
    ),
    Metric(
        name="experience/torn_rows",
        kind=Kind.COUNTER,
        ray="torn_rows",
        unit="rows",
        help="Rows that were overwritten between being drawn and being read, and were drawn again.",
        healthy="0.",
        rising="The learner reads long after it asked, or the ring is too small for its guard band.",
    ),
    Metric(
        name="experience/stale_priorities",
        kind=Kind.COUNTER,
        unit="rows",
        help="Priorities that came for rows that had left.",
        rising="The same.",
    ),
    Metric(
        name="experience/ingest_ms",
        kind=Kind.HISTOGRAM,
        unit="ms",
        ray="ingest_ms",
        bounds=MILLISECONDS,
        help="Time to take in a chunk.",
        rising="The replay buffer's processor is shared, or memory is slow.",
    ),
    Metric(
        name="experience/draw_ms",
        kind=Kind.HISTOGRAM,
        unit="ms",
        bounds=MILLISECONDS,
        help="Time to draw the rows of a question.",
        rising="The replay buffer's processor is shared.",
    ),
    Metric(
        name="experience/policy_age",
        kind=Kind.HISTOGRAM,
        unit="versions",
        ray="policy_age_versions",
        bounds=AGES,
        help="Policy lag: by how many published versions the policy that played a drawn row is older than the newest.",
        rising="Normal while the window fills. Later: collectors do not fetch weights, or have become slow.",
    ),
    Metric(
        name="experience/policy_age_updates",
        kind=Kind.HISTOGRAM,
        unit="learner steps",
        ray="policy_age_updates",
        bounds=AGES,
        help="The same in learner steps: as many to each version as lie between two publications.",
        rising="As before.",
    ),
)

_LEVELS = (
    Metric(
        name="experience/rows",
        unit="rows",
        help="Decisions that may be drawn.",
        rising="The window fills or has grown.",
    ),
    Metric(
        name="experience/window_rows",
        unit="rows",
        help="The most decisions that are kept now.",
        rising="By schedule.",
    ),
    Metric(
        name="experience/occupancy",
        unit="share",
        ray="replay_occupancy",
        help="Decisions that are kept as a share of the window.",
        healthy="1 once the window has filled.",
        rising="The window fills; it falls when the window grows.",
    ),
    Metric(
        name="experience/bytes",
        unit="bytes",
        ray="replay_bytes",
        help="Memory of the rings, full or not.",
        rising="Cannot rise: all of it is taken at the start.",
    ),
    Metric(
        name="experience/test_share",
        unit="share",
        help="Share of the rows that belong to races kept for testing.",
        healthy="About 1 / replay.test_every.",
        rising="Races kept for testing were longer than others.",
    ),
    Metric(
        name="experience/demonstration_rows",
        unit="rows",
        help="Decisions of experts.",
        rising="More demonstrations came.",
    ),
    Metric(
        name="experience/priority_{quantile:min|d1|q1|median|mean|q3|d9|d98|max}",
        unit="return",
        help="Quantiles of the priorities of all rows, 0.1 for d1, 0.25 for q1 and so on, and their mean; with "
        "prioritised drawing only.",
        rising="Values are further off, by the rows that the quantile tells of.",
    ),
    Metric(
        name="experience/samples_per_insert/{which:actual|target}",
        unit="",
        ray="samples_per_insert",
        help="How often a decision is drawn on average: over the whole run, and as set.",
        healthy="actual is the target once learning has begun.",
        rising="actual above target: collecting falls behind. target: it was set.",
    ),
    Metric(
        name="limiter/balance",
        unit="samples",
        help="Samples that are owed for what was inserted, 0 in the middle of the limiter's band.",
        healthy="Between -band and band.",
        rising="Learning falls behind; at the upper edge of the band, collectors wait.",
    ),
    Metric(
        name="limiter/band",
        unit="samples",
        help="Half the limiter's band.",
        rising="By schedule, or samples_per_insert was set.",
    ),
    Metric(
        name="limiter/blocked_s/{side:collectors|learner}",
        kind=Kind.COUNTER,
        unit="s",
        ray="limiter_blocked_seconds",
        help="Time for which a side had to wait; of the collectors, added up.",
        rising="That side is too fast for the other one.",
    ),
)

EXPERIENCE = (*_FLOWS, *_LEVELS)
