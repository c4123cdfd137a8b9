"""The NotificationPipeline resource: its typed spec, from which `crd` generates the schema.

`pipeline` reads what the API server stores with it. Field names, defaults, bounds and descriptions
stand here alone; channels, job types and retries come from the dispatcher's own model of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.destinations import ALLOW_PRIVATE
from notification_dispatcher.metric_names import DEFAULT_PREFIX
from notification_dispatcher.pipeline import (
    Channel,
    JobType,
    Retry,
    Routing,
    UnknownJobTypes,
    check_routing,
)
from notification_dispatcher.schema import LIST_BY_NAME, ApiModel, Duration, Enumeration, SecretKeyRef, rule

GROUP = "notifications.plannivo.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "NotificationPipeline"
PLURAL = "notificationpipelines"

LABEL_KEY = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
_METRICS_PREFIX = r"^[a-z_][a-z0-9_]*_$"
_LINK = r"^(https?://[!-~]+)?$"

Labels = Annotated[
    Mapping[
        Annotated[str, Field(pattern=LABEL_KEY, max_length=317)],
        Annotated[str, Field(pattern=LABEL_VALUE, max_length=63)],
    ],
    Field(
        max_length=32,
        json_schema_extra=rule(
            f"self.all(key, key.matches('{LABEL_KEY}') && size(key) <= 317)",
            "each key must be a Kubernetes label key, such as release or example.com/team",
        ),
    ),
]


class ImagePullPolicy(Enumeration):
    """When the kubelet pulls the dispatcher's image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Overflow(Enumeration):
    """What happens to a new job when the queue is full."""

    EVICT_OLDEST = "EvictOldest"
    REJECT = "Reject"


class DeadLetters(ApiModel):
    """Jobs that failed for good. They can be looked at, replayed and deleted over the dispatcher's API."""

    retention: Duration = Field(default=Duration("168h"), description="They are deleted after this time.")
    limit: int = Field(
        default=10_000, ge=0, le=10_000_000, description="So many are kept; the oldest go first. 0 keeps none."
    )


class Queue(ApiModel):
    """Where jobs wait."""

    capacity: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Jobs that may wait at once, all priorities together."
    )
    overflow: Overflow = Field(
        default=Overflow.EVICT_OLDEST,
        description="When the queue is full: EvictOldest drops the job that has waited longest, Reject answers the "
        "caller 429 with Retry-After. Both are counted and alerted on.",
    )
    dedup_window: Duration = Field(
        default=Duration("10m"),
        description="A job whose dedupKey (or id) was seen within this time is not queued a second time.",
    )
    dead_letters: DeadLetters = Field(
        default_factory=DeadLetters, description="How long jobs are kept that failed for good, and how many."
    )


class Workers(ApiModel):
    """How many deliveries run at once, and for how long."""

    concurrency: int = Field(default=32, ge=1, le=1024, description="Deliveries at once, for each replica.")
    timeout: Duration = Field(default=Duration("30s"), description="Limit for one delivery attempt.")
    drain_timeout: Duration = Field(
        default=Duration("25s"),
        description="On termination, running deliveries get this long to finish; what is left goes back to the queue.",
    )


class Api(ApiModel):
    """The dispatcher's HTTP interface."""

    port: int = Field(default=4000, ge=1024, le=65535, description="Port of the API, the probes and the metrics.")
    max_batch: int = Field(default=1000, ge=1, le=10_000, description="Most notifications in one POST.")
    max_body_bytes: int = Field(
        default=5_242_880, ge=1024, le=104_857_600, description="Largest body of one POST, in bytes."
    )


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
        pattern=_LINK,
        max_length=1024,
        description="Link to a runbook for each alert; {alert} stands for the alert's name.",
    )
    dashboard_url: str = Field(
        default="",
        alias="dashboardURL",
        pattern=_LINK,
        max_length=1024,
        description="Link to the pipeline's dashboard, put on each alert.",
    )


class ServiceMonitor(ApiModel):
    """The object that tells a Prometheus of prometheus-operator to scrape the dispatcher."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "duration(self.scrapeTimeout) <= duration(self.interval)",
            "monitoring.serviceMonitor.scrapeTimeout must not be longer than its interval",
        )
    )

    enabled: bool = Field(default=True, description="Create a ServiceMonitor.")
    interval: Duration = Field(default=Duration("15s"), description="Time between two scrapes.")
    scrape_timeout: Duration = Field(default=Duration("10s"), description="Limit for one scrape; at most interval.")
    labels: Labels = Field(
        default_factory=dict,
        description="Labels to add, so that your Prometheus selects it: often `release: <helm release>`.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.scrape_timeout.milliseconds > self.interval.milliseconds:
            raise ValueError("monitoring.serviceMonitor.scrapeTimeout must not be longer than its interval")
        return self


class PrometheusRule(ApiModel):
    """The object that carries the pipeline's alerting rules to a Prometheus of prometheus-operator."""

    enabled: bool = Field(default=True, description="Create a PrometheusRule.")
    labels: Labels = Field(default_factory=dict, description="Labels to add, so that your Prometheus selects it.")


class Monitoring(ApiModel):
    """What Prometheus is given."""

    metrics_prefix: str = Field(
        default=DEFAULT_PREFIX,
        pattern=_METRICS_PREFIX,
        max_length=64,
        description="Prefix of every metric's name. The fleet dashboard expects the default.",
    )
    service_monitor: ServiceMonitor = Field(
        default_factory=ServiceMonitor, description="The scrape, for prometheus-operator."
    )
    prometheus_rule: PrometheusRule = Field(
        default_factory=PrometheusRule, description="The alerting rules, for prometheus-operator."
    )


class Dashboard(ApiModel):
    """The pipeline's Grafana dashboard, as a ConfigMap for Grafana's sidecar."""

    enabled: bool = Field(default=True, description="Create the dashboard's ConfigMap.")
    folder: str = Field(
        default="",
        max_length=128,
        pattern=r"^[ -~]*$",
        description="Folder in Grafana, as the annotation grafana_folder; the sidecar must be told to honour it.",
    )
    labels: Labels = Field(
        default_factory=lambda: {"grafana_dashboard": "1"},
        description="Labels by which Grafana's sidecar finds the ConfigMap.",
    )
    datasource: str = Field(
        default="",
        max_length=128,
        pattern=r"^[ -~]*$",
        description="Uid of the Prometheus data source. Default: one is chosen in the dashboard.",
    )


class PipelineSpec(ApiModel):
    """What a pipeline should be."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "!has(self.jobTypes) || self.jobTypes.all(t, !has(t.channels)"
            " || t.channels.all(c, self.channels.exists(x, x.name == c)))",
            "each name in jobTypes[].channels must be the name of one of spec.channels",
        )
    )

    paused: bool = Field(
        default=False, description="Stop reconciling: nothing is written but the status, until it is false again."
    )
    image: str = Field(
        default="",
        max_length=512,
        pattern=r"^[!-~]*$",
        description="Image of the dispatcher. Default: the one that the operator was installed with.",
    )
    image_pull_policy: ImagePullPolicy = Field(
        default=ImagePullPolicy.IF_NOT_PRESENT, description="When the image is pulled."
    )
    queue: Queue = Field(default_factory=Queue, description="Where jobs wait, how many, and what is a repetition.")
    workers: Workers = Field(default_factory=Workers, description="Deliveries at once, and their limits.")
    retry: Retry = Field(
        default_factory=Retry, description="How a failed delivery is tried again: exponential back-off, full jitter."
    )
    job_types: tuple[JobType, ...] = Field(
        default=(),
        max_length=64,
        description="What is special about some job types: channels, priority, limits. A type that is not listed "
        "takes the defaults and goes to all channels.",
        json_schema_extra=LIST_BY_NAME,
    )
    unknown_job_types: UnknownJobTypes = Field(
        default=UnknownJobTypes.ACCEPT,
        description="Accept: a type that is not listed is delivered as well. Reject: it is dropped, and counted.",
    )
    channels: tuple[Channel, ...] = Field(
        min_length=1,
        max_length=32,
        description="The ways out for notifications: webhooks, Slack channels, mail, and whatever Apprise knows.",
        json_schema_extra=LIST_BY_NAME,
    )
    api: Api = Field(default_factory=Api, description="The dispatcher's HTTP interface.")
    alerts: Alerts = Field(default_factory=Alerts, description="When Slack is told that something is wrong.")
    monitoring: Monitoring = Field(default_factory=Monitoring, description="What Prometheus is given.")
    dashboard: Dashboard = Field(default_factory=Dashboard, description="The pipeline's Grafana dashboard.")

    @model_validator(mode="after")
    def _routes_exist(self) -> Self:
        check_routing(self.channels, self.job_types)
        return self

    @property
    def routing(self) -> Routing:
        """The part that the dispatcher reads from its pipeline file."""
        return Routing.model_construct(
            channels=self.channels, job_types=self.job_types, unknown_job_types=self.unknown_job_types
        )
