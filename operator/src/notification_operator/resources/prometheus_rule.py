"""The PrometheusRule: the pipeline's alerting rules with its own numbers, for a Prometheus of prometheus-operator."""

from __future__ import annotations

from notification_operator.alerting_rules import RuleInput, rule_groups
from notification_operator.kinds import PROMETHEUS_RULE
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child
from notification_operator.spec.alerts import AlertMode


def build(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The PrometheusRule `<name>`."""
    wanted, alerts = pipeline.spec.monitoring.prometheus_rule, pipeline.spec.alerts
    if not wanted.enabled:
        return None
    rules = RuleInput(
        namespace=pipeline.namespace,
        pipeline=pipeline.name,
        metrics_prefix=pipeline.spec.monitoring.metrics_prefix,
        failure_threshold=alerts.failure_threshold,
        failure_window=alerts.failure_window,
        scrape_interval=pipeline.spec.monitoring.service_monitor.interval,
        backlog_threshold=alerts.backlog_threshold,
        latency_threshold_ms=alerts.latency_threshold.milliseconds,
        runbook_url=alerts.runbook_url,
        dashboard_url=alerts.dashboard_url,
        # Another scrape than the ServiceMonitor's need not label `up` as the alert on its absence asks for.
        silence_tells=pipeline.spec.replicas != 0 and pipeline.spec.monitoring.service_monitor.enabled,
        # Without a webhook the dispatcher tells nobody, whatever it should do.
        dispatcher_tells=alerts.mode is AlertMode.IN_PROCESS and bool(context.slack_alerts),
        slo=wanted.slo,
        overrides=alerts.rules,
    )
    return child(PROMETHEUS_RULE, pipeline, pipeline.name, labels=wanted.labels) | {
        "spec": {"groups": rule_groups(rules)}
    }
