"""Batches that gave no finite loss or gradient are on record whoever asks, and nothing but such ends the learning."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

import learner.learner
from learner.optimiser import LossScale
from learner.report import Summary, summarise
from learner.set_aside import MOST_IN_A_ROW, SetAsideBook
from tests.iqn.networks import BATCH
from tests.learner.drawn import SETTINGS, drawn, update_of
from tests.learner.test_learner import FakeBuilder, FakePeers, learner_of
from tmrl_ray.errors import TmrlError
from tmrl_ray.experience.batches import Batch


def summary(steps: int, unsound_at_end: int) -> Summary:
    return Summary({}, (), steps, unsound_at_end)


def test_unsound_steps_are_counted_over_summaries() -> None:
    book = SetAsideBook()
    for steps, unsound in ((60, 60), (70, 39), (30, 30), (30, 30)):
        book.take(summary(steps, unsound))
        book.check()
    book.take(summary(1, 1))
    with pytest.raises(TmrlError, match="none of the last 100 batches gave a finite loss and gradient"):
        book.check()


def test_a_gradient_that_always_overflows_ends_the_learning_and_not_the_scale(tmp_path: Path) -> None:
    """The loss is finite: nothing but the gradient tells, and no scale can help it."""
    update = update_of(SETTINGS.replace(precision="fp16"))
    before = update.weights()
    update.online.value_head.last.weight.register_hook(lambda gradient: gradient * math.inf)
    halvings = round(math.log2(LossScale.START))
    reports = [update.step(drawn(seed=seed % 7), env_steps=seed) for seed in range(200)]
    assert update._loss_scale is not None
    assert update._loss_scale.scale.item() == LossScale.LEAST == 1.0
    told = summarise(reports)
    assert (told.figures["sound"], told.unsound_at_end, told.steps) == (0.0, 200, 200)
    assert [aside.step for aside in told.set_aside] == list(range(halvings + 1, 201))
    assert all(report.td_errors.isnan().all() for report in reports[halvings:])
    assert all(torch.equal(tensor, before[name]) for name, tensor in update.weights().items())
    book = SetAsideBook(tmp_path / "set_aside.jsonl")
    book.take(told)
    assert len((tmp_path / "set_aside.jsonl").read_text().splitlines()) == 200 - halvings
    with pytest.raises(TmrlError, match="none of the last 200 batches") as error:
        book.check()
    assert "bf16 instead of fp16" in str(error.value)


class SpoilingBuilder(FakeBuilder):
    """Makes some of its batches useless."""

    spoilt: tuple[int, ...] = ()

    def batches(self, *arguments: Any, **options: Any) -> Iterator[Batch]:
        for batch in super().batches(*arguments, **options):
            if self.built in self.spoilt:
                batch.rewards.fill_(math.nan)
            yield batch


def test_nothing_that_was_set_aside_is_forgotten_while_nobody_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learner.learner, "MOST_REPORTS", 8)
    aside = tmp_path / "set_aside.jsonl"
    trained = learner_of(FakePeers(), set_aside=aside)
    trained.builder = SpoilingBuilder()
    trained.builder.spoilt = (2, 3, 11, 29)
    list(islice(trained.run(), 31))
    assert trained.tell().values["learner/set_aside"] == 4
    lines = [json.loads(line) for line in aside.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3, 11, 29]
    assert [line["rows"] for line in lines] == [[100 * seed + row for row in range(BATCH)] for seed in (2, 3, 11, 29)]
    next(trained.run())
    assert trained.tell().values["learner/set_aside"] == 4


def test_a_learner_that_nobody_asks_still_ends_where_nothing_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learner.learner, "MOST_REPORTS", 16)
    trained = learner_of(FakePeers())
    trained.builder = SpoilingBuilder()
    trained.builder.spoilt = tuple(range(1000))
    with pytest.raises(TmrlError, match="gave a finite loss and gradient"):
        list(islice(trained.run(), MOST_IN_A_ROW + 30))
