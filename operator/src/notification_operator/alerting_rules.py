"""The pipeline's Prometheus rules: `spec.groups` of its PrometheusRule. Called by the builder of that object.

Each alert of the dispatcher's own, which goes to Slack, has a rule that mirrors it; those carry `notifier: dispatcher`,
so that a route of Alertmanager can leave them to Slack. NotificationDispatcherDown doesn't: a dead process cannot
alert. Thresholds are the pipeline's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import Alert, DropReason
from notification_operator.dashboards.promql import is_exactly, is_one_of, selector

NOTIFIER_LABEL = "notifier"
NOTIFIER = "dispatcher"
DISPATCHER_DOWN = "dispatcher_down"
"""What `{alert}` of a runbook's URL becomes where the dispatcher has no alert of that name."""

_SHORTEST_WINDOW_SECONDS = 60
"""A counter needs some scrapes within its window before it can increase."""
_LATENCY_WINDOW = "5m"
_DROPS_WINDOW = "5m"
_TREND_WINDOW = "10m"
_HOLD = "5m"
_PIPELINE = "namespace, pipeline"


class Severity(StrEnum):
    """How loudly an alert asks for someone."""

    CRITICAL = "critical"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class RuleInput:
    """What one pipeline's rules depend on, and nothing else."""

    namespace: str
    pipeline: str
    """The pipeline's name."""
    metrics_prefix: str
    failure_threshold: int
    failure_window: str
    """As Prometheus writes a duration: `5m`, `1h30m`."""
    failure_window_seconds: float
    backlog_threshold: int
    latency_threshold_ms: int
    runbook_url: str
    """With `{alert}` for the alert's name. Empty: no link."""
    dashboard_url: str
    """Empty: no link."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """One alert, before what all alerts share is added."""

    alert: str
    """Its name in Prometheus."""
    name: str
    """Its name everywhere else."""
    expr: str
    severity: Severity
    summary: str
    description: str
    """Templates both."""
    hold: str = ""
    """How long the expression must hold before it fires. Empty: not at all."""


def rule_groups(rules: RuleInput) -> list[dict[str, Any]]:
    """Every group of rules, recordings before the alerts that read them."""
    pipeline = _Pipeline(rules)
    latency = [pipeline.high_wait(), pipeline.high_duration()]
    others = [pipeline.failure_spike(), pipeline.backlog_growth(), pipeline.capacity_drops(), pipeline.down()]
    # A group's rules run one after the other, so the alerts see the quantiles of the same moment.
    return [
        {"name": "notification-latency", "rules": [*pipeline.recordings(), *map(pipeline.alert, latency)]},
        {"name": "notification-dispatcher", "rules": [pipeline.alert(rule) for rule in others]},
    ]


@dataclass(frozen=True, slots=True)
class _Pipeline:
    """Makes the rules of one pipeline."""

    rules: RuleInput

    # What all rules share.

    @property
    def _matchers(self) -> tuple[str, str]:
        return is_exactly("namespace", self.rules.namespace), is_exactly("pipeline", self.rules.pipeline)

    @property
    def _title(self) -> str:
        return _literal(f"{self.rules.namespace}/{self.rules.pipeline}")

    def _series(self, metric: str, *matchers: str) -> str:
        return selector(self.rules.metrics_prefix + metric, (*self._matchers, *matchers))

    def alert(self, rule: _Rule) -> dict[str, Any]:
        """The rule as Prometheus reads it."""
        annotations = {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": _literal(self.rules.runbook_url.replace("{alert}", rule.name)),
            "dashboard_url": _literal(self.rules.dashboard_url),
        }
        labels = {
            "severity": rule.severity.value,
            # Static, since an expression such as absent() drops them.
            "namespace": _literal(self.rules.namespace),
            "pipeline": _literal(self.rules.pipeline),
        }
        made: dict[str, Any] = {"alert": rule.alert, "expr": rule.expr}
        if rule.hold:
            made["for"] = rule.hold
        if rule.name != DISPATCHER_DOWN:
            labels[NOTIFIER_LABEL] = NOTIFIER
            # A value that swings about its threshold is one alert, not many.
            made["keep_firing_for"] = _HOLD
        return {**made, "labels": labels, "annotations": {key: text for key, text in annotations.items() if text}}

    # Latency.

    def recordings(self) -> list[dict[str, Any]]:
        """95th percentiles of wait and processing, by job type."""
        return [
            {"record": self._p95_name(histogram), "expr": self._p95_expr(histogram)}
            for histogram in (names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS)
        ]

    def _p95_name(self, histogram: str) -> str:
        return f"namespace_pipeline_job_type:{self.rules.metrics_prefix}{histogram}:p95_{_LATENCY_WINDOW}"

    def _p95_expr(self, histogram: str) -> str:
        rate = f"rate({self._series(f'{histogram}_bucket')}[{_LATENCY_WINDOW}])"
        return f"histogram_quantile(0.95, sum by ({_PIPELINE}, job_type, le) ({rate}))"

    def high_wait(self) -> _Rule:
        """Jobs wait too long."""
        return _Rule(
            alert="NotificationHighWait",
            name=Alert.HIGH_WAIT,
            expr=self._above_latency(names.JOB_WAIT_DURATION_MS),
            severity=Severity.WARNING,
            summary=f"Jobs of {self._title} wait too long",
            description=f"The p95 wait of {{{{ $labels.job_type }}}} is {_MILLISECONDS}, over the threshold of "
            f"{self.rules.latency_threshold_ms} ms.{self._load()}",
            hold=_HOLD,
        )

    def high_duration(self) -> _Rule:
        """Attempts take too long."""
        return _Rule(
            alert="NotificationHighDuration",
            name=Alert.HIGH_DURATION,
            expr=self._above_latency(names.JOB_DURATION_MS),
            severity=Severity.WARNING,
            summary=f"Deliveries of {self._title} take too long",
            description=f"The p95 processing time of {{{{ $labels.job_type }}}} is {_MILLISECONDS}, over the threshold "
            f"of {self.rules.latency_threshold_ms} ms.{self._load()}",
            hold=_HOLD,
        )

    def _above_latency(self, histogram: str) -> str:
        return f"{selector(self._p95_name(histogram), self._matchers)} > {self.rules.latency_threshold_ms}"

    # Failures, backlog, drops.

    def failure_spike(self) -> _Rule:
        """Jobs fail for good, many of them."""
        short = self.rules.failure_window_seconds < _SHORTEST_WINDOW_SECONDS
        window = f"{_SHORTEST_WINDOW_SECONDS}s" if short else self.rules.failure_window
        increase = f"increase({self._series(names.JOB_FAILURES_TOTAL)}[{window}])"
        reasons = _each_of(f"topk(3, sum by (reason) ({increase}) > 0)", "reason")
        return _Rule(
            alert="NotificationFailureSpike",
            name=Alert.FAILURE_SPIKE,
            expr=f"sum by ({_PIPELINE}) ({increase}) >= {self.rules.failure_threshold}",
            severity=Severity.CRITICAL,
            summary=f"Notifications of {self._title} fail",
            description=f"{_COUNT} jobs failed for good within {window}; the threshold is "
            f"{self.rules.failure_threshold}. Top reasons: {reasons}.{self._load()}",
        )

    def backlog_growth(self) -> _Rule:
        """Many jobs wait, and the number doesn't fall."""
        depth = self._series(names.QUEUE_DEPTH)
        # A stuck queue neither grows nor shrinks, and must alert; one that drains needs nobody.
        trend = f"max by ({_PIPELINE}) (deriv({depth}[{_TREND_WINDOW}])) >= 0"
        return _Rule(
            alert="NotificationBacklogGrowth",
            name=Alert.BACKLOG_GROWTH,
            expr=f"max by ({_PIPELINE}) ({depth}) >= {self.rules.backlog_threshold} and {trend}",
            severity=Severity.WARNING,
            summary=f"The backlog of {self._title} doesn't shrink",
            description=f"{_COUNT} jobs wait, and the number isn't falling; the threshold is "
            f"{self.rules.backlog_threshold}. {_value_of(self._active(), 'jobs run')}.",
            hold=_HOLD,
        )

    def capacity_drops(self) -> _Rule:
        """The queue is full and jobs are lost, whichever way it overflows."""
        full = is_one_of("reason", (DropReason.CAPACITY, DropReason.REJECTED))
        increase = f"increase({self._series(names.JOBS_DROPPED_TOTAL, full)}[{_DROPS_WINDOW}])"
        return _Rule(
            alert="NotificationCapacityDrops",
            name=Alert.CAPACITY_DROPS,
            expr=f"sum by ({_PIPELINE}) ({increase}) > 0",
            severity=Severity.CRITICAL,
            summary=f"The queue of {self._title} is full and jobs are lost",
            description=f"{_COUNT} jobs were evicted or refused within {_DROPS_WINDOW} because the queue is full."
            f"{self._load()}",
        )

    # The process itself.

    def down(self) -> _Rule:
        """No dispatcher answers."""
        return _Rule(
            alert="NotificationDispatcherDown",
            name=DISPATCHER_DOWN,
            expr=f"absent({selector('up', self._matchers)} == 1)",
            severity=Severity.CRITICAL,
            summary=f"No dispatcher of {self._title} answers",
            description="Prometheus has reached no dispatcher of this pipeline for five minutes: none runs, or none is "
            "scraped. Nothing else is known about the pipeline while this lasts, and it cannot alert on its own.",
            hold=_HOLD,
        )

    def _load(self) -> str:
        depth = f"max({self._series(names.QUEUE_DEPTH)})"
        return f" {_value_of(depth, 'jobs wait')}, {_value_of(self._active(), 'run')}."

    def _active(self) -> str:
        return f"sum({self._series(names.ACTIVE_JOBS)})"


_COUNT = '{{ $value | printf "%.0f" }}'
_MILLISECONDS = '{{ $value | printf "%.0f" }} ms'


def _literal(text: str) -> str:
    """Text as a template that yields just that text."""
    return text.replace("{{", '{{ "{{" }}')


def _value_of(expr: str, unit: str) -> str:
    """Template of a query's one value, as it is when the alert is evaluated."""
    value = '{{ . | first | value | printf "%.0f" }}'
    return f"{{{{ with query {_go(expr)} }}}}{value}{{{{ else }}}}?{{{{ end }}}} {unit}"


def _each_of(expr: str, label: str) -> str:
    """Template of a query's values, each with what its label says."""
    item = f'{{{{ .Labels.{label} }}}} {{{{ .Value | printf "%.0f" }}}}'
    return f"{{{{ range $i, $s := query {_go(expr)} }}}}{{{{ if $i }}}}, {{{{ end }}}}{item}{{{{ end }}}}"


def _go(text: str) -> str:
    """A string literal of Go's templates. JSON's escapes are Go's too; braces must not end the action."""
    return json.dumps(text).replace("{{", r"{\u007b").replace("}}", r"}\u007d")
