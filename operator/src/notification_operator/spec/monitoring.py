"""`spec.monitoring` and `spec.dashboard`: what Prometheus and Grafana are given."""

from __future__ import annotations

from decimal import Decimal
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.metric_names import DEFAULT_PREFIX
from notification_dispatcher.schema import ApiModel, Duration, rule, rules
from notification_operator.spec.relabeling import Relabeling
from notification_operator.spec.values import AddedAnnotations, AddedLabels

FOLDER_ANNOTATION = "grafana_folder"

_METRICS_PREFIX = r"^[a-z_][a-z0-9_]*_$"
_OBJECTIVE = r"^9[4-9]([.][0-9]{1,3})?$"
_LONGEST_INTERVAL = "2m"
_INTERVAL_TOO_LONG = (
    f"monitoring.serviceMonitor.interval must be at most {_LONGEST_INTERVAL}: rules look back five minutes, and see "
    "nothing, or too little, where samples are further apart"
)
_TIMEOUT_TOO_LONG = "monitoring.serviceMonitor.scrapeTimeout must not be longer than its interval"
_SHORTEST_SLO_WINDOW = "72h"
_SLO_WINDOW_TOO_SHORT = (
    f"monitoring.prometheusRule.slo.window must be at least {_SHORTEST_SLO_WINDOW}: the slowest alert looks so far back"
)
_FOLDER_TWICE = f"dashboard.folder sets the annotation {FOLDER_ANNOTATION}: set one of the two"


class ServiceMonitor(ApiModel):
    """The object that tells a Prometheus of prometheus-operator to scrape the dispatcher."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("duration(self.scrapeTimeout) <= duration(self.interval)", _TIMEOUT_TOO_LONG),
            (f"duration(self.interval) <= duration('{_LONGEST_INTERVAL}')", _INTERVAL_TOO_LONG),
        )
    )

    enabled: bool = Field(
        default=True,
        description="Create a ServiceMonitor. Where another scrape takes its place, that one must set the labels "
        "`namespace` and `pipeline` (this resource's namespace and name): rules and boards go by them. "
        "There is no alert on dispatchers that aren't scraped then.",
    )
    interval: Duration = Field(
        default=Duration("15s"),
        description=f"Time between two scrapes; at most {_LONGEST_INTERVAL}. Where it is longer than Grafana's data "
        "source has as its scrape interval, change it there too, or the boards' rates may be empty.",
    )
    scrape_timeout: Duration = Field(default=Duration("10s"), description="Limit for one scrape; at most interval.")
    labels: AddedLabels = Field(
        default_factory=dict,
        description="Labels to add, so that your Prometheus selects it: often `release: <helm release>`.",
    )
    scrape_class: str = Field(
        default="",
        max_length=253,
        pattern=r"^[ -~]*$",
        description="Name of one of your Prometheus' scrapeClasses: credentials and TLS for the scrape.",
    )
    metric_relabelings: tuple[Relabeling, ...] = Field(
        default=(),
        max_length=32,
        description="Steps of relabeling on each sample before it is stored: drop series, rename labels.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )

    @model_validator(mode="after")
    def _often_enough(self) -> Self:
        if self.scrape_timeout.milliseconds > self.interval.milliseconds:
            raise ValueError(_TIMEOUT_TOO_LONG)
        if self.interval.milliseconds > Duration(_LONGEST_INTERVAL).milliseconds:
            raise ValueError(_INTERVAL_TOO_LONG)
        return self


class Slo(ApiModel):
    """The objective for delivered notifications, and the alerts on how fast its error budget is spent."""

    model_config = ConfigDict(
        json_schema_extra=rule(f"duration(self.window) >= duration('{_SHORTEST_SLO_WINDOW}')", _SLO_WINDOW_TOO_SHORT)
    )

    enabled: bool = Field(default=True, description="Record the ratio of errors, and alert on burn rates.")
    objective: str = Field(
        default="99.5",
        max_length=6,
        pattern=_OBJECTIVE,
        description="Percentage of the jobs that must be delivered, as a string: 94 to 99.999. Below 94 not even the "
        "loss of every job would spend the budget fast enough to page.",
    )
    window: Duration = Field(
        default=Duration("720h"),
        description="The time that the objective is for, at least 72h. Burn rates are scaled to it, down to the ratio "
        "of errors that the objective allows for a ticket, and twice that for a page.",
    )
    min_events: int = Field(
        default=100,
        ge=1,
        le=1_000_000_000,
        description="Jobs that must have ended in an alert's long window, so that one error among few doesn't page.",
    )

    @property
    def budget(self) -> Decimal:
        """The share of the jobs that may fail."""
        return 1 - Decimal(self.objective) / 100

    @model_validator(mode="after")
    def _long_enough(self) -> Self:
        if self.window.milliseconds < Duration(_SHORTEST_SLO_WINDOW).milliseconds:
            raise ValueError(_SLO_WINDOW_TOO_SHORT)
        return self


class PrometheusRule(ApiModel):
    """The object that carries the pipeline's alerting rules to a Prometheus of prometheus-operator."""

    enabled: bool = Field(default=True, description="Create a PrometheusRule.")
    labels: AddedLabels = Field(default_factory=dict, description="Labels to add, so that your Prometheus selects it.")
    slo: Slo = Field(default_factory=Slo, description="The service level objective, and alerts on its error budget.")


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

    model_config = ConfigDict(
        json_schema_extra=rule(
            f"!has(self.folder) || self.folder == '' || !has(self.annotations)"
            f" || !('{FOLDER_ANNOTATION}' in self.annotations)",
            _FOLDER_TWICE,
        )
    )

    enabled: bool = Field(default=True, description="Create the dashboard's ConfigMap.")
    folder: str = Field(
        default="",
        max_length=128,
        pattern=r"^[ -~]*$",
        description="Folder in Grafana, as the annotation grafana_folder; the sidecar must be told to honour it.",
    )
    labels: AddedLabels | None = Field(
        default=None,
        description="Labels by which Grafana's sidecar finds the ConfigMap. What you set replaces the default as a "
        'whole. Default: grafana_dashboard: "1".',
    )
    annotations: AddedAnnotations = Field(
        default_factory=dict,
        description="Annotations to add, for a sidecar that is told by another one which folder to use.",
    )
    datasource: str = Field(
        default="",
        max_length=128,
        pattern=r"^[ -~]*$",
        description="Uid of the Prometheus data source. Default: one is chosen in the dashboard.",
    )

    @model_validator(mode="after")
    def _one_folder(self) -> Self:
        if self.folder and FOLDER_ANNOTATION in self.annotations:
            raise ValueError(_FOLDER_TWICE)
        return self
