"""The NotificationPipeline resource: its typed spec, from which `crd` generates the schema.

`pipeline` reads what the API server stores with it. Field names, defaults, bounds and descriptions
stand here alone, a module for each part; channels, job types and retries come from the dispatcher's own model of them.
"""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.pipeline import Channel, JobType, Retry, Routing, UnknownJobTypes, check_routing
from notification_dispatcher.schema import LIST_BY_NAME, rules
from notification_operator.spec.alerts import AlertMode, Alerts
from notification_operator.spec.api import Api
from notification_operator.spec.monitoring import Dashboard, Monitoring
from notification_operator.spec.pods import PodFields, check_pods
from notification_operator.spec.queue import Engine, Queue, Workers

_ROUTES_EXIST_RULE = (
    "!has(self.jobTypes) || self.jobTypes.all(t, !has(t.channels)"
    " || t.channels.all(c, self.channels.exists(x, x.name == c)))"
)
_ROUTES_EXIST = "each name in jobTypes[].channels must be the name of one of spec.channels"
_ONE_REPLICA = (
    "replicas: the Embedded engine keeps its queue in one file, so that one dispatcher at most can run; for more, and "
    "for autoscaling, use queue.engine PostgreSQL"
)
_ONE_NUMBER = "replicas and autoscaling exclude each other: remove one of them"
_RULES_NEEDED = (
    "alerts.mode Alertmanager and Both need monitoring.prometheusRule.enabled: Alertmanager is told by those rules"
)
_CPU_REQUEST_RULE = (
    "!has(self.autoscaling) || !has(self.resources)"
    " || (has(self.resources.requests) && has(self.resources.requests.cpu))"
)
_CPU_REQUEST = "autoscaling needs resources.requests.cpu: the load is measured against it"


class PipelineSpec(PodFields):
    """What a pipeline should be."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            (_ROUTES_EXIST_RULE, _ROUTES_EXIST),
            ("self.queue.engine != 'Embedded' || (self.replicas <= 1 && !has(self.autoscaling))", _ONE_REPLICA),
            ("!has(self.autoscaling) || self.replicas == 1", _ONE_NUMBER),
            (_CPU_REQUEST_RULE, _CPU_REQUEST),
            ("self.alerts.mode == 'InProcess' || self.monitoring.prometheusRule.enabled", _RULES_NEEDED),
        )
    )

    paused: bool = Field(
        default=False, description="Stop reconciling: nothing is written but the status, until it is false again."
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

    @model_validator(mode="after")
    def _pods_fit(self) -> Self:
        check_pods(self)
        if self.queue.engine is Engine.EMBEDDED and (self.replicas > 1 or self.autoscaling is not None):
            raise ValueError(_ONE_REPLICA)
        if self.autoscaling is None:
            return self
        if self.replicas != 1:
            raise ValueError(_ONE_NUMBER)
        requests = None if self.resources is None else self.resources.requests
        if self.resources is not None and (requests is None or requests.cpu is None):
            raise ValueError(_CPU_REQUEST)
        return self

    @model_validator(mode="after")
    def _rules_exist(self) -> Self:
        if self.alerts.mode is not AlertMode.IN_PROCESS and not self.monitoring.prometheus_rule.enabled:
            raise ValueError(_RULES_NEEDED)
        return self

    @property
    def routing(self) -> Routing:
        """The part that the dispatcher reads from its pipeline file."""
        return Routing.model_construct(
            channels=self.channels, job_types=self.job_types, unknown_job_types=self.unknown_job_types
        )
