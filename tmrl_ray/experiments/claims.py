"""Claims of the source documents, held against kept results: figures of arms, compared seed by seed, with intervals.

Arms are paired by seed, which has the same split and the same first weights in both. An interval is the wider hull of
two: over the seeds, and over the maps that were measured on.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, ValidationError, model_validator

from tmrl_ray.config.settings import Settings
from tmrl_ray.config.yaml_text import parse_yaml
from tmrl_ray.errors import ConfigError
from tmrl_ray.experiments.arms import Arm, Workshop
from tmrl_ray.experiments.figures import Figure, read_figure
from tmrl_ray.experiments.statistics import (
    Array,
    Interval,
    bootstrap_interval,
    interquartile_mean,
    probability_of_more,
    student_interval,
)

CLAIMS = "claims.yaml"

How = Literal["value", "difference", "change", "ratio"]
_HOW: dict[How, Callable[[Any, Any], Any]] = {
    "value": lambda of, against: of,
    "difference": lambda of, against: of - against,
    "change": lambda of, against: (of - against) / against,
    "ratio": lambda of, against: of / against,
}


class ArmSettings(Settings):
    """What an arm of the study runs; see :class:`~tmrl_ray.experiments.arms.Arm`."""

    experiment: str
    """Its name."""
    legacy: bool = False
    """With the defects of the source's tools."""
    label: str | None = None
    """Name of what is changed."""
    set: tuple[str, ...] = ()
    """The changed settings, ``key.sub=value``."""
    races: str | None = None
    """The dataset that it learns from in place of the experiment's."""

    def arm(self, seed: int) -> Arm:
        """Return it for a seed."""
        return Arm(self.experiment, seed, self.legacy, self.label, self.set, self.races)


class Place(Settings):
    """One figure of one arm."""

    arm: str
    """Its name."""
    figure: str
    """Its name; see :mod:`tmrl_ray.experiments.figures`."""


class Comparison(Settings):
    """A figure, alone or against another one."""

    of: Place
    """Which."""
    against: Place | None = None
    """The other one."""


class Bounds(Settings):
    """What is expected."""

    at_least: float = -math.inf
    """Lower bound."""
    at_most: float = math.inf
    """Upper bound."""

    model_config = Settings.model_config | {"allow_inf_nan": True}


class Claim(Settings):
    """One claim."""

    id: str
    """Short name: the protocol first."""
    says: str
    """What is claimed."""
    source: str
    """What the source reports."""
    how: How
    """How the two figures become one: change is relative to the second."""
    expects: Bounds
    """Where the result must lie for the claim to hold."""
    right: Comparison
    """With what is right."""
    legacy: Comparison | None = None
    """With the defects of the source's tools."""
    legacy_expects: Bounds | None = None
    """Where that result must lie; null: nothing is expected of it."""

    @model_validator(mode="after")
    def _something_is_expected_of(self) -> Self:
        if self.legacy_expects is not None and self.legacy is None:
            raise ValueError(f"{self.id}: legacy_expects means nothing without legacy")
        return self

    @model_validator(mode="after")
    def _two_for_a_comparison(self) -> Self:
        for each in filter(None, [self.right, self.legacy]):
            if (each.against is None) != (self.how == "value"):
                raise ValueError(
                    f"{self.id}: {self.how} is of {'one figure' if self.how == 'value' else 'two figures'}"
                )
        return self


class Study(Settings):
    """The arms and the claims."""

    arms: dict[str, ArmSettings]
    """By name."""
    claims: tuple[Claim, ...] = Field(min_length=1)
    """All of them."""

    @model_validator(mode="after")
    def _arms_are_there(self) -> Self:
        for claim in self.claims:
            for place in places_of(claim):
                if place.arm not in self.arms:
                    raise ValueError(f"{claim.id}: there is no arm {place.arm!r}")
        return self

    @classmethod
    def read(cls, file: Path) -> Self:
        """Read it from a file.

        Raises:
            ConfigError: it cannot be read, or is wrong.
        """
        try:
            value = parse_yaml(file.read_text(encoding="utf-8"), str(file)).value
            return cls.model_validate_json(json.dumps(value))
        except OSError as error:
            raise ConfigError(f"{file} cannot be read: {error.strerror}") from error
        except ValidationError as error:
            told = "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
            raise ConfigError(f"{file}: {told}") from error

    def chosen(self, ids: Sequence[str]) -> tuple[Claim, ...]:
        """Return the claims whose names begin with one of ``ids``; all for none.

        Raises:
            ConfigError: there is none for one of them.
        """
        for wanted in ids:
            if not any(_is_of(claim.id, wanted) for claim in self.claims):
                raise ConfigError(f"no claim is called {wanted}, only {', '.join(claim.id for claim in self.claims)}")
        return tuple(claim for claim in self.claims if not ids or any(_is_of(claim.id, each) for each in ids))

    def arms_of(self, claims: Iterable[Claim], seeds: Sequence[int]) -> list[Arm]:
        """Return the arms that claims are about, seed after seed, so that there is something to see early."""
        names = dict.fromkeys(place.arm for claim in claims for place in places_of(claim))
        return [self.arms[name].arm(seed) for seed in seeds for name in names]


Verdict = Literal["holds", "does not hold", "open", "no result"]


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds."""

    by_seed: Mapping[int, float]
    """Of each seed that has a result."""
    by_map: Mapping[int, Mapping[str, float]] = field(default_factory=dict)
    """The same on each map, by seed; empty: it is not known by maps."""
    over_maps: Interval | None = None
    """That of 95 % over the maps; None: there are not two of them."""
    more: float | None = None
    """Probability that the first figure is above the second with another seed; None: there is only one figure."""

    @property
    def values(self) -> tuple[float, ...]:
        """Of all seeds."""
        return tuple(self.by_seed.values())

    @property
    def mean(self) -> float:
        """Of all values."""
        return sum(self.values) / len(self.values)

    @property
    def interquartile_mean(self) -> float:
        """Over seeds and maps; over seeds where maps are not known."""
        return interquartile_mean([each for maps in self.by_map.values() for each in maps.values()] or self.values)

    @property
    def over_seeds(self) -> Interval | None:
        """The interval of 95 % over the seeds; None: a single one has none."""
        return student_interval(self.values)

    @property
    def interval(self) -> Interval | None:
        """The hull of both; None: there are fewer than two seeds."""
        if self.over_seeds is None or self.over_maps is None:
            return self.over_seeds
        return min(self.over_seeds[0], self.over_maps[0]), max(self.over_seeds[1], self.over_maps[1])

    def verdict(self, bounds: Bounds) -> Verdict:
        """Judge it; open: the interval lies on both sides of a bound, or there are fewer than two seeds."""
        if not self.values:
            return "no result"
        if self.interval is None:
            return "open"
        low, high = self.interval
        if bounds.at_least <= low and high <= bounds.at_most:
            return "holds"
        return "does not hold" if high < bounds.at_least or low > bounds.at_most else "open"


@dataclass(frozen=True)
class Finding:
    """What the results say of a claim."""

    claim: Claim
    right: Estimate
    legacy: Estimate | None
    """None: the claim has no defect to compare with."""

    @property
    def verdict(self) -> Verdict:
        """Of what is right."""
        return self.right.verdict(self.claim.expects)

    @property
    def legacy_verdict(self) -> Verdict | None:
        """Of what the defects give; None: nothing is expected of them."""
        bounds = self.claim.legacy_expects
        return None if self.legacy is None or bounds is None else self.legacy.verdict(bounds)


def findings(study: Study, claims: Iterable[Claim], workshop: Workshop, seeds: Sequence[int]) -> list[Finding]:
    """Return what kept results say of claims; arms that were not run to their end count for nothing.

    Raises:
        ConfigError: a result has not a figure that a claim is about.
    """

    def estimate(how: How, each: Comparison) -> Estimate:
        of = _figures(study, each.of, workshop, seeds)
        if each.against is None:
            return _alone(of)
        return _compared(how, of, _figures(study, each.against, workshop, seeds))

    return [
        Finding(
            claim,
            estimate(claim.how, claim.right),
            None if claim.legacy is None else estimate(claim.how, claim.legacy),
        )
        for claim in claims
    ]


def _figures(study: Study, place: Place, workshop: Workshop, seeds: Sequence[int]) -> dict[int, Figure]:
    """Return a figure of each seed with which its arm was run to the end."""
    arms = {seed: study.arms[place.arm].arm(seed) for seed in seeds}
    return {
        seed: read_figure(workshop.folder(arm), place.figure, is_training=arm.experiment.startswith("rl/"))
        for seed, arm in arms.items()
        if workshop.is_done(arm)
    }


def _alone(of: Mapping[int, Figure]) -> Estimate:
    return Estimate(
        {seed: figure.value for seed, figure in of.items()},
        {seed: {name: each.value for name, each in figure.by_map.items()} for seed, figure in of.items()},
        _over_maps("value", list(of.values()), list(of.values())),
    )


def _compared(how: How, of: Mapping[int, Figure], against: Mapping[int, Figure]) -> Estimate:
    compare = _HOW[how]
    seeds = [seed for seed in of if seed in against and _is_measure(how, against[seed].value)]
    if not seeds:
        return Estimate({})
    pairs = {seed: (of[seed], against[seed]) for seed in seeds}
    by_map = {
        seed: {
            name: compare(each.value, other.by_map[name].value)
            for name, each in one.by_map.items()
            if name in other.by_map and _is_measure(how, other.by_map[name].value)
        }
        for seed, (one, other) in pairs.items()
    }
    firsts, seconds = ([pair[at] for pair in pairs.values()] for at in (0, 1))
    return Estimate(
        {seed: compare(one.value, other.value) for seed, (one, other) in pairs.items()},
        by_map,
        _over_maps(how, firsts, seconds),
        _probability_of_more(firsts, seconds),
    )


def _is_measure(how: How, value: float) -> bool:
    """Return whether something can be measured by a value: nothing is a share of 0."""
    return how == "difference" or value != 0


def _shared_maps(figures: Iterable[Figure]) -> list[str]:
    return sorted(set.intersection(*(set(figure.by_map) for figure in figures)))


def _over_maps(how: How, of: Sequence[Figure], against: Sequence[Figure]) -> Interval | None:
    """Return the interval over the maps of the mean over the seeds; None: there are not two maps."""
    maps = _shared_maps([*of, *against]) if of else []
    maps = [name for name in maps if how == "value" or all(_is_measure(how, e.by_map[name].value) for e in against)]
    if len(maps) < 2:
        return None

    def pooled(figures: Sequence[Figure], draws: Array) -> Array:
        weights = np.array([[figure.by_map[name].weight for name in maps] for figure in figures])  # (seeds, M)
        values = np.array([[figure.by_map[name].value for name in maps] for figure in figures])
        mean: Array = (draws @ (weights * values).T) / (draws @ weights.T)
        return mean  # (R, seeds)

    def statistic(draws: Array) -> Array:
        mean: Array = _HOW[how](pooled(of, draws), pooled(against, draws)).mean(axis=1)
        return mean

    return bootstrap_interval(statistic, len(maps))


def _probability_of_more(of: Sequence[Figure], against: Sequence[Figure]) -> float:
    """Return the mean over the maps; over all at once where they are not known."""
    maps = _shared_maps([*of, *against])
    if not maps:
        return probability_of_more([each.value for each in of], [each.value for each in against])
    sides = [[[each.by_map[name].value for each in side] for name in maps] for side in (of, against)]
    return sum(map(probability_of_more, *sides)) / len(maps)


def places_of(claim: Claim) -> list[Place]:
    """Return all figures that a claim is about."""
    comparisons = [claim.right, *filter(None, [claim.legacy])]
    return [place for each in comparisons for place in (each.of, each.against) if place is not None]


def _is_of(claim: str, wanted: str) -> bool:
    return claim == wanted or claim.startswith(f"{wanted} ")


def write_csv(path: Path, found: Iterable[Finding]) -> None:
    """Write each value of each seed, and of each map where these are known, for whoever wants other intervals.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["claim", "setting", "seed", "map", "value"])
        for each in found:
            for setting, estimate in (("right", each.right), ("legacy", each.legacy)):
                if estimate is None:
                    continue
                for seed, value in estimate.by_seed.items():
                    values = {"": value, **estimate.by_map.get(seed, {})}
                    writer.writerows([each.claim.id, setting, seed, name, told] for name, told in values.items())
