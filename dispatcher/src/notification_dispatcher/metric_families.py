"""Counters and histograms that cost next to nothing to count. `metrics` makes them.

Those of the client library take a lock and check their arguments each time, several microseconds for each job. These
belong to the event loop's thread, count in plain integers, and are made into the library's form when they are scraped.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

_GATHERED = 1000
"""So many values of a series are kept before they are counted into its buckets."""


class Counted:
    """One series of a counter."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, count: int = 1) -> None:
        """Count."""
        self.value += count


class Distribution:
    """One series of a histogram."""

    __slots__ = ("_bounds", "_counts", "_recent", "_total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.begin(bounds)

    def begin(self, bounds: Sequence[float]) -> None:
        """Count from zero, with these bounds."""
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0
        self._recent: list[float] = []

    def observe(self, value: float) -> None:
        """Count a value. Bounds are inclusive."""
        recent = self._recent
        recent.append(value)
        if len(recent) >= _GATHERED:
            self._fold()

    def read(self) -> tuple[list[int], float]:
        """How many values were at or below each bound, then how many in all; and their sum."""
        self._fold()
        return self._counts.copy(), self._total

    def _fold(self) -> None:
        """Sorted, a thousand values are counted with one look for each bound, and not one for each value."""
        recent, self._recent = self._recent, []
        recent.sort()
        for number, bound in enumerate(self._bounds):
            self._counts[number] += bisect_right(recent, bound)
        self._counts[-1] += len(recent)
        self._total += sum(recent)


Child = TypeVar("Child", Counted, Distribution)


class _Family(Collector, Generic[Child]):
    def __init__(self, registry: CollectorRegistry, name: str, text: str, labels: Sequence[str]) -> None:
        self._name, self._text, self._label_names = name, text, labels
        self._children: dict[tuple[str, ...], Child] = {}
        registry.register(self)

    def labels(self, *values: str) -> Child:
        """The series with these label values; it is published from now on."""
        child = self._children.get(values)
        if child is None:
            child = self._children[values] = self._make()
        return child

    def _make(self) -> Child:
        raise NotImplementedError

    def collect(self) -> Iterable[Metric]:
        raise NotImplementedError

    def describe(self) -> Iterable[Metric]:
        """What is to come, for the registry to refuse a name twice."""
        return self.collect()


class CounterFamily(_Family[Counted]):
    """A counter with labels."""

    def count(self, *values: str) -> None:
        """Count once in the series with these label values."""
        child = self._children.get(values)
        (self.labels(*values) if child is None else child).value += 1

    def _make(self) -> Counted:
        return Counted()

    def collect(self) -> Iterable[Metric]:
        """The series as they are now."""
        family = CounterMetricFamily(self._name, self._text, labels=self._label_names)
        for values, child in self._children.items():
            family.add_metric(values, child.value)
        yield family


class HistogramFamily(_Family[Distribution]):
    """A histogram with labels."""

    def __init__(
        self, registry: CollectorRegistry, name: str, text: str, labels: Sequence[str], bounds: Iterable[float]
    ) -> None:
        self._set_bounds(sorted(set(bounds)))
        super().__init__(registry, name, text, labels)

    def rebound(self, bounds: Iterable[float]) -> None:
        """Take these bounds. Where they are others, each series begins at zero, as rates expect of a restart."""
        ordered = sorted(set(bounds))
        if ordered != self._bounds:
            self._set_bounds(ordered)
            for child in self._children.values():
                child.begin(ordered)

    def _set_bounds(self, ordered: Sequence[float]) -> None:
        self._bounds = ordered
        self._edges = [floatToGoString(bound) for bound in (*ordered, float("inf"))]  # type: ignore[no-untyped-call]

    def _make(self) -> Distribution:
        return Distribution(self._bounds)

    def collect(self) -> Iterable[Metric]:
        """The series as they are now."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._label_names)
        for values, child in self._children.items():
            counts, total = child.read()
            family.add_metric(values, list(zip(self._edges, map(float, counts), strict=True)), total)
        yield family
