"""`spec.alerts`: when somebody is told that something is wrong, and where."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.destinations import ALLOW_PRIVATE
from notification_dispatcher.schema import ApiModel, Duration, Enumeration, SecretKeyRef, rule
from notification_operator.spec.alert_rules import RuleOverrides
from notification_operator.spec.values import LINK


class AlertMode(Enumeration):
    """Who tells people: the dispatcher through Slack, or Prometheus through Alertmanager."""

    IN_PROCESS = "InProcess"
    ALERTMANAGER = "Alertmanager"
    BOTH = "Both"


_BOTH_NEEDS_SLACK = (
    "alerts.mode Both needs alerts.slack: without it only Alertmanager is told, which is the mode Alertmanager"
)


class SlackAlerts(ApiModel):
    """Where alerts go: an incoming webhook of Slack, from a Secret."""

    webhook_secret_ref: SecretKeyRef = Field(description="The incoming webhook's URL, from a Secret.")
    fallback_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Used when the first reference cannot be resolved."
    )
    allow_private_addresses: bool = Field(default=False, description=ALLOW_PRIVATE)


class Alerts(ApiModel):
    """When people are told, and where. A change is in force within a minute or so, without a restart."""

    model_config = ConfigDict(json_schema_extra=rule("self.mode != 'Both' || has(self.slack)", _BOTH_NEEDS_SLACK))

    mode: AlertMode = Field(
        default=AlertMode.IN_PROCESS,
        description="Who tells people. InProcess: the dispatcher tells Slack, and the alerts of Prometheus that say "
        "the same carry the label notifier: dispatcher, so that Alertmanager can drop them. Alertmanager: only "
        "Alertmanager does, and slack is not used. Both: both do, each on its own.",
    )
    failure_threshold: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Failure Spike: alert when at least this many jobs failed for good within failureWindow.",
    )
    failure_window: Duration = Field(
        default=Duration("5m"),
        description="Length of the sliding window that failures are counted in. The rule of Prometheus takes at least "
        "1m, and at least the time of four scrapes.",
    )
    backlog_threshold: int = Field(
        default=500, ge=1, le=10_000_000, description="Backlog Growth: alert when at least this many jobs wait."
    )
    latency_threshold: Duration = Field(
        default=Duration("5s"),
        description="High Wait / High Duration: alert when a job waits, or its delivery takes, at least this long.",
    )
    cooldown: Duration = Field(
        default=Duration("5m"), description="The same alert is sent at most once in this time; the rest are counted."
    )
    slack: SlackAlerts | None = Field(
        default=None,
        description="The Slack channel that the dispatcher tells. Without it nobody is told, and a condition says so.",
    )
    runbook_url: str = Field(
        default="",
        alias="runbookURL",
        pattern=LINK,
        max_length=1024,
        description="Link to a runbook for each alert; {alert} stands for the alert's name.",
    )
    dashboard_url: str = Field(
        default="",
        alias="dashboardURL",
        pattern=LINK,
        max_length=1024,
        description="Link to the pipeline's dashboard, put on each alert.",
    )
    rules: RuleOverrides = Field(
        default_factory=dict,
        description="What differs for alerts of the PrometheusRule, by the alert's name: NotificationFailureSpike, ….",
    )

    @model_validator(mode="after")
    def _someone_is_told(self) -> Self:
        if self.mode is AlertMode.BOTH and self.slack is None:
            raise ValueError(_BOTH_NEEDS_SLACK)
        return self
