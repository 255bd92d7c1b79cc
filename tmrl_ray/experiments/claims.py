"""Claims of the source documents, held against kept results: figures of arms, compared seed by seed, with intervals.

The intervals are Student's for the mean over the seeds, 95 %. Arms are paired by seed, which has the same split and
the same first weights in both.
"""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from tmrl_ray.config.settings import Settings
from tmrl_ray.config.yaml_text import parse_yaml
from tmrl_ray.errors import ConfigError
from tmrl_ray.experiments.arms import Arm, Workshop
from tmrl_ray.runs.distribution import Distribution
from tmrl_ray.runs.json_sink import read_rows

CLAIMS = "claims.yaml"
_T_975 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
          2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045)  # fmt: skip
"""Student's t at 0.975 for 1 to 29 degrees of freedom; more are taken as 29, which makes intervals a little wider."""

How = Literal["value", "difference", "change", "ratio"]
_HOW: dict[How, Callable[[float, float], float]] = {
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

    def arm(self, seed: int) -> Arm:
        """Return it for a seed."""
        return Arm(self.experiment, seed, self.legacy, self.label, self.set)


class Place(Settings):
    """One figure of one arm."""

    arm: str
    """Its name."""
    figure: str
    """best_epoch; best.F, last.F: a figure of that epoch, by its column; closed_loop.best.F: of the races that were
    driven with the best weights, finish_rate or furthest; first.M, last.M: a metric of a training, where it was first
    and last told."""


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


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds."""

    by_seed: dict[int, float]
    """Of each seed that has a result."""

    @property
    def values(self) -> tuple[float, ...]:
        """Of all seeds."""
        return tuple(self.by_seed.values())

    @property
    def mean(self) -> float:
        """Of all values."""
        return sum(self.values) / len(self.values)

    @property
    def interval(self) -> tuple[float, float] | None:
        """That of 95 %; None: a single value has none."""
        count = len(self.values)
        if count < 2:
            return None
        variance = sum((value - self.mean) ** 2 for value in self.values) / (count - 1)
        half = _T_975[min(count - 1, len(_T_975)) - 1] * math.sqrt(variance / count)
        return self.mean - half, self.mean + half


Verdict = Literal["holds", "does not hold", "open", "no result"]


@dataclass(frozen=True)
class Finding:
    """What the results say of a claim."""

    claim: Claim
    right: Estimate
    legacy: Estimate | None
    """None: the claim has no defect to compare with."""

    @property
    def verdict(self) -> Verdict:
        """open: the interval lies on both sides of a bound, or there are fewer than two seeds."""
        if not self.right.values:
            return "no result"
        if self.right.interval is None:
            return "open"
        (low, high), bounds = self.right.interval, self.claim.expects
        if bounds.at_least <= low and high <= bounds.at_most:
            return "holds"
        return "does not hold" if high < bounds.at_least or low > bounds.at_most else "open"


def findings(study: Study, claims: Iterable[Claim], workshop: Workshop, seeds: Sequence[int]) -> list[Finding]:
    """Return what kept results say of claims; arms that were not run to their end count for nothing."""
    return [
        Finding(
            claim,
            _estimate(study, claim.how, claim.right, workshop, seeds),
            None if claim.legacy is None else _estimate(study, claim.how, claim.legacy, workshop, seeds),
        )
        for claim in claims
    ]


def _estimate(study: Study, how: How, each: Comparison, workshop: Workshop, seeds: Sequence[int]) -> Estimate:
    values: dict[int, float] = {}
    for seed in seeds:
        of = _figure(study, each.of, workshop, seed)
        against = 1.0 if each.against is None else _figure(study, each.against, workshop, seed)
        if of is not None and against:  # where the second is 0 there is nothing to compare with
            values[seed] = _HOW[how](of, against)
    return Estimate(values)


def _figure(study: Study, place: Place, workshop: Workshop, seed: int) -> float | None:
    """Return a figure of a seed; None: the arm was not run to its end.

    Raises:
        ConfigError: a result has no such figure.
    """
    arm = study.arms[place.arm].arm(seed)
    if not workshop.is_done(arm):
        return None
    folder = workshop.folder(arm)
    found = _of_training(folder, place.figure) if arm.experiment.startswith("rl/") else _of_stage(folder, place.figure)
    if found is None:
        raise ConfigError(f"{folder} has no figure {place.figure}, which a claim is about")
    return found


def _of_stage(folder: Path, figure: str) -> float | None:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    which, _, name = figure.partition(".")
    if which == "best_epoch":
        return float(result["best_epoch"])
    if which == "closed_loop":
        weights, _, what = name.partition(".")
        races = result["races"].get(weights, [])
        shares = [each["finished"] / each["races"] if what == "finish_rate" else each.get(what) for each in races]
        return sum(shares) / len(shares) if shares else None
    value = result["figures"].get(which, {}).get(name)
    return None if value is None else float(value)


def _of_training(folder: Path, figure: str) -> float | None:
    which, _, name = figure.partition(".")
    values = [row.values[name] for row in read_rows(folder / "metrics.jsonl") if name in row.values]
    if not values:
        return None
    value = values[0] if which == "first" else values[-1]
    return value.mean if isinstance(value, Distribution) else float(value)


def places_of(claim: Claim) -> list[Place]:
    """Return all figures that a claim is about."""
    comparisons = [claim.right, *filter(None, [claim.legacy])]
    return [place for each in comparisons for place in (each.of, each.against) if place is not None]


def _is_of(claim: str, wanted: str) -> bool:
    return claim == wanted or claim.startswith(f"{wanted} ")


def write_csv(path: Path, found: Iterable[Finding]) -> None:
    """Write each value of each seed, for whoever wants other intervals.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["claim", "setting", "seed", "value"])
        for each in found:
            for setting, estimate in (("right", each.right), ("legacy", each.legacy)):
                if estimate is not None:
                    writer.writerows([each.claim.id, setting, seed, value] for seed, value in estimate.by_seed.items())
