"""The loop that trains a stage: epochs of batches, measured and kept after each of them; the same with and without Ray.

::

    loop = StageLoop(stage, data, settings, device=device)
    loop.load_state(parts)                    # to go on where a checkpoint was taken
    for report in loop.run(show):
        save(loop.state_dict(), score=report.score)

Whatever is random follows from the seed, the epoch and the worker, so that a loop that goes on from a checkpoint does
what it would have done. Workers that train together have the same parameters at all times.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed
from torch.nn.parallel import DistributedDataParallel

from pretrain.batches import ALONE, Batch, BatchSource, World
from pretrain.stage import Outcome, Stage
from tmrl_ray.config.pretrain import StageSettings
from tmrl_ray.errors import TmrlError
from tmrl_ray.runs.checkpoint_files import Part

Figures = dict[str, float | None]
Show = Callable[[int, int, int], None]
"""Is told the epoch, from 1, and how many of how many batches are done."""


@dataclass(frozen=True)
class EpochReport:
    """How an epoch went."""

    epoch: int
    """From 1."""
    figures: Figures
    """By their names in metrics.csv."""
    score: float
    """What epochs are compared by, the lower the better: the validation loss, without one the training loss."""
    best: bool
    """Whether none before it was better."""
    stops: bool
    """Whether no other follows, because there were none better for too long."""


class StageLoop:
    """Trains a stage; see the module for the loop in which it is used.

    Args:
        stage: on the CPU.
        data: its batches.
        settings: how it is trained.
        device: where.
        world: with whom; torch's process group is up if there is more than one.
    """

    def __init__(
        self,
        stage: Stage,
        data: BatchSource,
        settings: StageSettings,
        *,
        device: torch.device,
        world: World = ALONE,
    ) -> None:
        self.stage = stage.to(device)
        self.epoch = 0
        """How many were trained."""
        self.history: list[Figures] = []
        """The figures of each."""
        self.best_epoch = 0
        self.best_state: dict[str, Tensor] = {}
        """The weights of the best epoch so far, on the CPU."""
        self.stopped = False
        """Whether it ended before its last epoch."""
        self.data = data
        """Its batches."""
        self._settings = settings
        self._device = device
        self._world = world
        self._best_score = float("inf")
        self._patient_since = 0
        self._parameters = [each for each in self.stage.parameters() if each.requires_grad]
        self._optimiser = _optimiser(self._parameters, settings)
        self._dtype = _dtype(settings.precision, device)
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._dtype is torch.float16)
        self._module: Callable[[Batch], Outcome] = self.stage
        if world.size > 1:
            ids = [device] if device.type == "cuda" else None
            self._module = DistributedDataParallel(self.stage, device_ids=ids, broadcast_buffers=False)

    def run(self, show: Show | None = None) -> Iterator[EpochReport]:
        """Train epoch after epoch, and yield how each went."""
        while self.epoch < self._settings.epochs and not self.stopped:
            begun_s = time.perf_counter()
            with self._chance("train"):
                figures, samples = self._train_epoch(show)
            train_s = time.perf_counter() - begun_s
            with self._chance("validate"):
                figures |= self._validation()
            self.epoch += 1
            figures |= {"epoch": self.epoch, "seconds": train_s, "samples_per_s": samples / train_s}
            yield self._conclude(figures)

    def state_dict(self) -> dict[str, Part]:
        """Return all that is needed to go on from here, the weights of the best epoch included."""
        optimiser = self._optimiser.state_dict()["state"]
        moments = {f"{index}.{name}": value.cpu() for index, e in optimiser.items() for name, value in e.items()}
        values = {
            "epoch": self.epoch,
            "history": self.history,
            "best_epoch": self.best_epoch,
            "best_score": self._best_score if self.best_epoch else None,
            "patient_since": self._patient_since,
            "stopped": self.stopped,
            "scaler": self._scaler.state_dict(),
        }
        return {
            "stage": Part(values, _copied(self.stage)),
            "best": Part(arrays=self.best_state),
            "optimiser": Part(arrays=moments),
        }

    def load_state(self, parts: Mapping[str, Part]) -> None:
        """Go on where :meth:`state_dict` was taken.

        Raises:
            RuntimeError: it is of another stage.
        """
        stage = parts["stage"]
        self.stage.load_state_dict(stage.tensors())
        self.best_state = parts["best"].tensors()
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in parts["optimiser"].tensors().items():
            index, _, name = key.partition(".")
            parameter = self._parameters[int(index)]
            if value.shape == parameter.shape:  # in the parameter's memory format, which fused steps take for granted
                value = torch.empty_like(parameter, device="cpu", requires_grad=False).copy_(value)
            moments.setdefault(int(index), {})[name] = value
        self._optimiser.load_state_dict(self._optimiser.state_dict() | {"state": moments})
        values = stage.values
        self.epoch, self.history = values["epoch"], list(values["history"])
        self.best_epoch, self.stopped = values["best_epoch"], values["stopped"]
        self._best_score = float("inf") if values["best_score"] is None else values["best_score"]
        self._patient_since = values["patient_since"]
        if values["scaler"]:
            self._scaler.load_state_dict(values["scaler"])

    def _train_epoch(self, show: Show | None) -> tuple[Figures, int]:
        """Train one epoch; return its figures and how many samples all workers have learned from."""
        self.stage.train()
        totals = _Totals()
        total = self.data.train_batches
        for number, batch in enumerate(self.data.train(self.epoch), start=1):
            totals.add(self._step(batch.to(self._device)), len(batch.frames))
            if show is not None:
                show(self.epoch + 1, number, total)
        samples = totals.reduce(self._world, self._device)
        return {f"train_{name}": value for name, value in self.stage.metrics(totals.sums).items()}, samples

    def _step(self, batch: Batch) -> Mapping[str, Tensor]:
        self._optimiser.zero_grad(set_to_none=True)
        with self._autocast():
            loss, tallies = self._module(batch)
        torch.autograd.backward(self._scaler.scale(loss * batch.share))
        norm = None
        if self._settings.grad_clip is not None:
            self._scaler.unscale_(self._optimiser)
            norm = torch.nn.utils.clip_grad_norm_(self._parameters, self._settings.grad_clip)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self.stage.after_step()
        told = dict(tallies)
        if norm is not None:
            told["gradient_norm"] = norm.detach() * len(batch.frames)
        return told

    @torch.no_grad()
    def measure(self, maps: Sequence[str] | None = None) -> dict[str, Tensor]:
        """Return the tallies of the stage as it is on the validation maps; without any, on those it was trained on.

        Args:
            maps: on these alone; None: all.
        """
        self.stage.to(self._device).eval()  # races are driven on the CPU
        totals = _Totals()
        for batch in self.data.validate(maps):
            with self._autocast():
                totals.add(self.stage(batch.to(self._device)).tallies, len(batch.frames))
        totals.reduce(self._world, self._device)
        return totals.sums

    def figures_by_map(self) -> dict[str, Figures]:
        """Return what the stage as it is reaches on each validation map, ``samples`` beside it: how many there are."""
        found: dict[str, Figures] = {}
        for name in self.data.val_maps:
            with self._chance("validate"):
                tallies = self.measure([name])
            if samples := float(tallies["samples"]):
                told = self.stage.metrics(tallies)
                found[name] = {"samples": samples, **{f"val_{figure}": value for figure, value in told.items()}}
        return found

    def _validation(self) -> Figures:
        if not len(self.data.val_rows):
            return {}
        return {f"val_{name}": value for name, value in self.stage.metrics(self.measure()).items()}

    def _conclude(self, figures: Figures) -> EpochReport:
        self.history.append(figures)
        score = figures["val_loss"] if "val_loss" in figures else figures["train_loss"]
        if score is None or not np.isfinite(score):
            raise TmrlError(
                f"the loss of epoch {self.epoch} is {score}: it does not learn any more",
                hint="Begin anew with a lower lr, a lower grad_clip, or precision: fp32.",
            )
        best = score < self._best_score
        stopping = self._settings.early_stopping
        if stopping is not None and score < self._best_score - stopping.min_delta:
            self._patient_since = self.epoch
        if best:
            self._best_score, self.best_epoch = score, self.epoch
            self.best_state = _copied(self.stage)
        if stopping is not None and self.epoch - self._patient_since >= stopping.patience:
            self.stopped = True
        return EpochReport(self.epoch, figures, score, best, self.stopped)

    def _autocast(self) -> AbstractContextManager[Any]:
        if self._dtype is torch.float32:
            return nullcontext()
        return torch.autocast(self._device.type, self._dtype)

    def _chance(self, what: str) -> AbstractContextManager[Any]:
        """Seed torch for a pass; what is only measured is measured with the same draws each time."""
        words: tuple[int, ...] = (self._settings.seed, self._world.rank, *what.encode())
        if what == "train":
            words = (*words, self.epoch)
        return _Seeded(int(np.random.SeedSequence(words).generate_state(1)[0]), self._device)


class _Seeded(AbstractContextManager[None]):
    """Seeds torch's generators, and gives them back as they were."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self._seed = seed
        self._fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])

    def __enter__(self) -> None:
        self._fork.__enter__()
        torch.manual_seed(self._seed)

    def __exit__(self, *error: Any) -> None:
        self._fork.__exit__(*error)


class _Totals:
    """Tallies, added over batches on the device and over workers at the end."""

    def __init__(self) -> None:
        self.sums: dict[str, Tensor] = {}
        self._samples = 0

    def add(self, tallies: Mapping[str, Tensor], samples: int) -> None:
        """Add those of a batch."""
        self._samples += samples
        for name, value in tallies.items():
            value = value.detach().to(torch.float64)
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    def reduce(self, world: World, device: torch.device) -> int:
        """Add those of all workers, and return how many samples there were."""
        self.sums["samples"] = torch.tensor(float(self._samples), dtype=torch.float64, device=device)
        if world.size > 1:
            for name in sorted(self.sums):
                distributed.all_reduce(self.sums[name])
        return int(self.sums["samples"])


def _optimiser(parameters: list[torch.nn.Parameter], settings: StageSettings) -> torch.optim.Optimizer:
    if settings.weight_decay:
        return torch.optim.AdamW(parameters, settings.lr, weight_decay=settings.weight_decay, fused=True)
    return torch.optim.Adam(parameters, settings.lr, fused=True)


def _dtype(precision: str, device: torch.device) -> torch.dtype:
    if precision == "auto":
        precision = "fp16" if device.type == "cuda" else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]


def _copied(stage: Stage) -> dict[str, Tensor]:
    return {name: value.detach().cpu().clone() for name, value in stage.state_dict().items()}
