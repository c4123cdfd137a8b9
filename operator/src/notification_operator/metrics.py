"""The operator's own metrics, on a registry that the caller brings. `run` makes one; everyone reports to it."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable, Iterator, Mapping

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from notification_operator import __version__

_PREFIX = "notification_operator"


class ReconcileResult:
    """Values of the label `result`."""

    SUCCESS = "success"
    RETRY = "retry"
    ERROR = "error"


class EventResult:
    """Values of the label `result` for events."""

    POSTED = "posted"
    FAILED = "failed"
    DROPPED = "dropped"


class Verdicts(Collector):
    """How many pipelines there are by each of their conditions' verdicts; the conditions are counted when asked."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], Mapping[str, str]] = {}

    def put(self, pipeline: tuple[str, str], verdicts: Mapping[str, str]) -> None:
        """Take in what was judged of one pipeline (namespace, name): condition → verdict."""
        self._known[pipeline] = verdicts

    def forget(self, pipeline: tuple[str, str]) -> None:
        """It is gone."""
        self._known.pop(pipeline, None)

    def clear(self) -> None:
        """Whoever leads from now on counts."""
        self._known.clear()

    def collect(self) -> Iterator[Metric]:
        """The gauge, as Prometheus' client asks for it."""
        family = GaugeMetricFamily(
            f"{_PREFIX}_pipelines", "Pipelines by condition and verdict.", labels=["condition", "status"]
        )
        counts = Counted(verdict for verdicts in self._known.values() for verdict in verdicts.items())
        for (condition, status), count in sorted(counts.items()):
            family.add_metric([condition, status], count)
        yield family


class OperatorMetrics:
    """What the operator counts, with the label sets that can be known at start already at zero."""

    def __init__(self, registry: CollectorRegistry) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        ProcessCollector(registry=registry)
        version = Gauge(f"{_PREFIX}_build_info", "The version that runs.", ["version"], registry=registry)
        version.labels(__version__).set(1)
        self.queue_depth = Gauge(f"{_PREFIX}_queue_depth", "Pipelines that wait to be reconciled.", registry=registry)
        self.queue_age = Gauge(
            f"{_PREFIX}_queue_oldest_age_seconds",
            "How long the pipeline that waits longest has waited to be reconciled.",
            registry=registry,
        )
        self.verdicts = Verdicts()
        registry.register(self.verdicts)
        writes = "1 where this operator writes, 0 where it stands by."
        self.leader = Gauge(f"{_PREFIX}_leader", writes, registry=registry)
        restarts = "Watches that were started again after an error."
        self.watch_restarts = Counter(f"{_PREFIX}_watch_restarts", restarts, ["kind"], registry=registry)
        missed = "Pipelines that the resync found changed, and whose watch had not told of it."
        self.watch_missed = Counter(f"{_PREFIX}_watch_missed", missed, registry=registry)
        self._reconciles = _by_result(
            registry,
            "reconciles",
            "Reconciliations by outcome.",
            (ReconcileResult.SUCCESS, ReconcileResult.RETRY, ReconcileResult.ERROR),
        )
        self._events = _by_result(
            registry,
            "events",
            "Events on pipelines: posted, failed (the API server took it not), dropped (too many waited).",
            (EventResult.POSTED, EventResult.FAILED, EventResult.DROPPED),
        )
        self._duration = Histogram(
            f"{_PREFIX}_reconcile_duration_seconds",
            "Time of one reconciliation, requests included.",
            buckets=(0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
            registry=registry,
        )
        self._requests = Counter(
            f"{_PREFIX}_api_requests",
            "Requests to the API server; code 0 stands for no answer.",
            ["verb", "code"],
            registry=registry,
        )

    def request(self, verb: str, status: int) -> None:
        """Count one request to the API server."""
        self._requests.labels(verb, str(status)).inc()

    def event(self, result: str) -> None:
        """Count one event on a pipeline."""
        self._events.labels(result).inc()

    def reconciled(self, result: str, seconds: float) -> None:
        """Count one reconciliation and its time."""
        self._reconciles.labels(result).inc()
        self._duration.observe(seconds)


def _by_result(registry: CollectorRegistry, name: str, description: str, results: Iterable[str]) -> Counter:
    """A counter with the label `result`, each of its values at zero."""
    counter = Counter(f"{_PREFIX}_{name}", description, ["result"], registry=registry)
    for result in results:
        counter.labels(result)
    return counter
