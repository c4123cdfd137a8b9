"""Every metric that the dispatcher publishes, on a registry that the caller brings. `monitor` reports events to it.

The names are those of `metric_names`. Every label set that can be known is there from the start, at zero: a series that
appears with its first failure is one whose first failure no `increase()` ever sees. Job types that aren't configured
get theirs, all of them, when they are first seen.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, Histogram, ProcessCollector, disable_created_metrics

from notification_dispatcher import __version__
from notification_dispatcher import metric_names as names
from notification_dispatcher.channels.base import Outcome
from notification_dispatcher.metric_families import CounterFamily, Distribution, HistogramFamily
from notification_dispatcher.metric_names import (
    INVALID_JOB_TYPE,
    OTHER_JOB_TYPE,
    Alert,
    AlertOutcome,
    DropReason,
    FailureReason,
    PostponeReason,
    ReloadResult,
    RemovalReason,
    Result,
    Threshold,
)
from notification_dispatcher.queues.base import Counts
from notification_dispatcher.routes import InForce
from notification_dispatcher.runtime_metrics import InterpreterCollector
from notification_dispatcher.settings import Live

_OTHER_TYPES = 50
"""So many job types that aren't configured get a label value of their own."""

_LAG_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class Times(NamedTuple):
    """One job type's series, in milliseconds."""

    waits: Distribution
    durations: Distribution


class Metrics:
    """What is counted."""

    def __init__(self, registry: CollectorRegistry, in_force: InForce) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry
        self._prefix = in_force.settings.fixed.metrics_prefix
        self._in_force = in_force
        self._labels: dict[str, str] = {}
        self._others = 0
        self.times: dict[str, Times] = {}
        """By job type, of those that have a label value of their own."""
        self._jobs = self._counter(names.JOBS_TOTAL, "Jobs by outcome.", "result", "job_type")
        self._failures = self._counter(
            names.JOB_FAILURES_TOTAL, "Permanent job failures by root cause.", "reason", "job_type"
        )
        self._dropped = self._counter(names.JOBS_DROPPED_TOTAL, "Jobs discarded before execution.", "reason")
        self.attempts = self._counter(
            names.DELIVERY_ATTEMPTS_TOTAL, "Deliveries tried, by channel and outcome.", "channel", "outcome"
        )
        self._retries = self._counter(names.RETRIES_TOTAL, "Jobs put back for another attempt.", "job_type")
        self._postponed = self._counter(
            names.POSTPONED_TOTAL, "Jobs put back at no cost until a limit or an open circuit lets them pass.", "reason"
        )
        self._removed = self._counter(
            names.DEAD_LETTERS_REMOVED_TOTAL, "Dead letters that are no longer kept, by what ended them.", "reason"
        )
        self._circuit = self._gauge(
            names.CIRCUIT_OPEN, "1 while a channel's destination is taken to be down, and spared.", "channel"
        )
        self._alerts = self._counter(
            names.ALERTS_TOTAL, "Slack alerts: sent, suppressed by the cooldown, or failed to send.", "alert", "outcome"
        )
        self._reloads = self._counter(names.CONFIG_RELOADS_TOTAL, "Changes of the settings at run time.", "result")
        self._wait = self._durations(
            names.JOB_WAIT_DURATION_MS, "Milliseconds from being due to being started, for each attempt."
        )
        self._duration = self._durations(names.JOB_DURATION_MS, "Milliseconds of one attempt, without the wait.")
        self._threshold = self._gauge(names.THRESHOLD, "The alert thresholds in force.", "threshold")
        self._config = self._gauge(names.CONFIG_INFO, "The settings in force, as a hash. Always 1.", "hash")
        self._oldest = self._gauge(names.OLDEST_JOB_AGE_SECONDS, "Time since the job that waits longest became due.")
        self.loop_lag = self._loop_lag()
        self._describe_process()
        self._start_at_zero()
        self.take_up()

    def watch(self, counts: Callable[[], Counts], depth: Callable[[], int], active: Callable[[], int]) -> None:
        """Read the gauges from here at each scrape. `depth` jobs wait, and this process executes `active` ones."""
        self._gauge(names.QUEUE_DEPTH, "Jobs that wait: ready, scheduled, or between two attempts.").set_function(depth)
        self._gauge(names.SCHEDULED_JOBS, "Jobs that wait for a later time.").set_function(lambda: counts().scheduled)
        self._gauge(names.DEAD_JOBS, "Dead letters: jobs that failed for good and are kept.").set_function(
            lambda: counts().dead
        )
        self._gauge(names.ACTIVE_JOBS, "Jobs executing right now.").set_function(active)

    def take_up(self) -> None:
        """Publish the settings in force: thresholds, bounds, hash, and the series of new job types and channels."""
        live = self._in_force.live
        for histogram in (self._wait, self._duration):
            histogram.rebound(_bounds(live))
        for threshold, value in _thresholds(live).items():
            self._threshold.labels(threshold).set(value)
        self._config.clear()
        self._config.labels(self._in_force.settings.hash).set(1)
        for job_type in self._in_force.routes.job_types:
            self._labels[job_type] = job_type
            self._start_type(job_type)
        for channel, outcome in product(self._in_force.routes.channels, Outcome):
            self.attempts.labels(channel, outcome)
        for channel in self._in_force.routes.channels:
            self._circuit.labels(channel)

    def jobs(self, result: Result, job_type: str, count: int = 1) -> None:
        """Count jobs by outcome."""
        self._jobs.labels(result, self.label(job_type)).inc(count)

    def dropped(self, reason: DropReason, job_type: str, count: int = 1) -> None:
        """Count jobs that were discarded, in both counters."""
        self.jobs(Result.DROPPED, job_type, count)
        self._dropped.labels(reason).inc(count)

    def failed(self, reason: FailureReason, job_type: str) -> None:
        """Count a permanent failure, in both counters."""
        self.jobs(Result.FAILED, job_type)
        self._failures.labels(reason, self.label(job_type)).inc()

    def retried(self, job_type: str) -> None:
        """Count a job that goes back for another attempt."""
        self._retries.labels(self.label(job_type)).inc()

    def times_of(self, job_type: str) -> Times:
        """The series of any job type's waits and durations."""
        label = self.label(job_type)
        if label not in self.times:
            # A type may be called as those are labelled whose type could not be read.
            self._start_type(label)
        return self.times[label]

    def postponed(self, reason: PostponeReason) -> None:
        """Count a job that goes back at no cost."""
        self._postponed.labels(reason).inc()

    def circuit(self, channel: str, is_open: bool) -> None:
        """Show whether a channel's destination is taken to be down."""
        self._circuit.labels(channel).set(is_open)

    def dead_letters_removed(self, reason: RemovalReason, count: int) -> None:
        """Count dead letters that are no longer kept."""
        self._removed.labels(reason).inc(count)

    def alert(self, alert: Alert, outcome: AlertOutcome, times: int = 1) -> None:
        """Count what became of an alert."""
        self._alerts.labels(alert, outcome).inc(times)

    def reloaded(self, result: ReloadResult) -> None:
        """Count a change of the settings."""
        self._reloads.labels(result).inc()

    def oldest_age(self, seconds: float) -> None:
        """Set the age of the job that waits longest."""
        self._oldest.set(seconds)

    def label(self, job_type: str) -> str:
        """The label value of a job type: its name, as long as there are few of them."""
        found = self._labels.get(job_type)
        if found is None:
            if self._others >= _OTHER_TYPES:
                return OTHER_JOB_TYPE
            self._others += 1
            found = self._labels[job_type] = job_type
            self._start_type(job_type)
        return found

    def _loop_lag(self) -> Histogram:
        name, text = self._prefix + names.EVENT_LOOP_LAG_SECONDS, "How late the event loop ran what was due."
        return Histogram(name, text, buckets=_LAG_BUCKETS, registry=self.registry)

    def _describe_process(self) -> None:
        self._gauge(names.BUILD_INFO, "The version that runs. Always 1.", "version").labels(__version__).set(1)
        ProcessCollector(namespace=self._prefix.removesuffix("_"), registry=self.registry)
        InterpreterCollector(self._prefix, self.registry)

    def _start_at_zero(self) -> None:
        for value in (OTHER_JOB_TYPE, INVALID_JOB_TYPE):
            self._labels[value] = value
        self._start_type(OTHER_JOB_TYPE)
        self._jobs.labels(Result.DROPPED, INVALID_JOB_TYPE)
        for reason in DropReason:
            self._dropped.labels(reason)
        for alert, outcome in product(Alert, AlertOutcome):
            self._alerts.labels(alert, outcome)
        for result in ReloadResult:
            self._reloads.labels(result)
        for postponed in PostponeReason:
            self._postponed.labels(postponed)
        for removal in RemovalReason:
            self._removed.labels(removal)

    def _start_type(self, job_type: str) -> None:
        for result in Result:
            self._jobs.labels(result, job_type)
        for reason in FailureReason:
            self._failures.labels(reason, job_type)
        self._retries.labels(job_type)
        self.times[job_type] = Times(self._wait.labels(job_type), self._duration.labels(job_type))

    def _counter(self, name: str, text: str, *labels: str) -> CounterFamily:
        return CounterFamily(self.registry, self._prefix + name, text, labels)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(self._prefix + name, text, labels, registry=self.registry)

    def _durations(self, name: str, text: str) -> HistogramFamily:
        return HistogramFamily(self.registry, self._prefix + name, text, ["job_type"], _bounds(self._in_force.live))


def _bounds(live: Live) -> set[int]:
    # Without the threshold among them, a quantile could be on the wrong side of it.
    return {*names.WAIT_BUCKETS_MS, live.latency_threshold_ms}


def _thresholds(live: Live) -> dict[Threshold, float]:
    return {
        Threshold.FAILURE: live.failure_threshold,
        Threshold.FAILURE_WINDOW_SECONDS: live.failure_window_ms / 1000,
        Threshold.BACKLOG: live.backlog_threshold,
        Threshold.LATENCY_MS: live.latency_threshold_ms,
        Threshold.COOLDOWN_SECONDS: live.cooldown_ms / 1000,
    }
