"""What dispatchers say of themselves in their metrics, and what of it a person wants to know.

`live` scrapes them. Everything here is a pure function.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from notification_dispatcher import metric_names
from notification_dispatcher.metric_names import FailureReason, ReloadResult, Result, Threshold


@dataclass(frozen=True, slots=True)
class Counts:
    """What a dispatcher has counted since its start; or, of a time, so many a second."""

    queued: float
    processed: float
    failed: float
    dropped: float
    retries: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One scrape of one dispatcher."""

    at: float
    """When, in seconds of a monotonic clock."""
    waiting: float
    scheduled: float
    oldest_seconds: float
    dead: float
    active: float
    counts: Counts
    failures: Mapping[str, float]
    """Jobs that failed for good since its start, by root cause."""
    open_circuits: tuple[str, ...]
    """Channels that are left alone, since their destination keeps failing."""
    refused_reloads: float
    backlog_alert: float
    """The threshold in force."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """All dispatchers of a pipeline that answered."""

    dispatchers: int
    waiting: int
    scheduled: int
    oldest_seconds: float
    dead: int
    active: int
    backlog_alert: int
    failures: Mapping[str, int]
    """Since their start, the commonest root cause first."""
    open_circuits: tuple[str, ...]
    refused_reloads: int
    seconds: float
    """The time that the rates are of; 0 where there are none yet."""
    rates: Counts
    """A second."""

    def as_json(self) -> dict[str, Any]:
        """For programs, in the API's way of writing names."""
        return {
            "dispatchers": self.dispatchers,
            "waiting": self.waiting,
            "scheduled": self.scheduled,
            "oldestSeconds": self.oldest_seconds,
            "dead": self.dead,
            "active": self.active,
            "backlogAlert": self.backlog_alert,
            "failures": dict(self.failures),
            "openCircuits": list(self.open_circuits),
            "refusedReloads": self.refused_reloads,
            "seconds": self.seconds,
            "rates": asdict(self.rates),
        }


def read(text: str, prefix: str, at: float) -> Reading:
    """A reading of a scrape. Raises ValueError for what is no dispatcher's."""
    # Most of a scrape is buckets, which nobody here reads, and the parser is slow.
    lines = (line for line in text.splitlines(keepends=True) if "_bucket{" not in line)
    families = {family.name: family for family in text_string_to_metric_families("".join(lines))}

    def value(name: str, **labels: str) -> float:
        return math.fsum(sample.value for sample in _samples(families, prefix + name, labels))

    if f"{prefix}{metric_names.QUEUE_DEPTH}" not in families:
        raise ValueError(f"there is no metric {prefix}{metric_names.QUEUE_DEPTH}")
    results = {result: value(metric_names.JOBS_TOTAL, result=result.value) for result in Result}
    circuits = _samples(families, prefix + metric_names.CIRCUIT_OPEN, {})
    return Reading(
        at=at,
        waiting=value(metric_names.QUEUE_DEPTH),
        scheduled=value(metric_names.SCHEDULED_JOBS),
        oldest_seconds=value(metric_names.OLDEST_JOB_AGE_SECONDS),
        dead=value(metric_names.DEAD_JOBS),
        active=value(metric_names.ACTIVE_JOBS),
        counts=Counts(
            queued=results[Result.QUEUED],
            processed=results[Result.PROCESSED],
            failed=results[Result.FAILED],
            dropped=results[Result.DROPPED],
            retries=value(metric_names.RETRIES_TOTAL),
        ),
        failures={
            reason.value: value(metric_names.JOB_FAILURES_TOTAL, reason=reason.value) for reason in FailureReason
        },
        open_circuits=tuple(sample.labels["channel"] for sample in circuits if sample.value),
        refused_reloads=value(metric_names.CONFIG_RELOADS_TOTAL, result=ReloadResult.REJECTED.value),
        backlog_alert=value(metric_names.THRESHOLD, threshold=Threshold.BACKLOG.value),
    )


def fleet(before: Mapping[str, Reading], now: Mapping[str, Reading]) -> Fleet:
    """What a pipeline's dispatchers say together, by pod; `now` is not empty, `before` may be.

    What is of the queue each of them says, and so it is taken once; what a dispatcher does itself is added up.
    """
    readings = list(now.values())
    failures = {reason: int(sum(one.failures[reason] for one in readings)) for reason in readings[0].failures}
    spans = [(before[pod], reading) for pod, reading in now.items() if pod in before and reading.at > before[pod].at]
    return Fleet(
        dispatchers=len(readings),
        waiting=int(max(one.waiting for one in readings)),
        scheduled=int(max(one.scheduled for one in readings)),
        oldest_seconds=max(one.oldest_seconds for one in readings),
        dead=int(max(one.dead for one in readings)),
        active=int(sum(one.active for one in readings)),
        backlog_alert=int(max(one.backlog_alert for one in readings)),
        failures=dict(sorted(((why, count) for why, count in failures.items() if count), key=lambda one: -one[1])),
        open_circuits=tuple(sorted({channel for one in readings for channel in one.open_circuits})),
        refused_reloads=int(max(one.refused_reloads for one in readings)),
        seconds=max((later.at - earlier.at for earlier, later in spans), default=0.0),
        rates=_sum([_rate(earlier, later) for earlier, later in spans]),
    )


def _rate(before: Reading, now: Reading) -> Counts:
    old, new = asdict(before.counts), asdict(now.counts)
    # Less than before: it has started anew, and what it counts is of this time.
    grown = {name: new[name] - old[name] if new[name] >= old[name] else new[name] for name in new}
    return Counts(**{name: count / (now.at - before.at) for name, count in grown.items()})


def _sum(rates: Sequence[Counts]) -> Counts:
    return Counts(**{field.name: sum(getattr(one, field.name) for one in rates) for field in fields(Counts)})


def _samples(families: Mapping[str, Metric], name: str, labels: Mapping[str, str]) -> Iterable[Any]:
    # The parser calls a counter's family by the name without its suffix.
    family = families.get(name) or families.get(name.removesuffix("_total"))
    found = family.samples if family is not None else []
    return [sample for sample in found if sample.name == name and labels.items() <= sample.labels.items()]
