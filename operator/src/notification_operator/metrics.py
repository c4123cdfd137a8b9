"""The operator's own metrics, on a registry that the caller brings. `run` makes one; everyone reports to it."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

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


class OperatorMetrics:
    """What the operator counts, with the label sets that can be known at start already at zero."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        ProcessCollector(registry=registry)
        Gauge(f"{_PREFIX}_build_info", "The version that runs.", ["version"], registry=registry).labels(
            __version__
        ).set(1)
        self.queue_depth = Gauge(f"{_PREFIX}_queue_depth", "Pipelines that wait to be reconciled.", registry=registry)
        self.leader = Gauge(
            f"{_PREFIX}_leader", "1 where this operator writes, 0 where it stands by.", registry=registry
        )
        self.watch_restarts = Counter(
            f"{_PREFIX}_watch_restarts", "Watches that were started again after an error.", ["kind"], registry=registry
        )
        self._reconciles = Counter(
            f"{_PREFIX}_reconciles", "Reconciliations by outcome.", ["result"], registry=registry
        )
        for result in (ReconcileResult.SUCCESS, ReconcileResult.RETRY, ReconcileResult.ERROR):
            self._reconciles.labels(result)
        self._events = Counter(
            f"{_PREFIX}_events",
            "Events on pipelines: posted, failed (the API server took it not), dropped (too many waited).",
            ["result"],
            registry=registry,
        )
        for result in (EventResult.POSTED, EventResult.FAILED, EventResult.DROPPED):
            self._events.labels(result)
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
