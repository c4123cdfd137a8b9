"""What rules are made from, and the form that they have before `finishing`. Used by every module of this package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import DropReason
from notification_dispatcher.schema import Duration
from notification_operator.alerting_rules.templates import literal, value_of
from notification_operator.dashboards.promql import is_exactly, selector
from notification_operator.spec.alert_rules import AlertName, RuleOverride, Severity
from notification_operator.spec.monitoring import Slo

BY_PIPELINE = "namespace, pipeline"
HOLD = "5m"
FULL = (DropReason.CAPACITY, DropReason.REJECTED)
"""Jobs that are lost because the queue is full, whichever way it overflows."""


@dataclass(frozen=True, slots=True)
class RuleInput:
    """What one pipeline's rules depend on, and nothing else."""

    namespace: str
    pipeline: str
    """The pipeline's name."""
    metrics_prefix: str
    failure_threshold: int
    failure_window: Duration
    scrape_interval: Duration
    backlog_threshold: int
    latency_threshold_ms: int
    runbook_url: str
    """With `{alert}` for the alert's name. Empty: no link."""
    dashboard_url: str
    """Empty: no link."""
    silence_tells: bool
    """That none is scraped means that none answers: some are meant to run, and `up` is known to have our labels."""
    dispatcher_tells: bool
    """The dispatcher itself tells Slack, and Alertmanager should leave it to that."""
    slo: Slo
    overrides: Mapping[AlertName, RuleOverride] = field(default_factory=dict)

    @property
    def matchers(self) -> tuple[str, str]:
        """What selects this pipeline alone."""
        return is_exactly("namespace", self.namespace), is_exactly("pipeline", self.pipeline)

    @property
    def title(self) -> str:
        """The pipeline's name for people, as a template."""
        return literal(f"{self.namespace}/{self.pipeline}")

    def series(self, metric: str, *matchers: str) -> str:
        """The pipeline's series of one of the dispatcher's metrics."""
        return selector(self.metrics_prefix + metric, (*self.matchers, *matchers))

    def recorded(self, name: str) -> str:
        """The pipeline's series of a recording rule."""
        return selector(name, self.matchers)

    def load(self) -> str:
        """A template that says how much there is to do."""
        depth = f"max({self.series(names.QUEUE_DEPTH)})"
        return f" {value_of(depth, 'jobs wait')}, {value_of(self.active(), 'run')}."

    def active(self) -> str:
        """Jobs that run now."""
        return f"sum({self.series(names.ACTIVE_JOBS)})"


@dataclass(frozen=True, slots=True)
class Rule:
    """One alert, before what all alerts share is added."""

    alert: AlertName
    expr: str
    severity: Severity
    summary: str
    description: str
    """Templates both."""
    hold: str = ""
    """How long the expression must hold before it fires. Empty: not at all."""
    keep: str = HOLD
    """How long it goes on firing afterwards: a value that swings about its threshold is one alert, not many."""
    mirrors: bool = False
    """The dispatcher has an alert of this name too, which goes to Slack."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rules that are evaluated one after the other, so that alerts see the recordings of the same moment."""

    name: str
    recordings: Sequence[Mapping[str, Any]]
    alerts: Sequence[Rule]
    settings: Mapping[str, str] = field(default_factory=dict)
