"""Metrics of the interpreter and the event loop, under the pipeline's prefix. `metrics` and `run` use it.

prometheus-client has collectors of its own for the interpreter, but they know no prefix.
"""

from __future__ import annotations

import asyncio
import gc
import platform
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

_LAG_INTERVAL = 0.25


class InterpreterCollector(Collector):
    """Garbage collection, and which Python it is."""

    def __init__(self, prefix: str, registry: CollectorRegistry) -> None:
        self._prefix = prefix
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Read the interpreter's own numbers."""
        for name, key, text in (
            ("python_gc_objects_collected", "collected", "Objects collected, by generation."),
            ("python_gc_objects_uncollectable", "uncollectable", "Objects found uncollectable, by generation."),
            ("python_gc_collections", "collections", "Runs of the garbage collector, by generation."),
        ):
            family = CounterMetricFamily(self._prefix + name, text, labels=["generation"])
            for generation, stats in enumerate(gc.get_stats()):
                family.add_metric([str(generation)], stats[key])
            yield family
        info = GaugeMetricFamily(
            f"{self._prefix}python_info", "The Python that runs. Always 1.", labels=["implementation", "version"]
        )
        info.add_metric([platform.python_implementation(), platform.python_version()], 1)
        yield info


async def measure_loop_lag(observe: Callable[[float], None]) -> None:
    """Observe, for ever, how many seconds too late the event loop runs what is due."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LAG_INTERVAL
        await asyncio.sleep(_LAG_INTERVAL)
        observe(max(0.0, loop.time() - due))
