"""Counters and histograms that cost next to nothing to count. `metrics` makes them.

Those of the client library take a lock and check their arguments each time, several microseconds for each job. These
belong to the event loop's thread, count in plain integers, and are made into the library's form when they are scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


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

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        """Not cumulative; the last is for what is above all bounds."""
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Count a value. Bounds are inclusive."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value


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
        self._bounds = sorted(set(bounds))
        self._edges = [floatToGoString(bound) for bound in (*self._bounds, float("inf"))]  # type: ignore[no-untyped-call]
        super().__init__(registry, name, text, labels)

    def _make(self) -> Distribution:
        return Distribution(self._bounds)

    def collect(self) -> Iterable[Metric]:
        """The series as they are now."""
        family = HistogramMetricFamily(self._name, self._text, labels=self._label_names)
        for values, child in self._children.items():
            buckets = list(zip(self._edges, map(float, accumulate(child.counts)), strict=True))
            family.add_metric(values, buckets, child.total)
        yield family
