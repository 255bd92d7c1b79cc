"""Takes pretrained weights over into a network: all of what was asked for, exactly as it is needed, or nothing.

First it is worked out what would go where; whatever does not fit is told at once, each tensor with both shapes. Only
then is anything changed::

    injection = Injection.plan(network, settings, decision_period_ms=50)     # raises, or is complete
    injection.apply(network)

Three things are converted on the way: an encoder of several channels becomes one of a single one, by its mean over
the channels (as the reference does); one that learned from pixels 0 to 1 is made to take -1 to 1; and heads that tell
logits are brought to the scale of returns. Shape letters: O I outputs and inputs of a layer, K size of its kernel.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tmrl_ray.config.pretrained import PartName, PretrainedSettings
from tmrl_ray.errors import ArtifactError, ConfigError
from tmrl_ray.iqn.encoders import ConvEncoder
from tmrl_ray.iqn.network import IQN, PARTS, part_of
from tmrl_ray.runs.artifact import Artifact, Origin, PartKey
from tmrl_ray.runs.artifact_reference import open_artifact

FIRST_LAYER = "encoder.0"
PIXELS_01 = 128.0 / 255.0
"""Pixels as 0 to 1 are this times pixels as the network sees them, (pixels - 128) / 128, plus the same once more."""
NORMALISATION = ("float_mean", "float_std")
"""By which floats are normalised: must be what the network does, where an artifact tells."""
SAME_NORMALISATION = 1e-4
"""Relative: float32 from different ways of computing the same."""


@dataclass(frozen=True, eq=False)
class Taken:
    """A tensor that is taken over."""

    name: str
    """In ``IQN.state_dict()``."""
    part: str
    tensor: Tensor
    """As it goes into the network."""
    source: str
    """The file that it is of."""
    change: str
    """What was done to it; empty: nothing."""


@dataclass(frozen=True, eq=False)
class Injection:
    """What is taken over, complete and checked."""

    taken: tuple[Taken, ...]
    """No tensor twice: a part that has an artifact of its own is taken from there alone."""
    left_out: tuple[str, ...]
    """Files of the artifacts for which the network has no part, or of which nothing was asked for; and, repeating the
    reference's defect, tensors that do not fit."""
    origins: Mapping[str, Origin]
    """Of the artifacts, by their path."""

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of the network that are taken over, in the order of the network."""
        taken = {each.part for each in self.taken}
        return tuple(part for part in PARTS if part in taken)

    @property
    def identity(self) -> str:
        """SHA-256 of all that is taken over: the same again need not be taken over again."""
        digest = hashlib.sha256()
        for each in self.taken:
            digest.update(each.name.encode())
            digest.update(each.tensor.contiguous().numpy().tobytes())
        return digest.hexdigest()

    @classmethod
    def plan(
        cls,
        network: IQN,
        settings: PretrainedSettings,
        *,
        decision_period_ms: int,
        observation: str,
        announced: Path | None = None,
    ) -> Injection:
        """Work out what is taken over.

        Args:
            network: what it is for; is not changed.
            settings: what is wanted.
            decision_period_ms: of the game.
            observation: ``ObservationLayout.hash`` of the floats.
            announced: the artifact that was waited for; None: the one that the settings name.

        Raises:
            ArtifactError: an artifact cannot be read, or does not fit; nothing was changed.
            ConfigError: there is nothing in it of what was asked for.
        """
        expects = _Expected(network, settings, decision_period_ms, observation)
        taken, left_out, origins = list[Taken](), list[str](), dict[str, Origin]()
        problems, misfits = list[str](), list[str]()
        whole, singles = announced or settings.artifact, settings.single_parts
        sources: list[tuple[Path, tuple[PartName, ...] | None]] = [] if whole is None else [(whole, settings.parts)]
        sources += [(path, (part,)) for part, path in singles.items()]
        for path, parts in sources:
            elsewhere = singles.keys() if path is whole else set[PartName]()
            artifact = open_artifact(path)
            where = str(artifact.source or path)
            keys = list(_wanted(artifact, parts, settings.offset_ms, path, elsewhere))
            origins[where] = artifact.origin
            problems += [f"{where}: {problem}" for problem in expects.unlike(artifact.origin, keys)]
            left_out += [f"{where}/{key.file}" for key in artifact.parts if key not in keys]
            for key in keys:
                for each in expects.match(artifact, key):
                    if isinstance(each, Taken):
                        taken.append(each)
                    else:
                        misfits.append(each)
        if settings.legacy_partial and taken:
            left_out += misfits
        else:
            problems += misfits
        if problems:
            raise ArtifactError(
                "\n  ".join(["the pretrained weights do not fit the network:", *problems]),
                hint="Nothing was taken over. Leave parts out (learner.pretrained.parts), or train the stage for this "
                "network: its rl_config_path names the configuration.",
            )
        return cls(tuple(taken), tuple(left_out), origins)

    @torch.no_grad()
    def apply(self, network: IQN) -> None:
        """Write it into a network like the one that it was planned for, in place."""
        tensors = network.state_dict()
        for each in self.taken:
            tensors[each.name].copy_(each.tensor)


class _Expected:
    """What a network expects of an artifact."""

    def __init__(self, network: IQN, settings: PretrainedSettings, decision_period_ms: int, observation: str) -> None:
        self._tensors = network.state_dict()
        self._network = network
        self._settings = settings
        self._period_ms = decision_period_ms
        self._observation = observation
        self._converts_pixels = isinstance(getattr(network, "encoder", None), ConvEncoder) and (
            not network.settings.spectral_norm
        )

    def unlike(self, origin: Origin, keys: list[PartKey]) -> Iterator[str]:
        """Yield what shapes do not tell: other pictures, other floats."""
        parts, size = {key.part for key in keys}, self._network.io.frame_size
        if "encoder" in parts and size is not None and origin.frame_size not in {None, size}:
            yield f"pictures of {_times(origin.frame_size)} pixels, the network sees {_times(size)}"
        pixels_differ = origin.frame_normalization == "01" and not self._settings.legacy_pixels
        if "encoder" in parts and pixels_differ and not self._converts_pixels:
            yield (
                "pixels 0 to 1, the network sees -1 to 1, and an encoder that pads its pictures or has spectral norms "
                "cannot be converted exactly: train it with image_normalization: iqn"
            )
        if "float_head" in parts:
            if origin.observation not in {None, self._observation}:
                yield f"floats of the layout {str(origin.observation)[:12]}, the network sees {self._observation[:12]}"
            if origin.decision_period_ms not in {None, self._period_ms}:
                yield f"actions every {origin.decision_period_ms} ms, the network sees them every {self._period_ms} ms"

    def match(self, artifact: Artifact, key: PartKey) -> Iterator[Taken | str]:
        """Yield each tensor of a part, or what is wrong with it."""
        source = f"{artifact.source}/{key.file}"
        found = {name: torch.from_numpy(np.asarray(array)) for name, array in artifact.parts[key].items()}
        for name in NORMALISATION:
            if name in found and not self._is_normalised_alike(name, found[name]):
                yield f"{source}: {name} is not that of the network: {_unlike(found[name], self._tensors[name])}"
        names = {name for name in self._tensors if part_of(name) == key.part}
        given = found.keys() - set(NORMALISATION)
        averages = self._averages(found)
        for name in [name for name in self._tensors if name in names] + sorted(given - names):
            shapes = [tuple(each[name].shape) if name in each else None for each in (found, self._tensors)]
            if name not in names:
                yield f"{source}: {name} is {shapes[0]}, the network has no such tensor"
            elif name not in found:
                yield f"{source}: {name} is not there, the network has {shapes[1]}"
            elif shapes[0] != shapes[1] and not (averages and name == f"{FIRST_LAYER}.weight"):
                yield f"{source}: {name} is {shapes[0]}, the network has {shapes[1]}"
            elif self._settings.legacy_partial and self._is_without_floats(name, found[name]):
                yield f"{source}: {name} was cloned without floats, for which the network has columns"
            else:
                tensor, change = self._converted(name, found, artifact.origin, averages=averages)
                yield Taken(name, key.part, tensor, source, change)

    def _is_without_floats(self, name: str, tensor: Tensor) -> bool:
        """Return whether a head's first layer weighs no floats: its columns for them were put in as zeros."""
        columns = self._network.settings.float_hidden
        return name.endswith("_head.hidden.0.weight") and not bool(tensor[:, -columns:].any())

    def _averages(self, found: Mapping[str, Tensor]) -> bool:
        """Return whether an encoder of several channels is for a network that sees one picture."""
        theirs, ours = found.get(f"{FIRST_LAYER}.weight"), self._tensors.get(f"{FIRST_LAYER}.weight")
        if theirs is None or ours is None or theirs.ndim != 4 or ours.shape[1] != 1 or theirs.shape[1] == 1:
            return False
        return bool(theirs.shape[0] == ours.shape[0] and theirs.shape[2:] == ours.shape[2:])

    def _converted(
        self, name: str, found: Mapping[str, Tensor], origin: Origin, *, averages: bool
    ) -> tuple[Tensor, str]:
        """Return a tensor as the network needs it, and what was done to it."""
        tensor, changes = found[name].float(), []
        if name.startswith(f"{FIRST_LAYER}."):
            weight = found[f"{FIRST_LAYER}.weight"].float()  # (O, I, K, K)
            if averages:
                weight = weight.mean(dim=1, keepdim=True)
                if name.endswith("weight"):
                    tensor = weight
                    changes.append(f"mean of {found[name].shape[1]} channels")
            if origin.frame_normalization == "01" and not self._settings.legacy_pixels:
                tensor = (
                    weight * PIXELS_01 if name.endswith("weight") else tensor + PIXELS_01 * weight.sum(dim=(1, 2, 3))
                )
                changes.append("for pixels -1 to 1")
        temperature = self._settings.logit_temperature
        if origin.stage == "bc" and "_head.last." in name and temperature != 1.0:
            tensor = tensor * temperature
            changes.append(f"times {temperature:g}")
        return tensor, ", ".join(changes)

    def _is_normalised_alike(self, name: str, theirs: Tensor) -> bool:
        ours = self._tensors[name].cpu()
        same = ours.shape == theirs.shape and torch.allclose(ours, theirs.float(), rtol=SAME_NORMALISATION, atol=1e-6)
        return bool(same)


def _wanted(
    artifact: Artifact,
    parts: tuple[PartName, ...] | None,
    offset_ms: int,
    path: Path,
    elsewhere: Collection[PartName],
) -> Iterator[PartKey]:
    """Yield what is taken of an artifact, in the order of the network's parts; not what comes from ``elsewhere``."""
    has = {key.part for key in artifact.parts}
    wanted = [part for part in PARTS if part in (has if parts is None else parts) and part not in elsewhere]
    missing = [part for part in wanted if part not in has]
    if missing or not wanted:
        raise ConfigError(
            f"{path} has no {' and no '.join(missing) or 'part of the network'}, "
            f"only {', '.join(sorted(key.file for key in artifact.parts))}",
            hint="Name another artifact for it, or leave it out.",
        )
    for part in wanted:
        offsets_ms = artifact.offsets_ms(part)
        if PartKey(part) in artifact.parts:
            yield PartKey(part)
        elif offset_ms in offsets_ms:
            yield PartKey(part, offset_ms)
        else:
            raise ConfigError(
                f"{path} has no {part} for {offset_ms} ms, only for {', '.join(map(str, offsets_ms))} ms",
                hint="A head of another time tells other actions; learner.pretrained.offset_ms takes one nevertheless.",
            )


def _times(size: tuple[int, int] | None) -> str:
    return "x".join(map(str, size or ()))


def _unlike(theirs: Tensor, ours: Tensor) -> str:
    if theirs.shape != ours.shape:
        return f"{tuple(theirs.shape)} there, {tuple(ours.shape)} here"
    index = int((theirs.float() - ours.cpu()).abs().argmax())
    return f"number {index} is {theirs[index]:.6g} there, {ours[index]:.6g} here"
