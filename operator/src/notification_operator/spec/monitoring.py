"""`spec.monitoring` and `spec.dashboard`: what Prometheus and Grafana are given."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.metric_names import DEFAULT_PREFIX
from notification_dispatcher.schema import ApiModel, Duration, rule
from notification_operator.spec.values import Labels

_METRICS_PREFIX = r"^[a-z_][a-z0-9_]*_$"


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
