"""What a metric is, and the registry in which each is declared once: its name, unit, meaning, and what a rise means.

A name is a path, ``group/what/...``. Where there is one for each map, part or collector, the name has places for that:
``race/finish_time_s/{map}/{kind:explore|greedy}``, which ``Registry.name`` fills. The declarations stand in
``tmrl_ray.runs.declared``; ``METRICS.md`` is made of them. Names that are not declared are refused wherever they come
up: that is an error of the program, and a silent one would cost a run's records.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

_PLACE = re.compile(r"\{(\w+)(?::([^}]*))?\}")
_LABEL = r"[A-Za-z0-9_.-]+"
_UNFIT = re.compile(r"[^A-Za-z0-9_.-]+")
_NAME = re.compile(r"[a-z][a-z0-9_]*(/[a-z0-9_]+)*")
_MOST_NAMES = 10_000
"""Names that a registry remembers; one with more would be a leak somewhere."""


class Kind(StrEnum):
    """How values of a metric come and what is told of them."""

    SCALAR = "scalar"
    """A number. Several between two rows are told as their mean."""
    COUNTER = "counter"
    """What only grows: the total over the whole run."""
    HISTOGRAM = "histogram"
    """Many numbers: how they are spread since the last row."""
    TEXT = "text"


@dataclass(frozen=True)
class Place:
    """A place in a name."""

    label: str
    choices: tuple[str, ...]
    """What may stand there; none: anything."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One declaration."""

    name: str
    """With places in braces."""
    unit: str
    """Of the values; empty: a plain number."""
    help: str
    """What it is, as a sentence."""
    rising: str
    """What it means when it rises, as a sentence."""
    healthy: str = ""
    """What it is where all is well, as a sentence; empty: that depends on the run."""
    kind: Kind = Kind.SCALAR
    rate_of: str | None = None
    """Name of the counter of which this is the growth per second; it need not be given then."""
    ray: str | None = None
    """Its name for Ray and Prometheus, after ``tmrl_``; None: that of its fixed parts."""
    bounds: tuple[float, ...] = ()
    """Of a histogram: upper bounds of its buckets, positive and rising; the last bucket has none."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(_PLACE.sub("x", self.name)):
            raise ValueError(f"{self.name!r} is no name of a metric")
        if (self.kind is Kind.HISTOGRAM) != bool(self.bounds) or list(self.bounds) != sorted(set(self.bounds)):
            raise ValueError(f"{self.name}: histograms have rising bounds, others none, not {self.bounds}")
        if self.bounds and self.bounds[0] <= 0:
            raise ValueError(f"{self.name}: bounds are positive, not {self.bounds[0]}")
        if not all(text.endswith(".") for text in (self.help, self.rising, self.healthy or ".")):
            raise ValueError(f"{self.name}: help, rising and healthy are sentences")

    @property
    def group(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @cached_property
    def places(self) -> tuple[Place, ...]:
        """The places in the name, in their order."""
        found = (match.groups() for match in _PLACE.finditer(self.name))
        return tuple(Place(label, tuple(choices.split("|")) if choices else ()) for label, choices in found)

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What the names look like in which all places are filled."""
        parts, end = list[str](), 0
        for match, place in zip(_PLACE.finditer(self.name), self.places, strict=True):
            choice = "|".join(map(re.escape, place.choices)) or _LABEL
            parts += [re.escape(self.name[end : match.start()]), f"(?P<{place.label}>{choice})"]
            end = match.end()
        return re.compile("".join([*parts, re.escape(self.name[end:])]))

    @property
    def short(self) -> str:
        """The name without the choices that its places have."""
        return _PLACE.sub(r"{\1}", self.name)

    @cached_property
    def ray_name(self) -> str:
        """Its name for Ray, which puts ``ray_`` before it and, after that of a counter, ``_total``."""
        fixed = _PLACE.sub("", self.name) if self.ray is None else self.ray
        return "tmrl_" + re.sub(r"[/_]+", "_", fixed).strip("_")

    def fill(self, labels: Mapping[str, object]) -> str:
        """Return the name with its places filled.

        Raises:
            ValueError: the labels are not those of the name.
        """
        if labels.keys() != {place.label for place in self.places}:
            raise ValueError(f"{self.name} cannot be filled with {dict(labels)}")
        name = _PLACE.sub(lambda match: _UNFIT.sub("_", str(labels[match[1]])) or "_", self.name)
        if not self.pattern.fullmatch(name):
            raise ValueError(f"{name} is not one of {self.name}")
        return name

    def examples(self) -> Iterator[str]:
        """Yield names with the places filled, each choice once and ``any`` where there is none."""
        for words in itertools.product(*(place.choices or ("any",) for place in self.places)):
            yield self.fill(dict(zip((place.label for place in self.places), words, strict=True)))


@dataclass(frozen=True)
class Resolved:
    """A name, taken apart."""

    metric: Metric
    labels: Mapping[str, str]


class Registry:
    """Declared metrics.

    Args:
        metrics: all of them.

    Raises:
        ValueError: two could be taken for each other, or a rate is that of no counter.
    """

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self.metrics = tuple(metrics)
        self._by_name = {metric.short: metric for metric in self.metrics}
        self._resolved: dict[str, Resolved] = {}
        self.rates = {metric.rate_of: metric for metric in self.metrics if metric.rate_of is not None}
        """The metric of the growth of each counter that has one, by the counter's name."""
        self._check()

    def name(self, template: str, **labels: object) -> str:
        """Return a declared name with its places filled; what no label may have becomes ``_``.

        Args:
            template: the name, its places without choices: ``race/finish_rate/{map}/{kind}``.
            labels: what to put there.

        Raises:
            ValueError: it is not declared, or has other places.
        """
        if template not in self._by_name:
            raise ValueError(f"the metric {template} is not declared")
        return self._by_name[template].fill(labels)

    def resolve(self, name: str) -> Resolved:
        """Return the metric of a filled name.

        Raises:
            ValueError: it is not declared.
        """
        if name not in self._resolved:
            if len(self._resolved) >= _MOST_NAMES:
                self._resolved.clear()
            self._resolved[name] = self._find(name)
        return self._resolved[name]

    def expect(self, name: str, *kinds: Kind) -> Metric:
        """Return the metric of a filled name, which must be of one of these kinds.

        Raises:
            ValueError: it is not declared, or of another kind.
        """
        metric = self.resolve(name).metric
        if metric.kind not in kinds:
            raise ValueError(f"{name} is a {metric.kind}, not a {' or a '.join(kinds)}")
        return metric

    def _find(self, name: str) -> Resolved:
        for metric in self.metrics:
            if match := metric.pattern.fullmatch(name):
                return Resolved(metric, match.groupdict())
        raise ValueError(f"the metric {name} is not declared: declare it in tmrl_ray.runs.declared")

    def _check(self) -> None:
        if len(self._by_name) != len(self.metrics):
            raise ValueError("a metric is declared twice")
        for metric in self.metrics:
            for name in metric.examples():
                takers = [other.name for other in self.metrics if other.pattern.fullmatch(name)]
                if takers != [metric.name]:
                    raise ValueError(f"{name} may be any of {', '.join(takers)}")
        ray_names = [metric.ray_name for metric in self.metrics]
        if twice := {name for name in ray_names if ray_names.count(name) > 1}:
            raise ValueError(f"several metrics have the name {', '.join(sorted(twice))} for Ray")
        for counter, rate in self.rates.items():
            known = self._by_name.get(counter)
            if known is None or known.kind is not Kind.COUNTER or known.places != rate.places or counter != known.name:
                raise ValueError(f"{rate.name} is the rate of {counter}, which is no counter with the same places")
