"""Metrics of the learner: losses, values, gradients, parameters, settings that change, and where its time goes."""

from __future__ import annotations

from tmrl_ray.runs.distribution import logarithmic_bounds
from tmrl_ray.runs.metrics import Kind, Metric

MILLISECONDS = logarithmic_bounds(0.05, 50_000.0)
"""For whatever takes between 50 us and 50 s."""
_QUANTILE = "{quantile:q1|median|q3|d9|d98|max}"


def _of_batches(name: str, unit: str, help: str, rising: str) -> Metric:
    """Return a mean over the learner steps since the last row, those that were undone left out."""
    return Metric(name=f"learner/{name}", unit=unit, help=help, rising=rising)


_BATCHES = (
    _of_batches(
        "loss",
        "return",
        "Loss per sample, with self-loss scaling and before the weights of prioritised drawing: the mean over a batch "
        "and not its sum, so that it does not depend on the batch size.",
        "Targets move faster than the network follows: a new part of the track, a learning rate too high.",
    ),
    _of_batches(
        "loss_unscaled",
        "return",
        "The same without self-loss scaling.",
        "As for the loss; also rises with the spread of the returns.",
    ),
    _of_batches(
        "test_loss",
        "return",
        "Loss per sample on races that are never learned from.",
        "Rising while the loss falls: overfitting. Collect more, or draw each row less often.",
    ),
    _of_batches(
        "td_error",
        "return",
        "Mean size of the difference between target and value.",
        "Values are further off.",
    ),
    _of_batches(
        "test_td_error",
        "return",
        "The same on races that are never learned from.",
        "Rising while the other falls: overfitting.",
    ),
    _of_batches(
        "value",
        "return",
        "Mean value of the actions that were taken.",
        "The agent expects more. Without better finish times, it overestimates.",
    ),
    _of_batches(
        "value_best",
        "return",
        "Mean value of the best actions.",
        "As for the value.",
    ),
    _of_batches("target", "return", "Mean of the targets.", "The target network expects more."),
    _of_batches(
        "action_gap",
        "return",
        "Mean over states of the best action's value less the second best one's.",
        "The policy is more decided.",
    ),
    _of_batches(
        "action_spread",
        "return",
        "Mean over states of the best action's value less the mean of all actions'.",
        "Actions differ more. Near 0, the network does not tell them apart.",
    ),
    _of_batches(
        "quantile_std",
        "return",
        "Standard deviation over the quantiles of the actions that were taken, mean over a batch.",
        "Returns are held for less certain.",
    ),
    _of_batches(
        "self_loss",
        "return",
        "Moving average of the root of the target's loss against itself, by which losses are scaled.",
        "Targets spread more widely, and losses are scaled down.",
    ),
    _of_batches(
        "loss_scale",
        "",
        "Factor on the loss in float16.",
        "Gradients have room; it falls by half at each overflow.",
    ),
    _of_batches(
        "munchausen_temperature",
        "return",
        "Temperature of the soft policy.",
        "The action gap has grown; a temperature far above it makes the policy forget what it knows.",
    ),
    _of_batches(
        "munchausen_entropy",
        "share",
        "Entropy of the soft policy, as a share of the largest possible one.",
        "The soft policy is less decided; near 1, the temperature drowns the action gap.",
    ),
    _of_batches(
        "munchausen_bonus",
        "return",
        "What the policy's own decidedness adds to the reward, 0 or less.",
        "Nearer to 0: the actions that were taken are those that the soft policy prefers.",
    ),
    _of_batches(
        "imitation_loss",
        "",
        "Loss per demonstration, filtered out or not and before its weight: nats of the cross entropy, or the return "
        "by which the margin is missed.",
        "The agent does something else than the expert: it knows better, or forgets what it was shown.",
    ),
    _of_batches(
        "imitation_accuracy",
        "share",
        "Share of the demonstrations where the agent holds the expert's action for the best.",
        "The agent agrees with the expert more often.",
    ),
    _of_batches(
        "imitation_margin_share",
        "share",
        "Share of the demonstrations where the expert's action is better than every other one by the margin.",
        "The agent is surer of what the expert did; near 1, the margin teaches nothing any more.",
    ),
    _of_batches(
        "imitation_copied_share",
        "share",
        "Share of the demonstrations that the filter lets pass.",
        "More of what the expert did is held for worth copying.",
    ),
    _of_batches(
        "imitation_weight",
        "",
        "Weight of the loss on demonstrations beside the other.",
        "As its schedule says.",
    ),
    _of_batches(
        "sound",
        "share",
        "Share of the steps that were not undone.",
        "Good. Below 1, losses or gradients were not finite.",
    ),
    _of_batches(
        "gradient_norm",
        "",
        "Norm of the gradient of all parameters before clipping.",
        "Steep losses: a learning rate too high, or new kinds of states.",
    ),
    _of_batches(
        "gradient_norm_clipped",
        "",
        "Norm of the gradient of all parameters after clipping.",
        "Up to the limit: as before clipping. At the limit: every step is clipped.",
    ),
)

_GRADIENTS = (
    Metric(
        name=f"learner/gradient_norm_{_QUANTILE}",
        unit="",
        ray="learner_gradient_norm_quantile",
        help="Quantiles over steps of the norm before clipping: 0.25, 0.5, 0.75, 0.9, 0.98, 1.",
        rising="As for the norm; the high ones tell of single bad batches.",
    ),
    Metric(
        name=f"learner/gradient_norm_clipped_{_QUANTILE}",
        unit="",
        ray="learner_gradient_norm_clipped_quantile",
        help="The same after clipping.",
        rising="The more of them stand at the limit, the more steps are clipped.",
    ),
    Metric(
        name="learner/quantile_std/{action}",
        unit="return",
        ray="learner_quantile_std_action",
        help="Standard deviation over the quantiles of one action, taken or not, mean over a batch.",
        rising="What that action earns is held for less certain; one that is hardly ever taken is known least.",
    ),
    Metric(
        name="learner/gradient_norm/{part}",
        unit="",
        ray="learner_gradient_norm_part",
        help="Norm before clipping of the gradient of one part of the network.",
        rising="That part is being changed most.",
    ),
    Metric(
        name="parameter/gradient_{norm:l2|linf}/{parameter}",
        unit="",
        ray="parameter_gradient",
        help="Norm of the last clipped gradient of one tensor: Euclidean, and its largest component by size.",
        rising="That tensor is being changed most.",
    ),
    Metric(
        name="parameter/{what:weight|mean|square|rate}_rms/{parameter}",
        unit="",
        ray="parameter_rms",
        help="Root mean square of one tensor's weights, of the optimiser's moving averages of its gradient (mean) and "
        "of the gradient's square (square), and of the adaptive rate 1 / (sqrt(square) + epsilon).",
        rising="weight: decay does not hold it. mean, square: steep losses. rate: hardly any gradient reaches it.",
    ),
)

_SETTINGS = (
    Metric(
        name="learner/learning_rate",
        unit="",
        help="Common learning rate, the plateau breaker's factor included.",
        rising="By schedule, or the plateau breaker has struck.",
    ),
    Metric(
        name="learner/weight_decay",
        unit="",
        help="Setting: share of the learning rate by which parameters shrink each step.",
        rising="It was set.",
    ),
    Metric(name="learner/discount", unit="", help="Of the value after one decision.", rising="By schedule."),
    Metric(name="learner/batch_size", unit="samples", help="Setting: samples in a batch.", rising="It was set."),
    Metric(name="learner/n_steps", unit="env steps", help="Setting: decisions in a transition.", rising="It was set."),
    Metric(
        name="learner/cut_at_exploration",
        unit="",
        help="Setting: 1 if transitions end before a decision that the policy did not hold for the best, else 0.",
        rising="It was set.",
    ),
)

_PACE = (
    Metric(
        name="learner/samples",
        kind=Kind.COUNTER,
        unit="samples",
        help="Samples that were learned from.",
        rising="Rises all the time; how fast tells learner/samples_per_s.",
    ),
    Metric(
        name="learner/samples_per_s",
        unit="1/s",
        rate_of="learner/samples",
        help="Samples that were learned from each second.",
        rising="Learning gets faster.",
    ),
    Metric(
        name="learner/updates",
        kind=Kind.COUNTER,
        unit="learner steps",
        help="Learner steps, undone ones included.",
        rising="Rises all the time; how fast tells learner/updates_per_s.",
    ),
    Metric(
        name="learner/updates_per_s",
        unit="1/s",
        rate_of="learner/updates",
        help="Learner steps each second.",
        rising="Learning gets faster.",
    ),
    Metric(
        name="learner/target_updates",
        kind=Kind.COUNTER,
        unit="updates",
        help="How often the target network went towards the online one.",
        rising="Rises all the time, in step with the samples.",
    ),
    Metric(
        name="learner/set_aside",
        kind=Kind.COUNTER,
        unit="batches",
        help="Batches whose loss or gradient was not finite; their step was undone, and their rows are in the run's "
        "`set_aside.jsonl`.",
        healthy="0.",
        rising="Numbers overflow: lower the learning rate or use bf16 instead of fp16.",
    ),
    Metric(
        name="learner/resets",
        kind=Kind.COUNTER,
        unit="resets",
        help="Soft resets of the network.",
        rising="By schedule.",
    ),
    Metric(
        name="learner/plateau_raises",
        kind=Kind.COUNTER,
        unit="raises",
        help="How often the plateau breaker raised the learning rate.",
        healthy="0 while finish times get better.",
        rising="The best finish time stood still for its whole patience.",
    ),
    Metric(
        name="learner/step_ms",
        kind=Kind.HISTOGRAM,
        unit="ms",
        ray="step_ms",
        bounds=MILLISECONDS,
        help="Time of a learner step; on a GPU, until it is handed over, not until it is done.",
        rising="The processor or the GPU is shared, or the batch has grown.",
    ),
    Metric(
        name="learner/gather_ms",
        kind=Kind.HISTOGRAM,
        unit="ms",
        ray="gather_ms",
        bounds=MILLISECONDS,
        help="Time to make a batch of rows of the ring.",
        rising="Memory is slow or shared; on another node, the network.",
    ),
    Metric(
        name="learner/copy_ms",
        kind=Kind.HISTOGRAM,
        unit="ms",
        ray="h2d_ms",
        bounds=MILLISECONDS,
        help="Time to hand a batch to the GPU.",
        rising="The link to the GPU is shared, or memory is not pinned.",
    ),
    Metric(
        name="learner/index_wait_ms",
        kind=Kind.HISTOGRAM,
        unit="ms",
        ray="sample_wait_ms",
        bounds=MILLISECONDS,
        help="Time for which the learner waited for the answer to a question for rows.",
        rising="The replay buffer is busy, or the limiter holds the learner back.",
    ),
    Metric(
        name="learner/idle_share",
        unit="share",
        ray="learner_idle_ratio",
        help="Share of wall time in which the learner waited for experience.",
        rising="Collecting is the bottleneck: more collectors, or more samples per insert.",
    ),
    Metric(
        name="learner/training_share",
        unit="share",
        help="Share of wall time spent in learner steps.",
        rising="Learning is the bottleneck.",
    ),
    Metric(
        name="learner/gathering_share",
        unit="share",
        help="Share of wall time spent on making batches of rows.",
        rising="Memory is slow or shared.",
    ),
    Metric(
        name="learner/publishing_share",
        unit="share",
        help="Share of wall time spent on publishing weights.",
        healthy="Below 0.05.",
        rising="Publish less often: learner.publish_every.",
    ),
    Metric(
        name="learner/testing_share",
        unit="share",
        help="Share of wall time spent on batches that are never learned from.",
        healthy="Below 0.01.",
        rising="Testing costs training time: test less often.",
    ),
)

LEARNING = (*_BATCHES, *_GRADIENTS, *_SETTINGS, *_PACE)
