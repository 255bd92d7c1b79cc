"""Settings of pretraining: the visual stage, which teaches an encoder to see, and the stage that clones behaviour.

Names and defaults are those of the reference where it has them. What the result is for (network, observation, size of
pictures) is said once, in the configuration of the training that it is for. Settings named ``legacy`` repeat defects
of the reference, for comparison only.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from tmrl_ray.config.settings import Settings
from tmrl_ray.config.training import RunName, RunSettings

Share = Annotated[float, Field(ge=0, le=1)]
Dropout = Annotated[float, Field(ge=0, lt=1)]
Decay = Annotated[float, Field(ge=0, lt=1)]
TaskName = Literal["ae", "vae", "simclr", "atc", "idm", "spr"]
TEMPORAL = ("atc", "idm", "spr")
"""Tasks that look at what comes after a picture."""
ACTED = ("idm", "spr")
"""Tasks that see what was held meanwhile."""


class EarlyStoppingSettings(Settings):
    """An end before the last epoch, when the validation loss has stopped falling; the training loss without one."""

    patience: PositiveInt = 10
    """Epochs without a better loss."""
    min_delta: NonNegativeFloat = 0.0
    """By so much a loss must be lower to be better."""


class JobSettings(Settings):
    """How a stage runs as a Ray Train job."""

    workers: PositiveInt = 1
    """Processes that share each batch. The result does not depend on how many there are, up to rounding, where nothing
    is drawn: augmentation, dropout and random quantiles are each process's own, and so are negatives."""
    gpus_per_worker: NonNegativeFloat = 0.0
    """Reserved for each; more than 0: it computes on a GPU."""
    cpus_per_worker: PositiveFloat = 1.0
    """Reserved for each."""
    max_failures: NonNegativeInt = 3
    """So often a job whose worker died goes on from its last checkpoint."""


class StageRunSettings(RunSettings):
    """What the run of a stage is called, and where its files are."""

    folder: Annotated[Path, Field(validate_default=False)] = Path("runs/pretrain")
    """Folder of the runs of all stages."""


class VisualRunSettings(StageRunSettings):
    """What the run of a visual stage is called, and where its files are."""

    name: RunName = "vis"
    """Its name, that of its folder."""


class BCRunSettings(StageRunSettings):
    """What the run of a bc stage is called, and where its files are."""

    name: RunName = "bc"
    """Its name, that of its folder."""


class StageSettings(Settings):
    """What both stages have in common."""

    rl_config_path: Path | None = None
    """Configuration of the training that the result is for: it gives the size of pictures, the network and the
    observation; null: the defaults."""
    data_dir: Annotated[Path, Field(validate_default=False)] = Path("data/races")
    """The dataset, ``<map>/<race>/``."""
    track_ids: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Only these maps of it; null: all."""
    finished_only: bool = True
    """Leave out races that did not reach the finish."""
    preprocess_cache_dir: Path | None = None
    """Where decoded datasets are kept, in a folder for each dataset and size of pictures, floats and so on that it is
    decoded to; null: beside the runs, ``<run.folder>/cache``."""
    cache_load_in_ram: bool = False
    """Read all of it into memory, if it fits; otherwise it is read from the disk as it is needed."""
    cache_build_workers: NonNegativeInt = 0
    """Processes that decode pictures; 0: this one."""
    val_fraction: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of the maps that is only measured on; with a single map there is none."""
    val_track_ids: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """These maps are only measured on, whatever ``val_fraction`` and the seed say; null: a share drawn by the seed."""
    n_stack: Annotated[int, Field(ge=1, le=32)] = 1
    """How many consecutive pictures are seen, oldest first."""
    stack_mode: Literal["channel", "concat"] = "channel"
    """channel: the encoder sees all pictures of a stack. concat: it sees one at a time, a linear layer joins what it
    makes of them, and the artifact has the encoder of one picture."""
    legacy_last_frame: bool = False
    """Defect of the reference's cloning: of a stack only the last picture is seen."""
    image_normalization: Literal["01", "iqn"] = "01"
    """01: pixels become 0 to 1. iqn: -1 to 1, as the learner's network has them."""
    epochs: PositiveInt = 50
    """Passes over the training maps."""
    batch_size: Annotated[int, Field(ge=4)] = 128
    """Samples in a batch, those of all workers together."""
    lr: PositiveFloat = 1e-3
    """Learning rate of Adam."""
    weight_decay: NonNegativeFloat = 0.0
    """More than 0: AdamW with it."""
    grad_clip: PositiveFloat | None = 1.0
    """The gradient is scaled down to this norm; null: not."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the layers. auto: fp16 with a scaled loss on CUDA, else fp32."""
    early_stopping: EarlyStoppingSettings | None = EarlyStoppingSettings()
    """null: all epochs are trained."""
    prefetch_factor: Annotated[int, Field(ge=1, le=64)] = 4
    """Batches that are prepared ahead."""
    seed: NonNegativeInt = 42
    """Of the split, the weights and all that is left to chance."""
    device: str = "auto"
    """Where to compute without Ray: cpu, cuda, cuda:1, ... auto: cuda if there is one."""
    threads: PositiveInt | None = None
    """Threads with which torch computes on the CPU; null: one for each core, or reserved CPU."""
    job: JobSettings = JobSettings()
    """How it runs on Ray."""


class VisualConfig(StageSettings):
    """The visual stage: what an encoder learns from pictures alone."""

    task: TaskName = "ae"
    """ae: to rebuild the picture. vae: through a narrow, noisy code. simclr: to know it again when it is cropped and
    lit otherwise. atc: to know what comes shortly after. idm: which actions led from one picture to a later one. spr:
    what its own features of the following pictures will be, given the actions."""
    mixture: Annotated[dict[TaskName, PositiveFloat], Field(min_length=1)] | None = None
    """Several tasks at once, each with the weight of its loss; null: ``task`` alone."""
    vae_latent: PositiveInt = 64
    """Width of the code of vae."""
    kl_weight: NonNegativeFloat = 1e-3
    """Weight of its distance from the normal distribution, summed over the code, beside the mean squared error."""
    proj_dim: PositiveInt = 128
    """Width in which simclr, atc and spr compare."""
    temperature: PositiveFloat = 0.5
    """Of the similarities of simclr."""
    shift_pixels: Annotated[int, Field(ge=0, le=32)] = 8
    """Pictures of simclr, atc and spr are moved by up to so many pixels, each by its own."""
    brightness: Annotated[float, Field(ge=0, lt=1)] = 0.2
    """Views of simclr are brighter or darker by up to this share."""
    atc_ahead_ms: tuple[int, int] = (50, 100)
    """Nearest and farthest time after a picture that atc compares with."""
    atc_temperature: PositiveFloat = 0.1
    """Of the similarities of atc."""
    momentum: Decay = 0.99
    """Of the slow encoder that atc and spr compare with."""
    idm_ahead_ms: PositiveInt = 200
    """Farthest time between the two pictures of idm."""
    spr_ahead_ms: PositiveInt = 250
    """How far spr looks ahead."""
    spr_step_ms: PositiveInt = 50
    """Time of each of its steps, a decision's."""
    legacy_sigmoid_output: bool = False
    """Defect of the reference: decoders end in 0 to 1 whatever the pictures' range is."""
    legacy_batch_augmentation: bool = False
    """Defect of the reference: one crop and one brightness for a whole batch, and pixels cut off at 0 to 1."""
    run: VisualRunSettings = VisualRunSettings()
    """What the run is called, and where its files are."""

    @property
    def weights(self) -> dict[TaskName, float]:
        """The weight of each task that is trained."""
        return dict(self.mixture) if self.mixture is not None else {self.task: 1.0}

    @property
    def needs_actions(self) -> bool:
        """Whether a task sees what was held."""
        return any(name in ACTED for name in self.weights)

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        nearest, farthest = self.atc_ahead_ms
        if not 0 < nearest <= farthest:
            raise ValueError(f"atc_ahead_ms = {list(self.atc_ahead_ms)} must be two rising times above 0")
        if self.legacy_last_frame:
            raise ValueError("legacy_last_frame is for the bc stage: the reference's visual stage sees whole stacks")
        return self


class AuxiliarySettings(Settings):
    """The visual tasks beside which behaviour is cloned in the mode auxiliary_head."""

    visual: VisualConfig = VisualConfig(mixture={"atc": 1.0, "idm": 1.0})
    """Which tasks, and their settings; those that both stages have are taken from the stage itself."""
    bc_weight: PositiveFloat = 0.1
    """Weight of the cloning loss beside that of the visual tasks."""


class ClosedLoopSettings(Settings):
    """Races that the cloned policy drives in the simulator at the end, with the best and with the last weights."""

    maps: Annotated[tuple[str, ...], Field(min_length=1)]
    """Tracks, by name or YAML file."""
    races: PositiveInt = 4
    """On each of them; actions are drawn from the policy, and in the first race its best ones are taken."""


class BCConfig(StageSettings):
    """The stage that clones behaviour: what an expert did when it saw a picture, and floats."""

    bc_mode: Literal["backbone", "full_policy", "auxiliary_head"] = "backbone"
    """backbone: the artifact has the encoder, and the heads that are asked for. full_policy: it has all that is needed
    to drive. auxiliary_head: cloning is a side task of a visual stage, and the artifact has encoder and heads."""
    auxiliary: AuxiliarySettings = AuxiliarySettings()
    """For the mode auxiliary_head."""
    bc_target: Literal["current_tick", "next_tick"] = "current_tick"
    """current_tick: the action at the time of the picture. next_tick: that at the time of the next picture."""
    bc_time_offsets_ms: Annotated[tuple[int, ...], Field(min_length=1)] = (0,)
    """Times after the picture of which the action is told, a head for each; with next_tick (0) stands for the next
    picture's time."""
    bc_offset_weights: tuple[NonNegativeFloat, ...] | None = None
    """Weight of each head's loss; null: 1 each. The loss is their weighted sum."""
    bc_multi_offset_mode: Literal["separate", "fused"] = "separate"
    """separate: a head for each offset. fused: one head that tells all of them."""
    actions: Literal[12, 9, 27] = 12
    """Classes. 12: the agent's actions. 9: steering by what the pedals do (drive, coast, brake). 27: steering,
    accelerator and brake in three steps each, of which keys use the outer ones."""
    encoder_init_path: Path | None = None
    """Artifact of a visual stage, or an encoder.pt of the reference, of which the encoder is taken. One of a single
    picture sees, in a stack, the newest alone until it learns to use the others."""
    bc_resume_run_dir: Path | None = None
    """Artifact of a bc stage that this one fine-tunes; heads for offsets that it has not start as its first one."""
    use_floats: bool = False
    """See the floats as well, through the float head."""
    save_float_head: bool = True
    """Put it into the artifact."""
    use_actions_head: bool = False
    """Heads in the layout of the advantage head, with a hidden layer; false: linear ones."""
    save_actions_head: bool = True
    """Put those into the artifact, each under its offset."""
    legacy_first_head: bool = False
    """Defect of the reference: the head of the first offset goes under offset 0, whatever it was trained for."""
    use_full_iqn: bool = False
    """Train the whole quantile network, with its values as logits."""
    full_iqn_random_tau: bool = False
    """At a quantile drawn for each sample; false: at 0.5."""
    full_iqn_dueling: bool = True
    """Take the values as logits; false: the advantages. Their softmax is the same, so the value head learns nothing
    either way."""
    dropout: Dropout = 0.0
    """Of features, before the heads."""
    action_head_dropout: Dropout = 0.0
    """Inside the heads with a hidden layer."""
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of each label that is spread over all classes."""
    class_balance: Share = 0.0
    """Classes count by their frequency to the power of minus this: 0: by how often they are, 1: all alike."""
    mirror_share: Share = 0.0
    """Share of the training samples that are seen in a mirror, floats and labels too."""
    shift_pixels: Annotated[int, Field(ge=0, le=32)] = 0
    """Training pictures are moved by up to so many pixels, each stack by its own."""
    mask_previous_actions: Share = 0.0
    """Share of the training samples that do not see the previous actions; 1: they are not seen in driving either."""
    legacy_previous_ticks: bool = False
    """Defect of the reference: the previous actions are those of the last ticks, and not of the last decisions."""
    legacy_mean_floats: bool = False
    """Defect of the reference's v3: floats go in, and their means are seen in their place."""
    main_actions: tuple[NonNegativeInt, ...] = (0, 1, 2, 3, 10, 11)
    """Of which the mean accuracy is told as main_actions."""
    closed_loop: ClosedLoopSettings | None = None
    """null: nothing is driven."""
    epochs: PositiveInt = 30
    """Passes over the training maps."""
    run: BCRunSettings = BCRunSettings()
    """What the run is called, and where its files are."""

    @property
    def offset_weights(self) -> tuple[float, ...]:
        """The weight of each offset's loss."""
        weights = self.bc_offset_weights
        return tuple(1.0 for _ in self.bc_time_offsets_ms) if weights is None else weights

    @model_validator(mode="after")
    def _offsets_fit(self) -> Self:
        offsets, weights = self.bc_time_offsets_ms, self.bc_offset_weights
        if len(set(offsets)) < len(offsets):
            raise ValueError(f"bc_time_offsets_ms = {list(offsets)} names an offset twice")
        if weights is not None and len(weights) != len(offsets):
            raise ValueError(
                f"bc_offset_weights has {len(weights)} weights for {len(offsets)} offsets: give one for each"
            )
        if weights is not None and not sum(weights) > 0:
            raise ValueError("bc_offset_weights are all 0: nothing would be learned")
        if self.bc_target == "next_tick" and offsets != (0,):
            raise ValueError(
                f"bc_target: next_tick says which action is told; bc_time_offsets_ms = {list(offsets)} too"
            )
        return self

    @model_validator(mode="after")
    def _network_fits(self) -> Self:
        if self.use_full_iqn and not self.use_floats:
            raise ValueError("use_full_iqn needs use_floats: true, for the network sees them")
        if self.use_full_iqn and self.image_normalization != "iqn":
            raise ValueError("use_full_iqn needs image_normalization: iqn, which is the network's own")
        if self.use_full_iqn and (self.stack_mode == "concat" or self.legacy_last_frame):
            raise ValueError("use_full_iqn needs stack_mode: channel without legacy_last_frame, as the network has it")
        if self.full_iqn_random_tau and not self.use_full_iqn:
            raise ValueError("full_iqn_random_tau means nothing without use_full_iqn: true")
        if self.action_head_dropout and not (self.use_actions_head or self.use_full_iqn):
            raise ValueError("action_head_dropout needs use_actions_head: true, for linear heads have no inside")
        of_floats = ("mask_previous_actions", "legacy_previous_ticks", "legacy_mean_floats")
        if not self.use_floats and (given := [name for name in of_floats if getattr(self, name)]):
            raise ValueError(f"{' and '.join(given)} mean nothing without use_floats: true")
        return self

    @model_validator(mode="after")
    def _mode_fits(self) -> Self:
        if self.bc_mode == "full_policy" and not (0 in self.bc_time_offsets_ms and self.bc_target == "current_tick"):
            raise ValueError("bc_mode: full_policy drives by the action of the moment: have 0 in bc_time_offsets_ms")
        if self.bc_mode == "auxiliary_head" and self.use_full_iqn:
            raise ValueError("bc_mode: auxiliary_head trains heads beside a visual stage, not with use_full_iqn: true")
        if self.bc_mode == "auxiliary_head" and self.legacy_last_frame:
            raise ValueError("bc_mode: auxiliary_head has visual tasks, which see whole stacks: no legacy_last_frame")
        if self.use_full_iqn and self.actions != 12:
            raise ValueError(f"use_full_iqn has the agent's 12 actions, not {self.actions}")
        if max(self.main_actions, default=0) >= self.actions:
            raise ValueError(f"main_actions = {list(self.main_actions)} must be below actions = {self.actions}")
        return self


StageConfig = VisualConfig | BCConfig
"""Of either stage."""
