"""Metrics of the collectors, their games and the weights that they act with."""

from __future__ import annotations

from tmrl_ray.runs.declared.learning import MILLISECONDS
from tmrl_ray.runs.metrics import Kind, Metric

COLLECTING = (
    Metric(
        name="collector/count/{state:starting|racing|waiting|draining|stopped|quarantined}",
        unit="collectors",
        ray="collectors",
        help="Collectors in each state.",
        rising="racing: good. waiting: the learner is the bottleneck. quarantined: look at their reasons, `status`.",
    ),
    Metric(
        name="collector/state/{collector}/{state:starting|racing|waiting|draining|stopped|quarantined}",
        unit="",
        ray="collector_state",
        help="1 for the state that a collector is in, 0 for the others.",
        rising="It went into that state.",
    ),
    Metric(
        name="collector/policy_version/{collector}",
        unit="version",
        ray="collector_policy_version",
        help="Version of the weights with which a collector acts.",
        rising="Normal. One that stands still does not get weights.",
    ),
    Metric(
        name="collector/policy_lag/{collector}",
        unit="versions",
        help="By how many versions they are older than the newest.",
        rising="The collector does not get weights, or its races are long.",
    ),
    Metric(
        name="collector/env_steps/{collector}",
        kind=Kind.COUNTER,
        unit="env steps",
        help="Decisions of a collector.",
        rising="Rises all the time.",
    ),
    Metric(
        name="collector/env_steps_per_s/{collector}",
        unit="1/s",
        rate_of="collector/env_steps/{collector}",
        help="Decisions of a collector each second.",
        rising="It gets faster. 0: it hangs, waits, or its game is started.",
    ),
    Metric(
        name="collector/resent_chunks/{collector}",
        kind=Kind.COUNTER,
        unit="chunks",
        help="Chunks that a collector sent again, since no answer came.",
        rising="The network loses messages, or the replay buffer is busy or was killed.",
    ),
    Metric(
        name="collector/restarts/{reason:crash|hang|memory|node}",
        kind=Kind.COUNTER,
        unit="restarts",
        help="Collectors that were started again, by why.",
        healthy="0.",
        rising="Collectors die: look at the dashboard's log of that actor.",
    ),
    Metric(
        name="collector/racing_share/{collector}",
        unit="share",
        help="Share of wall time in which a collector drove.",
        healthy="1, less where the limiter holds collectors back.",
        rising="Less waiting for weights, for credit or for the game.",
    ),
    Metric(
        name="collector/stage_ms/{stage:game|observe|policy|store}",
        kind=Kind.HISTOGRAM,
        unit="ms",
        bounds=MILLISECONDS,
        help="Mean time of a race's decisions by stage: the game until its next picture, the observation, the policy, "
        "and putting the step into a chunk.",
        rising="game: it is drawn on a shared processor. policy: inference shares it.",
    ),
    Metric(
        name="game/restarts/{reason:hang|gone|protocol}",
        kind=Kind.COUNTER,
        unit="restarts",
        ray="game_restarts",
        help="Games of collectors that were lost and started again: they hung, ended, or talked nonsense.",
        healthy="0 in the simulator.",
        rising="Games die: look at the collector's log.",
    ),
    Metric(
        name="exploration/epsilon",
        unit="share",
        help="Probability of an action by chance, before the collector's own factor.",
        rising="By schedule.",
    ),
    Metric(
        name="exploration/epsilon_boltzmann",
        unit="share",
        help="Probability of the best action by values with noise, before the collector's own factor.",
        rising="By schedule.",
    ),
    Metric(
        name="exploration/boltzmann_noise",
        unit="return",
        help="Setting: standard deviation of that noise.",
        rising="It was set.",
    ),
    Metric(
        name="weights/version",
        unit="version",
        help="Newest version that was published.",
        rising="Normal.",
    ),
    Metric(
        name="weights/published",
        kind=Kind.COUNTER,
        unit="publications",
        ray="weights_published",
        help="How often weights were published.",
        rising="Rises all the time.",
    ),
    Metric(
        name="weights/bytes",
        unit="bytes",
        help="Size of the weights.",
        rising="Cannot rise: the network has its size.",
    ),
    Metric(
        name="weights/age_s",
        unit="s",
        help="Time since weights were published last.",
        rising="Learning is slow, or the learner waits for experience.",
    ),
    Metric(
        name="weights/publish_ms",
        kind=Kind.HISTOGRAM,
        unit="ms",
        bounds=MILLISECONDS,
        help="Time that a publication costs the learner: weights are copied, packed and handed over.",
        rising="The learner's processor is shared.",
    ),
    Metric(
        name="weights/fetch_ms",
        kind=Kind.HISTOGRAM,
        unit="ms",
        bounds=MILLISECONDS,
        help="Time from the request for newer weights until a collector acts with them.",
        rising="The network or the learner's node is busy.",
    ),
)
