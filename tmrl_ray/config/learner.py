"""Settings of the learner: the loss, the target network, the optimiser, and what changes in the course of a run.

The presets ``configs/presets/legacy_rulka.yaml`` and ``linesight.yaml`` set them as those agents do. Settings named
``legacy`` repeat defects of the reference, for comparison only.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tmrl_ray.config.pretrained import ImitationSettings, PretrainedSettings
from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.config.settings import Settings

Share = Annotated[float, Field(ge=0, le=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]


class SelfLossSettings(Settings):
    """Scaling of each sample's loss by that of its target against itself, so that broad returns do not dominate."""

    decay: Decay = 0.99
    """Of the moving averages that the scale is taken from."""
    clamp_ratio: Annotated[float, Field(ge=1)] = 4.0
    """A sample's own self-loss counts as at least the typical one divided by this."""
    start: PositiveFloat = 0.01
    """What the averages start from, the square root of a loss."""


class MunchausenSettings(Settings):
    """Munchausen reinforcement learning: a share of the log-policy is added to the reward (Vieillard et al. 2020)."""

    share: Share = 0.9
    """Of the log-policy that is added to the reward."""
    temperature: PositiveFloat | None = None
    """Of the soft policy, in units of the return; null: ``temperature_per_gap`` times the measured action gap."""
    temperature_per_gap: PositiveFloat = 0.2
    """Temperature as a share of the moving average of the action gap; 0.1 to 0.3 keep the policy decided."""
    least_temperature: PositiveFloat = 0.0002
    """A measured temperature is at least this: at first, all actions look alike."""
    gap_start: PositiveFloat = 0.01
    """What the average of the action gap starts from, in units of the return."""
    gap_decay: Decay = 0.99
    """Of that average, per update."""
    lowest: Annotated[float, Field(lt=0)] = -1.0
    """The scaled log-policy is clipped at this, in units of the return."""


class TargetSettings(Settings):
    """The target network, which follows the online one softly: target += rate * (online - target)."""

    rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    """How far it goes each time; 1: it is copied."""
    interval_samples: PositiveInt = 2048
    """How many samples are learned from for each time. A batch with several of these intervals goes several times."""
    legacy_counter_lags: bool = False
    """Defect of rulka: at most one time for each batch, however many intervals it has."""


class PartSettings(Settings):
    """How one part of the network learns."""

    lr_multiplier: PositiveFloat = 1.0
    """Its learning rate as a multiple of the common one."""
    frozen: bool = False
    """It does not learn, and does not decay."""
    unfreeze_at: NonNegativeInt | None = None
    """Env steps after which a frozen part learns after all, with fresh moments; null: never."""

    @model_validator(mode="after")
    def _frozen_first(self) -> Self:
        if self.unfreeze_at is not None and not self.frozen:
            raise ValueError(f"unfreeze_at = {self.unfreeze_at} means nothing for a part that is not frozen")
        return self

    def learns(self, env_steps: int) -> bool:
        """Return whether it learns after ``env_steps``."""
        return not self.frozen or (self.unfreeze_at is not None and env_steps >= self.unfreeze_at)


class PartsSettings(Settings):
    """How each part of the network learns."""

    encoder: PartSettings = PartSettings()
    """The convolutions."""
    float_head: PartSettings = PartSettings()
    """The layers of the floats."""
    quantile_layer: PartSettings = PartSettings()
    """The layer of the quantiles' cosines, and the norm of the features that it meets."""
    advantage_head: PartSettings = PartSettings()
    """What tells actions apart."""
    value_head: PartSettings = PartSettings()
    """What all actions have in common."""


class OptimiserSettings(Settings):
    """The optimiser, and what happens to gradients before it."""

    kind: Literal["radam", "adamw"] = "radam"
    """radam: Liu et al. 2020, which warms up by itself. adamw: Loshchilov and Hutter 2019."""
    betas: tuple[Decay, Decay] = (0.9, 0.999)
    """Decay of the moving averages of the gradient and of its square."""
    epsilon: PositiveFloat = 1e-4
    """Added to the root of the averaged square."""
    learning_rate: ScheduleSettings = ScheduleSettings(
        kind="log_linear", points=((0, 1e-3), (3_000_000, 5e-5), (12_000_000, 5e-5), (15_000_000, 1e-5))
    )
    """Over env steps."""
    weight_decay: NonNegativeFloat = 0.1
    """Before each step every parameter shrinks by this times its learning rate: p *= 1 - rate * decay."""
    clip_norm: PositiveFloat | None = 30.0
    """The gradient of all parameters is scaled down to this norm; null: not."""
    clip_value: PositiveFloat | None = 1000.0
    """Then each component is clipped to this size; null: not."""
    parts: PartsSettings = PartsSettings()
    """What differs between the parts of the network."""


class ResetSettings(Settings):
    """Soft resets: the network is mixed with a new one, so that it stays able to learn."""

    every_env_steps: PositiveInt
    """Period."""
    mix: Share = 0.01
    """Share of the new weights in every layer."""
    last_layer_mix: Share = 0.8
    """Share of the new weights in the last layer of both heads, on top."""
    extra_samples: NonNegativeInt = 1_600_000
    """How many more samples may then be learned from than the limiter allows."""


class PlateauSettings(Settings):
    """The plateau breaker: a higher learning rate for a while when the best finish time does not get better."""

    patience_env_steps: PositiveInt = 2_000_000
    """For so long it did not get better."""
    lr_factor: Annotated[float, Field(gt=1)] = 2.0
    """By this the learning rate is multiplied."""
    length_env_steps: PositiveInt = 500_000
    """So long it takes until the factor has come back to 1, in the logarithm on a straight line."""


class LearnerSettings(Settings):
    """How a network learns from batches of experience."""

    batch_size: PositiveInt = 512
    """Samples in a batch."""
    quantiles: Annotated[int, Field(ge=2, multiple_of=2)] = 8
    """How many quantiles of each sample, drawn symmetrically; as many for the target."""
    shared_quantiles: bool = False
    """Draw quantiles once for a batch and not for each sample: less work, more noise."""
    kappa: PositiveFloat = 0.005
    """Where the Huber loss turns from a parabola into a line, in units of the return."""
    bootstrap: Literal["double", "greedy", "max_per_quantile"] = "double"
    """Which action the return goes on with. double: the online network's best. greedy: the target network's best.
    max_per_quantile: the target network's best at each quantile, which takes different actions for different luck."""
    discount: ScheduleSettings = ScheduleSettings(points=((0, 0.999), (1_500_000, 0.999), (2_500_000, 1.0)))
    """Of the value after one decision, over env steps; ``schedule_speed`` does not apply."""
    self_loss: SelfLossSettings | None = SelfLossSettings()
    """Scaling by the target's loss against itself; null: none."""
    munchausen: MunchausenSettings | None = None
    """Munchausen terms; null: none. They take the place of ``bootstrap``."""
    loss: Literal["sum", "mean"] = "sum"
    """How a batch's losses become one; the gradient's clipping and epsilon are relative to it."""
    target: TargetSettings = TargetSettings()
    """The target network."""
    optimiser: OptimiserSettings = OptimiserSettings()
    """The optimiser."""
    schedule_speed: PositiveFloat = 1.0
    """Multiplies the env steps of the learning rate's points: larger means slower."""
    pretrained: PretrainedSettings | None = None
    """Weights of pretraining that a new run begins with; null: all are drawn by chance."""
    imitation: ImitationSettings | None = None
    """A second loss on the demonstrations, see ``replay.demonstrations``; null: none."""
    reset: ResetSettings | None = None
    """Soft resets; null: never."""
    plateau: PlateauSettings | None = None
    """The plateau breaker; null: none."""
    draw_batches: Annotated[int, Field(ge=1, le=64)] = 8
    """Batches of which the rows are asked for at once; each question costs a round trip to the replay buffer."""
    draw_ahead: bool = True
    """Ask for the next rows before learning from the present ones, so that nobody waits for the answer."""
    pictures_on_device: bool = False
    """Keep the pictures of the experience and the demonstrations on the GPU, each copied there when it is first drawn
    and not with every batch. A row takes height times width bytes: 0.8 GB for 200,000 of 64x64. There are the rows of
    the largest of ``replay.windows``, and some more; --dry-run says what they take."""
    publish_every: PositiveInt = 20
    """Updates between two publications of weights. At the batch size and samples per insert of the defaults that is
    once in 320 env steps, and 3 of 18 remote calls in 1,000 env steps."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Of the layers; sums, the loss and the weights are float32 in any case. fp16 scales the loss."""
    compile: bool = False
    """Compile the loss with torch.compile, which takes a minute at the start; where it fails, a warning says so."""
    legacy_linf_is_signed: bool = False
    """Defect of the reference: the metric of a gradient's largest component leaves out negative ones."""

    @model_validator(mode="after")
    def _values_can_be_learned(self) -> Self:
        parts, pretrained = self.optimiser.parts, self.pretrained
        both_frozen = parts.value_head.frozen and parts.quantile_layer.frozen
        if pretrained is not None and pretrained.value_only_updates and both_frozen:
            raise ValueError(
                f"pretrained.value_only_updates = {pretrained.value_only_updates} would teach nothing: "
                "value_head and quantile_layer are frozen (optimiser.parts)"
            )
        return self
