"""`spec.alerts`: when somebody is told that something is wrong, and where."""

from __future__ import annotations

from pydantic import Field

from notification_dispatcher.destinations import ALLOW_PRIVATE
from notification_dispatcher.schema import ApiModel, Duration, SecretKeyRef
from notification_operator.spec.values import LINK


class SlackAlerts(ApiModel):
    """Where alerts go: an incoming webhook of Slack, from a Secret."""

    webhook_secret_ref: SecretKeyRef = Field(description="The incoming webhook's URL, from a Secret.")
    fallback_secret_ref: SecretKeyRef | None = Field(
        default=None, description="Used when the first reference cannot be resolved."
    )
    allow_private_addresses: bool = Field(default=False, description=ALLOW_PRIVATE)


class Alerts(ApiModel):
    """When Slack is told, and where. A change is in force within a minute or so, without a restart."""

    failure_threshold: int = Field(
        default=20,
        ge=1,
        le=1_000_000,
        description="Failure Spike: alert when at least this many jobs failed for good within failureWindow.",
    )
    failure_window: Duration = Field(
        default=Duration("5m"), description="Length of the sliding window that failures are counted in."
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
        default=None, description="The Slack channel that is told. Without it nobody is, and a condition says so."
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
