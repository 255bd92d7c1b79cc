"""Metrics of races: those that collectors drive, and those of the evaluator."""

from __future__ import annotations

from tmrl_ray.runs.metrics import Kind, Metric

_BY = "{map}/{kind:explore|practice|greedy|evaluation}"

RACES = (
    Metric(
        name=f"race/finish_time_s/{_BY}",
        unit="s",
        help="Finish time of a whole race that was finished.",
        rising="The car gets slower; in explore, exploration may have grown.",
    ),
    Metric(
        name=f"race/robust_finish_time_s/{_BY}",
        unit="s",
        help="The same, without races more than 2 % above their running mean: what the agent does when nothing goes "
        "wrong.",
        rising="The usual way to drive gets slower.",
    ),
    Metric(
        name=f"race/best_time_s/{_BY}",
        unit="s",
        help="Best finish time of a whole race in this run; unfinished races never count.",
        rising="Cannot rise.",
    ),
    Metric(
        name=f"race/time_s/{_BY}",
        unit="s",
        help="Race clock at the end of any race, finished or not.",
        rising="Before the first finish: the car gets further. After it: it gets slower.",
    ),
    Metric(
        name=f"race/finished/{_BY}",
        unit="",
        help="1 for a race that reached the finish, 0 for any other.",
        rising="More races are finished.",
    ),
    Metric(
        name=f"race/finish_rate/{_BY}",
        unit="share",
        help="Share of the last 20 races that reached the finish; of fewer where there are not as many.",
        rising="The agent drives more reliably.",
    ),
    Metric(
        name="race/medal_ratio/{map}/{kind:explore|greedy|evaluation}/{reference}",
        unit="",
        help="Finish time over a reference time of that map: author, gold or what else `maps` names in `references_s`, "
        "and pursuit, the frozen time of that driver on the tracks that ship.",
        healthy="Below 1.",
        rising="The car gets slower; below 1 it beats the reference.",
    ),
    Metric(
        name="race/split_s/{map}/{kind:greedy|evaluation}/{checkpoint}",
        unit="s",
        help="Race clock at each checkpoint of a greedy race from the start line, counted from 1, the finish last.",
        rising="Time is lost before that checkpoint.",
    ),
    Metric(
        name=f"race/furthest_share/{_BY}",
        unit="share",
        help="The furthest point of the line that was reached, as a share of the line.",
        rising="The car gets further.",
    ),
    Metric(
        name=f"race/metres/{_BY}",
        unit="m",
        help="Progress along the line at the end.",
        rising="The car gets further.",
    ),
    Metric(
        name=f"race/env_steps/{_BY}",
        unit="env steps",
        help="Decisions of the race.",
        rising="Races get longer: the car gets further, or slower.",
    ),
    Metric(
        name=f"race/time_ratio/{_BY}",
        unit="",
        help="Race time driven per wall time, waiting for the learner aside: the speed-up over real time.",
        rising="Collecting gets faster.",
    ),
    Metric(
        name=f"race/waited_share/{_BY}",
        unit="share",
        help="Share of the race's wall time in which the collector waited for the learner to keep up.",
        rising="The learner is the bottleneck.",
    ),
    Metric(
        name=f"race/greedy_share/{_BY}",
        unit="share",
        help="Share of the decisions that the policy held for the best, lucky random ones included.",
        rising="Less exploration, or a policy that agrees with chance more often.",
    ),
    Metric(
        name=f"race/value/{_BY}",
        unit="return",
        help="Mean over decisions and actions of the value that the policy expected.",
        rising="The agent expects more. Without better finish times, it overestimates.",
    ),
    Metric(
        name=f"race/start_value/{_BY}",
        unit="return",
        help="Value of the best action at the first decision.",
        rising="The agent expects more of the first seconds of the race.",
    ),
    Metric(
        name=f"race/action_spread/{_BY}",
        unit="return",
        help="Mean over decisions of the best action's value less the mean of all actions'.",
        rising="The policy is more decided; exploration by noise on the values does less.",
    ),
    Metric(
        name="race/ended/{how:finish|stuck|time|lost}",
        kind=Kind.COUNTER,
        unit="races",
        help="Races of collectors by how they ended: at the finish, given up as stuck or as too long, or with the game "
        "lost.",
        rising="Rises with every race; look at which of them rises fastest.",
    ),
    Metric(
        name="evaluation/finish_rate/{map}",
        unit="share",
        help="Share of the races of one evaluation that were finished.",
        healthy="1 once the track is learned.",
        rising="The agent drives more reliably.",
    ),
    Metric(
        name="evaluation/finish_rate_{bound:low|high}/{map}",
        unit="share",
        ray="evaluation_finish_rate_bound",
        help="Bounds of the confidence interval of the finish rate.",
        rising="The agent drives more reliably, or more races are driven in an evaluation.",
    ),
    Metric(
        name="evaluation/time_s/{map}",
        unit="s",
        help="Mean finish time of the finished races of one evaluation.",
        rising="The car gets slower.",
    ),
    Metric(
        name="evaluation/time_{bound:low|high}_s/{map}",
        unit="s",
        ray="evaluation_time_bound_s",
        help="Bounds of the confidence interval of the mean finish time.",
        rising="The car gets slower, or (high only) less even.",
    ),
    Metric(
        name="evaluation/best_time_s/{map}",
        unit="s",
        help="Best finish time of one evaluation.",
        rising="The car gets slower at its best.",
    ),
    Metric(
        name="evaluation/furthest_share/{map}",
        unit="share",
        help="The furthest point of the line that was reached, as a share of the line, mean over one evaluation.",
        rising="The car gets further.",
    ),
    Metric(
        name="evaluation/first_finish_s/{map}",
        unit="s",
        help="Training time after which the first race of an evaluation was finished; absent before.",
        rising="Cannot rise.",
    ),
    Metric(
        name="evaluation/policy_version",
        unit="version",
        help="Version of the weights of the newest evaluation.",
        rising="Normal: newer weights are evaluated.",
    ),
    Metric(
        name="evaluation/duration_s",
        unit="s",
        help="Wall time of one evaluation.",
        rising="Races get longer, or the evaluator has to share its processor.",
    ),
    Metric(
        name="evaluation/alarms",
        kind=Kind.COUNTER,
        unit="alarms",
        help="Evaluations whose finish rate had collapsed: its interval lay below that of the best evaluation.",
        healthy="0.",
        rising="The agent has unlearned to finish: look at the learning rate, the losses and the newest change.",
    ),
    Metric(
        name="evaluation/failures",
        kind=Kind.COUNTER,
        unit="evaluations",
        help="Evaluations that came to nothing: the evaluator was killed, had no game or no weights, or broke.",
        healthy="0.",
        rising="Training goes on without being measured; the log says why.",
    ),
    Metric(
        name="evaluation/summary",
        kind=Kind.TEXT,
        unit="",
        help="The newest evaluation as a table: map, races, finish rate, best and mean time.",
        rising="A text does not rise.",
    ),
)
