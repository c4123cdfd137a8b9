"""The alerts of the observability guide, with the pipeline's own numbers, and the one for silence.

Called by the package itself. All but the last mirror alerts that the dispatcher sends to Slack.
"""

from __future__ import annotations

from typing import Any

from notification_dispatcher import metric_names as names
from notification_dispatcher.schema import Duration
from notification_operator.alerting_rules.input import BY_PIPELINE, FULL, HOLD, Group, Rule, RuleInput
from notification_operator.alerting_rules.templates import COUNT, each_of, value_of
from notification_operator.dashboards.promql import is_one_of, selector
from notification_operator.spec.alert_rules import AlertName, Severity

_SHORTEST_WINDOW = Duration("1m")
"""Rules are evaluated some times within it, whatever Prometheus' own interval is."""
_SCRAPES = 4
"""A counter is seen to increase only between two scrapes within its window, and one may fail."""
_LATENCY_WINDOW = "5m"
_DROPS_WINDOW = "5m"
_TREND_WINDOW = "10m"
_MILLISECONDS = f"{COUNT} ms"


def threshold_groups(rules: RuleInput) -> list[Group]:
    """The recordings and alerts on latency, and the alerts on everything else."""
    recordings = [_p95(rules, histogram) for histogram in (names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS)]
    silence = [_down(rules)] if rules.silence_tells else []
    return [
        Group("notification-latency", recordings, [_high_wait(rules), _high_duration(rules)]),
        Group(
            "notification-dispatcher",
            [],
            [_failure_spike(rules), _backlog_growth(rules), _capacity_drops(rules), *silence],
        ),
    ]


# Latency.


def _p95_name(rules: RuleInput, histogram: str) -> str:
    return f"namespace_pipeline_job_type:{rules.metrics_prefix}{histogram}:p95_{_LATENCY_WINDOW}"


def _p95(rules: RuleInput, histogram: str) -> dict[str, Any]:
    """The 95th percentile by job type."""
    rate = f"rate({rules.series(f'{histogram}_bucket')}[{_LATENCY_WINDOW}])"
    quantile = f"histogram_quantile(0.95, sum by ({BY_PIPELINE}, job_type, le) ({rate}))"
    return {"record": _p95_name(rules, histogram), "expr": quantile}


def _high_wait(rules: RuleInput) -> Rule:
    """Jobs wait too long."""
    return Rule(
        alert=AlertName.HIGH_WAIT,
        expr=_above_latency(rules, names.JOB_WAIT_DURATION_MS),
        severity=Severity.WARNING,
        summary=f"Jobs of {rules.title} wait too long",
        description=f"The p95 wait of {{{{ $labels.job_type }}}} is {_MILLISECONDS}; the threshold is "
        f"{rules.latency_threshold_ms} ms.{rules.load()}",
        hold=HOLD,
        mirrors=True,
    )


def _high_duration(rules: RuleInput) -> Rule:
    """Attempts take too long."""
    return Rule(
        alert=AlertName.HIGH_DURATION,
        expr=_above_latency(rules, names.JOB_DURATION_MS),
        severity=Severity.WARNING,
        summary=f"Deliveries of {rules.title} take too long",
        description=f"The p95 processing time of {{{{ $labels.job_type }}}} is {_MILLISECONDS}; the threshold is "
        f"{rules.latency_threshold_ms} ms.{rules.load()}",
        hold=HOLD,
        mirrors=True,
    )


def _above_latency(rules: RuleInput, histogram: str) -> str:
    # A quantile is never above the last finite bound, which a threshold of an hour or more is itself.
    return f"{selector(_p95_name(rules, histogram), rules.matchers)} >= {rules.latency_threshold_ms}"


# Failures, backlog, drops.


def _failure_spike(rules: RuleInput) -> Rule:
    """Jobs fail for good, many of them."""
    window = _failure_window(rules)
    increase = f"increase({rules.series(names.JOB_FAILURES_TOTAL)}[{window}])"
    reasons = each_of(f"topk(3, sum by (reason) ({increase}) > 0)", "reason")
    return Rule(
        alert=AlertName.FAILURE_SPIKE,
        expr=f"sum by ({BY_PIPELINE}) ({increase}) >= {rules.failure_threshold}",
        severity=Severity.CRITICAL,
        summary=f"Notifications of {rules.title} fail",
        description=f"{COUNT} jobs failed for good within {window}; the threshold is "
        f"{rules.failure_threshold}. Top reasons: {reasons}.{rules.load()}",
        mirrors=True,
    )


def _failure_window(rules: RuleInput) -> str:
    """The pipeline's own, unless Prometheus would see too little within it."""
    scrapes = _SCRAPES * rules.scrape_interval.milliseconds
    longest = max(rules.failure_window.milliseconds, _SHORTEST_WINDOW.milliseconds, scrapes)
    return Duration(f"{longest}ms").normalised


def _backlog_growth(rules: RuleInput) -> Rule:
    """Many jobs wait, and the number doesn't fall."""
    depth = rules.series(names.QUEUE_DEPTH)
    # A stuck queue neither grows nor shrinks, and must alert; one that drains needs nobody.
    trend = f"max by ({BY_PIPELINE}) (deriv({depth}[{_TREND_WINDOW}])) >= 0"
    return Rule(
        alert=AlertName.BACKLOG_GROWTH,
        expr=f"max by ({BY_PIPELINE}) ({depth}) >= {rules.backlog_threshold} and {trend}",
        severity=Severity.WARNING,
        summary=f"The backlog of {rules.title} doesn't shrink",
        description=f"{COUNT} jobs wait, and the number isn't falling; the threshold is "
        f"{rules.backlog_threshold}. {value_of(rules.active(), 'jobs run')}.",
        hold=HOLD,
        mirrors=True,
    )


def _capacity_drops(rules: RuleInput) -> Rule:
    """The queue is full and jobs are lost, whichever way it overflows."""
    full = is_one_of("reason", FULL)
    increase = f"increase({rules.series(names.JOBS_DROPPED_TOTAL, full)}[{_DROPS_WINDOW}])"
    return Rule(
        alert=AlertName.CAPACITY_DROPS,
        expr=f"sum by ({BY_PIPELINE}) ({increase}) > 0",
        severity=Severity.CRITICAL,
        summary=f"The queue of {rules.title} is full and jobs are lost",
        description=f"{COUNT} jobs were evicted or refused within {_DROPS_WINDOW} because the queue is full."
        f"{rules.load()}",
        mirrors=True,
    )


# The process itself.


def _down(rules: RuleInput) -> Rule:
    """No dispatcher answers."""
    return Rule(
        alert=AlertName.DISPATCHER_DOWN,
        expr=f"absent({selector('up', rules.matchers)} == 1)",
        severity=Severity.CRITICAL,
        summary=f"No dispatcher of {rules.title} answers",
        description="Prometheus has reached no dispatcher of this pipeline for five minutes: none runs, or none is "
        "scraped. Nothing else is known about the pipeline while this lasts, and it cannot alert on its own.",
        hold=HOLD,
        keep="",
    )
