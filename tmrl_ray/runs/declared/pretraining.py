"""Metrics of pretraining, a row for each epoch: the step axis is epochs."""

from __future__ import annotations

from tmrl_ray.runs.metrics import Metric

_SPLIT = "{split:train|val}"


def _figure(name: str, unit: str, help: str, rising: str) -> Metric:
    return Metric(name=f"pretrain/{name}/{_SPLIT}", unit=unit, help=help, rising=rising)


PRETRAINING = (
    _figure(
        "loss",
        "",
        "Loss per sample: in training the objective with all augmentation, on the validation maps without.",
        "On the validation maps while it falls in training: overfitting. Take the best artifact.",
    ),
    Metric(
        name=f"pretrain/task/{{figure}}/{_SPLIT}",
        unit="",
        help="A figure of one visual task, or of cloning beside them: its loss, and what it is made of.",
        rising="A loss: the task is learned less well, or another one is learned instead. An accuracy: better.",
    ),
    _figure(
        "accuracy",
        "share",
        "Share of the actions that are told right, the mean over all time offsets.",
        "Compare with the baselines: copying the last action may reach as much.",
    ),
    Metric(
        name=f"pretrain/accuracy_at/{{offset_ms}}/{_SPLIT}",
        unit="share",
        help="The same for one time offset, in milliseconds after the picture.",
        rising="The action at that time is told better.",
    ),
    Metric(
        name=f"pretrain/recall/{{action}}/{_SPLIT}",
        unit="share",
        help="Share of the moments with this action at which it is told.",
        rising="It is missed less often.",
    ),
    _figure("main_actions", "share", "Mean recall of the actions that matter most.", "They are told better."),
    _figure("balanced_accuracy", "share", "Mean recall of all actions that occur.", "Rare actions are told better."),
    _figure("macro_f1", "", "Mean F1 of all actions that occur.", "Rare actions are told better."),
    _figure(
        "changed_accuracy",
        "share",
        "Accuracy where the action is another one than a decision before.",
        "It foresees changes and does not only copy.",
    ),
    _figure(
        "calibration_error",
        "share",
        "Expected calibration error: how far confidence and accuracy lie apart.",
        "It is surer than it should be: overfitting.",
    ),
    Metric(
        name=f"pretrain/baseline/{{which:majority|copy_last}}/{_SPLIT}",
        unit="share",
        help="Accuracy of always telling the most frequent action of the training maps, or that of a decision before.",
        rising="Cannot rise in validation: it depends on the data alone.",
    ),
    Metric(
        name="pretrain/gradient_norm",
        unit="",
        help="Norm of the gradient before it is clipped, the mean over an epoch.",
        rising="Training becomes unstable: a learning rate too high.",
    ),
    Metric(
        name="pretrain/samples_per_s",
        unit="1/s",
        help="Training samples a second, those of all workers.",
        rising="It trains faster.",
    ),
    Metric(
        name="pretrain/probe/{probe}",
        unit="",
        help="What can be read off the features of the best encoder on the validation maps: R2 or accuracy.",
        rising="The features tell more.",
    ),
    Metric(
        name="pretrain/probe_gain/{probe}",
        unit="",
        help="By how much that is higher than for an encoder of the same seed that learned nothing.",
        rising="More of it was learned; at 0 the architecture alone gives it.",
    ),
    Metric(
        name="pretrain/closed_loop/{map}/{kind:finish_rate|furthest}",
        unit="share",
        help="Races that the cloned policy drives in the simulator: share that it finished, mean share of the line.",
        rising="It drives better.",
    ),
)
