"""Settings of what a learner takes over from pretraining, and of the cloning that goes on while it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, ValidationInfo, model_validator

from tmrl_ray.config.schedule import ScheduleSettings
from tmrl_ray.config.settings import Settings

PartName = Literal["encoder", "float_head", "quantile_layer", "advantage_head", "value_head"]


class PretrainedSettings(Settings):
    """Weights that a run begins with. A path alone stands for ``artifact``: ``learner.pretrained=runs/cloned``.

    A resumed run goes on from its checkpoint and takes over nothing.
    """

    artifact: Path | None = None
    """Folder of a pretraining run, or of an artifact, or a file of the reference; null: see the parts below."""
    parts: Annotated[tuple[PartName, ...], Field(min_length=1)] | None = None
    """What is taken over from ``artifact``; null: all that it has for the network."""
    encoder: Path | None = None
    """Artifact of which the convolutions are taken, and not of ``artifact``."""
    float_head: Path | None = None
    """Artifact of which the layers of the floats are taken."""
    quantile_layer: Path | None = None
    """Artifact of which the layer of the quantiles is taken."""
    advantage_head: Path | None = None
    """Artifact of which the head is taken that tells actions apart."""
    value_head: Path | None = None
    """Artifact of which the head is taken that all actions have in common."""
    offset_ms: int = 0
    """Of heads that tell what is pressed so much later, which one is taken."""
    logit_temperature: PositiveFloat = 0.01
    """Heads of cloned behaviour tell logits, which are hundreds of times as large as returns: their last layers are
    multiplied by this. 1: as they are."""
    value_only_updates: NonNegativeInt = 0
    """So many updates teach the value head and the quantile layer only, whatever else would learn."""
    wait_for: str | None = None
    """Name of a pretraining run: learning begins with the artifact that it announces, in place of ``artifact``."""
    follow: str | None = None
    """Name of a pretraining run: what it announces is taken over while the run goes on, if it fits the network."""
    legacy_pixels: bool = False
    """Defect of the reference: an encoder that learned from pixels 0 to 1 is given -1 to 1 as it is. false: its first
    layer is converted, so that it makes of a picture what it made before."""
    legacy_partial: bool = False
    """Defect of the reference: tensors that do not fit stay as they were drawn, unless none fits. Of a head that was
    cloned without floats that is the first layer, which the reference saves without the columns of the floats."""

    @model_validator(mode="before")
    @classmethod
    def _a_path_is_the_artifact(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, str | Path):
            return {"artifact": value if info.mode == "json" else Path(value)}
        if isinstance(value, dict) and isinstance(value.get("parts"), list):  # as files have it; pydantic is strict
            return value | {"parts": tuple(value["parts"])}
        return value

    @model_validator(mode="after")
    def _something_to_take(self) -> Self:
        whole = [name for name in ("artifact", "wait_for", "follow") if getattr(self, name) is not None]
        if not whole and not self.single_parts:
            raise ValueError("says nothing that could be taken over: give it an artifact")
        if self.artifact is not None and self.wait_for is not None:
            raise ValueError("artifact and wait_for exclude each other: the latter tells the artifact when it is there")
        if self.parts is not None and not whole:
            raise ValueError("parts are those of an artifact, and there is none")
        return self

    @property
    def single_parts(self) -> dict[PartName, Path]:
        """The parts that have an artifact of their own."""
        paths: dict[PartName, Path | None] = {
            "encoder": self.encoder,
            "float_head": self.float_head,
            "quantile_layer": self.quantile_layer,
            "advantage_head": self.advantage_head,
            "value_head": self.value_head,
        }
        return {part: path for part, path in paths.items() if path is not None}


class ImitationSettings(Settings):
    """A second loss on demonstrations, which draws the policy to what the expert did: loss + weight * imitation."""

    kind: Literal["cross_entropy", "margin"] = "cross_entropy"
    """cross_entropy: of the expert's action under softmax(mean value / temperature). margin: the expert's action must
    be better than every other one by ``margin`` (Hester et al. 2018, "Deep Q-learning from Demonstrations")."""
    weight: ScheduleSettings = ScheduleSettings(points=((0, 0.5), (1_000_000, 0.0)))
    """Of this loss beside the other, over env steps; 0: it is not computed."""
    temperature: PositiveFloat = 0.01
    """Of the softmax, in units of the return: actions differ by about a hundredth."""
    margin: PositiveFloat = 0.02
    """By how much the expert's action must be better, in units of the return: one to three times the action gap."""
    q_filter: bool = True
    """Only where the target network holds the expert's action for at least as good as what the soft policy of this
    temperature earns on average (after Nair et al. 2018): where the agent knows better, it is left alone. Costs a pass
    of the target network."""
    label_smoothing: Annotated[NonNegativeFloat, Field(lt=1)] = 0.0
    """Share of the expert's choice that is given to all actions alike; for cross_entropy."""
