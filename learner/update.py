"""One learner step: a batch in, better weights out. The heart of the learner; needs torch, but neither Ray nor a GPU.

In the order of a step: schedules, quantiles, loss (:mod:`learner.objective`), gradient, optimiser
(:mod:`learner.optimiser`), target network (:mod:`learner.target`). The host never waits for the device: whatever
depends on the numbers of the batch stays a tensor, see :mod:`learner.report`.

A batch that gives a loss or a gradient that is not finite changes nothing: neither weights, moments, averages nor the
target. Its report says so and carries its rows. Only clocks and the generator go on, and with spectral norm the
estimates of the weights' singular vectors, which do not depend on batches.
"""

from __future__ import annotations

import copy
import logging
import math
import warnings
from collections.abc import Mapping
from typing import Any, Protocol, cast

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from learner.flat import FlatParameters
from learner.objective import Averages, Losses, Objective, Quantiles
from learner.optimiser import LossScale, Optimiser
from learner.plateau import PlateauBreaker
from learner.pretrained import Injection
from learner.report import TESTED, Soundness, StepReport
from learner.target import TargetClock
from tmrl_ray.config.learner import LearnerSettings, PartSettings
from tmrl_ray.errors import ConfigError, DataError
from tmrl_ray.experience.batches import Batch
from tmrl_ray.iqn.network import IQN, build_network, part_of, symmetric_quantiles

log = logging.getLogger(__name__)

STATE_FORMAT = 3
VALUE_PARTS = ("quantile_layer", "value_head")
"""What learns while only values are to be learned."""


class Evaluate(Protocol):
    """Works out the objective; see :class:`learner.objective.Losses`."""

    def __call__(  # noqa: PLR0913 - both networks, and all that a loss depends on
        self,
        online: IQN,
        target: IQN,
        batch: Batch,
        quantiles: Quantiles,
        averages: Averages,
        imitation_weight: Tensor | None = None,
    ) -> Objective:
        """Return the objective of a batch."""


class CompileFallbackWarning(UserWarning):
    """torch.compile failed; the update goes on without it, slower."""


class LearnerUpdate:
    """Trains a network, batch by batch.

    Args:
        network: is moved to ``device`` and trained in place.
        settings: the learner's.
        seed: of the quantiles and whatever else is drawn, and of the networks of soft resets.
        device: where to compute.

    Raises:
        ConfigError: no part of the network would learn.
    """

    def __init__(
        self, network: IQN, settings: LearnerSettings, *, seed: int, device: torch.device | str = "cpu"
    ) -> None:
        self.settings = settings
        self.device = torch.device(device)
        self.online = network.to(self.device).train()
        """The network that learns."""
        self.target = copy.deepcopy(self.online).requires_grad_(False).eval()
        """The network that says what comes next."""
        self._parameters = FlatParameters(self.online, part_of)
        self._target_parameters = FlatParameters(self.target, part_of)
        self._optimiser = Optimiser(self._parameters, settings.optimiser)
        self._loss_scale = LossScale(self.device) if settings.precision == "fp16" else None
        self._averages = Averages.start(settings, self.device)
        self.target_clock = TargetClock(settings.target)
        """Counts samples, and updates of the target."""
        self.plateau = PlateauBreaker(settings.plateau)
        """Told of finish times by whoever evaluates."""
        self._seed = seed
        self._generator = torch.Generator(self.device).manual_seed(seed)
        self.steps = 0
        """Steps so far, undone ones included."""
        self.resets = 0
        """Soft resets so far."""
        self.taken_over: str | None = None
        """Identity of the pretrained weights that were taken over last; None: none were."""
        self._value_only_until = 0
        self._learning = dict.fromkeys(self._parameters.parts, True)
        self._eager: Evaluate = Losses(settings)
        self._evaluate: Evaluate = self._eager
        if settings.compile:
            mode = "max-autotune-no-cudagraphs" if self.device.type == "cuda" else None
            self._evaluate = cast(Evaluate, torch.compile(self._eager, mode=mode, dynamic=False))
        if not any(self._part(part).learns(0) for part in self._parameters.parts):
            raise ConfigError(
                "learner.optimiser.parts: every part of the network is frozen at the start, nothing would learn",
                hint="unfreeze at least one part, or do not start a learner",
            )

    @property
    def compiled(self) -> bool:
        """Whether the loss runs compiled; false also after torch.compile failed."""
        return self._evaluate is not self._eager

    def step(self, batch: Batch, *, env_steps: int) -> StepReport:
        """Learn from ``batch``, which is on the update's device, without waiting for that device.

        A compiled update waits where it compiles: in its first step, and where parts of the network begin to learn or
        demonstrations to count. So does a step with a soft reset, which is rare.

        Args:
            batch: any number of samples; a compiled loss wants the same number each time.
            env_steps: env steps of the run so far, the clock of all schedules; never goes back.
        """
        if batch.floats.device.type != self.device.type:
            raise ValueError(f"the batch is on {batch.floats.device}, the update on {self.device}")
        rate = self.learning_rate(env_steps)
        extra_samples = self._reset_if_due(env_steps)
        self._set_learning(env_steps)
        objective = self._differentiate(batch, self._imitation_weight(env_steps))
        scale = None if self._loss_scale is None else self._loss_scale.scale.clone()
        norms = self._optimiser.norms(loss_scale=scale, learning=self._learning)
        scaled = None if scale is None else scale > LossScale.LEAST
        soundness = Soundness.of(objective.loss, norms.total, scaled=scaled)
        rates = {part: rate * self._part(part).lr_multiplier for part, learns in self._learning.items() if learns}
        self._optimiser.step(rates, norms, sound=soundness.sound, loss_scale=scale)
        if self._loss_scale is not None:
            self._loss_scale.update(sound=soundness.sound, overflow=soundness.overflow)
        self._averages = self._averages.moved(objective.averages, soundness.sound)
        target_rate = self.target_clock.advance(len(batch))
        self._follow(target_rate, soundness.sound)
        self.steps += 1
        figures = objective.figures | soundness.figures() | self._optimiser.figures(norms)
        figures["self_loss"] = self._averages.self_loss
        if scale is not None:
            figures["loss_scale"] = scale
        return StepReport(
            step=self.steps,
            env_steps=env_steps,
            learning_rate=rate,
            target_rate=target_rate,
            extra_samples=extra_samples,
            names=tuple(figures),
            figures=torch.stack([figure.detach().float() for figure in figures.values()]),
            td_errors=objective.td_errors.masked_fill(soundness.set_aside, math.nan),
            indices=batch.indices.clone(),
            generations=batch.generations.clone(),
        )

    @torch.no_grad()
    def test(self, batch: Batch) -> Tensor:
        """Return the figures ``TESTED`` of a batch that is not learned from, (figures,) on the device."""
        quantiles = self._quantiles(len(batch))
        self.online.eval()
        figures = self._eager(self.online, self.target, batch, quantiles, self._averages).figures
        self.online.train()
        return torch.stack([figures[name].float() for name in TESTED])

    def take_over(self, injection: Injection) -> None:
        """Write pretrained weights into both networks; their parts learn with fresh moments from then on."""
        injection.apply(self.online)
        injection.apply(self.target)
        self._optimiser.forget(injection.parts)
        self.taken_over = injection.identity
        pretrained = self.settings.pretrained
        self._value_only_until = self.steps + (0 if pretrained is None else pretrained.value_only_updates)

    def learning_rate(self, env_steps: int) -> float:
        """Return the common learning rate after ``env_steps``, the plateau breaker's factor included."""
        schedule = self.settings.optimiser.learning_rate
        return schedule.at(env_steps, speed=self.settings.schedule_speed) * self.plateau.factor(env_steps)

    def weights(self) -> dict[str, Tensor]:
        """Return what is needed to act: copies on the CPU, by the names of ``IQN.state_dict()``."""
        return {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.online.state_dict().items()}

    def packed_weights(self) -> bytes:
        """Return the same as safetensors. Call it where no update is under way: nothing is copied before."""
        return save({name: each.detach().cpu().contiguous() for name, each in self.online.state_dict().items()})

    def state_dict(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that is needed to go on: tensors on the CPU by name, and JSON-able values."""
        tensors = {f"online.{name}": tensor for name, tensor in self.weights().items()}
        for name, tensor in self.target.state_dict().items():
            tensors[f"target.{name}"] = tensor.detach().cpu().contiguous().clone()
        tensors |= {f"optimiser.{name}": tensor for name, tensor in self._optimiser.state_dict().items()}
        tensors |= {f"average.{name}": value.cpu().clone() for name, value in self._averages._asdict().items()}
        if self._loss_scale is not None:
            tensors |= {f"loss_scale.{name}": tensor for name, tensor in self._loss_scale.state_dict().items()}
        tensors["generator"] = self._generator.get_state()
        values = {
            "format": STATE_FORMAT,
            "device": self.device.type,
            "steps": self.steps,
            "seed": self._seed,
            "resets": self.resets,
            "taken_over": self.taken_over,
            "value_only_until": self._value_only_until,
            "target": self.target_clock.state_dict(),
            "plateau": self.plateau.state_dict(),
        }
        return tensors, values

    def load_state_dict(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        """Take over what :meth:`state_dict` returned, of an update with the same settings.

        Chance does not go on exactly on another kind of device, whose generator has another kind of state.

        Raises:
            DataError: it is of another format, or of another network; nothing was changed.
        """
        self._check(tensors, values)
        self.online.load_state_dict(_below("online.", tensors))
        self.target.load_state_dict(_below("target.", tensors))
        self._optimiser.load_state_dict(_below("optimiser.", tensors))
        self._averages = Averages(
            **{name: value.to(self.device) for name, value in _below("average.", tensors).items()}
        )
        if self._loss_scale is not None:
            self._loss_scale.load_state_dict(_below("loss_scale.", tensors))
        self.steps, self.resets, self._seed = values["steps"], values["resets"], values["seed"]
        self._go_on_with_chance(tensors["generator"], values["device"])
        self.taken_over, self._value_only_until = values["taken_over"], values["value_only_until"]
        self.target_clock.load_state_dict(values["target"])
        self.plateau.load_state_dict(values["plateau"])

    def diagnostics(self) -> dict[str, float]:
        """Return figures of each parameter: sizes of weights, gradient, moments. Waits for the device, once."""
        return self._optimiser.diagnostics(signed_linf=self.settings.legacy_linf_is_signed)

    def _imitation_weight(self, env_steps: int) -> Tensor | None:
        """Return the weight () of the loss on demonstrations after ``env_steps``; None: there is none then."""
        imitation = self.settings.imitation
        weight = 0.0 if imitation is None else imitation.weight.at(env_steps)
        return torch.full((), weight, device=self.device) if weight else None

    def _differentiate(self, batch: Batch, imitation_weight: Tensor | None) -> Objective:
        """Return the objective, its gradient worked out."""
        quantiles = self._quantiles(len(batch))
        self.online.draw(len(batch), self._generator)
        if self.compiled:
            try:
                return self._backward(self._evaluate, batch, quantiles, imitation_weight)
            except (RuntimeError, OSError, ImportError) as error:  # what torch.compile and its compilers raise
                warnings.warn(
                    f"torch.compile failed, the update goes on without it: {error}",
                    CompileFallbackWarning,
                    stacklevel=3,
                )
                self._evaluate = self._eager
        return self._backward(self._eager, batch, quantiles, imitation_weight)

    def _backward(
        self, evaluate: Evaluate, batch: Batch, quantiles: Quantiles, imitation_weight: Tensor | None
    ) -> Objective:
        self._optimiser.clear()
        objective = evaluate(self.online, self.target, batch, quantiles, self._averages, imitation_weight)
        loss = objective.loss if self._loss_scale is None else objective.loss * self._loss_scale.scale
        loss.backward()  # type: ignore[no-untyped-call]
        return objective

    def _quantiles(self, batch: int) -> Quantiles:
        rows = 1 if self.settings.shared_quantiles else batch
        count = self.settings.quantiles
        drawn = symmetric_quantiles(3 * rows, count, generator=self._generator, device=self.device)
        return Quantiles(*drawn.view(3, rows, count).unbind())

    def _follow(self, rate: float, sound: Tensor) -> None:
        """Let the target network follow the online one."""
        if rate == 0:
            return
        self._target_parameters.values.lerp_(self._parameters.values, rate * sound.float())
        if self.online.settings.spectral_norm:
            for mine, other in zip(self.target.buffers(), self.online.buffers(), strict=True):
                mine.copy_(other)

    def _part(self, name: str) -> PartSettings:
        part: PartSettings = getattr(self.settings.optimiser.parts, name)
        return part

    def _set_learning(self, env_steps: int) -> None:
        value_only = self.steps < self._value_only_until
        for part, learned in self._learning.items():
            learns = self._part(part).learns(env_steps) and (not value_only or part in VALUE_PARTS)
            if learns != learned:
                self._parameters.learn(part, learns=learns)
                self._learning[part] = learns

    def _reset_if_due(self, env_steps: int) -> int:
        """Mix the network with a new one where a soft reset is due; return the extra samples that it allows."""
        settings = self.settings.reset
        if settings is None or env_steps // settings.every_env_steps <= self.resets:
            return 0
        self.resets = env_steps // settings.every_env_steps
        new = build_network(self.online.settings, self.online.io, seed=self._seed + self.resets).to(self.device)
        values = FlatParameters(new, part_of).values
        for part, span in self._parameters.slices.items():
            if self._part(part).learns(env_steps):
                self._parameters.values[span].lerp_(values[span], settings.mix)
        for part in ("advantage_head", "value_head"):
            if self._part(part).learns(env_steps):
                mine, other = getattr(self.online, part).last, getattr(new, part).last
                for parameter, fresh in zip(mine.parameters(), other.parameters(), strict=True):
                    parameter.data.lerp_(fresh.data, settings.last_layer_mix)
        return settings.extra_samples

    def _go_on_with_chance(self, state: Tensor, device: str) -> None:
        """Draw what a generator in this state would draw next; where it is of another device, something else."""
        if device == self.device.type:
            self._generator.set_state(state)
            return
        log.warning(
            "the learner's state is from %s, this is %s: it goes on with other random numbers", device, self.device.type
        )
        seed = np.random.SeedSequence((self._seed, self.steps)).generate_state(1)[0]
        self._generator.manual_seed(int(seed))

    def _check(self, tensors: Mapping[str, Tensor], values: Mapping[str, Any]) -> None:
        if values.get("format") != STATE_FORMAT:
            raise DataError(
                f"the learner's state has the format {values.get('format')}, this version reads {STATE_FORMAT}",
                hint="resume with the version that wrote it, or start a new run",
            )
        mine, _ = self.state_dict()
        names = mine.keys() | tensors.keys()
        if values["device"] != self.device.type:
            names -= {"generator"}
        for name in sorted(names):
            ours, theirs = mine.get(name), tensors.get(name)
            if ours is None or theirs is None or ours.shape != theirs.shape:
                shapes = ["none" if tensor is None else str(tuple(tensor.shape)) for tensor in (theirs, ours)]
                raise DataError(
                    f"the learner's state is of another network or other settings: "
                    f"{name} is {shapes[0]} there and {shapes[1]} here",
                    hint="resume with the configuration that the run was started with, or start a new run",
                )


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
