"""Makes an alert what Prometheus reads: labels, links, and what the pipeline overrides. Called by the package itself.

An alert that mirrors one of the dispatcher's own carries `notifier: dispatcher` while the dispatcher tells Slack, so
that a route of Alertmanager can leave it to that. The others never do: a dead process cannot alert, and it knows no
error budget.
"""

from __future__ import annotations

from typing import Any

from notification_operator.alerting_rules.input import Rule, RuleInput
from notification_operator.alerting_rules.templates import literal
from notification_operator.spec.alert_rules import NOTIFIER_LABEL, RuleOverride

NOTIFIER = "dispatcher"


def finished(rule: Rule, rules: RuleInput) -> dict[str, Any] | None:
    """The rule as Prometheus reads it; None where the pipeline switches it off."""
    override = rules.overrides.get(rule.alert, RuleOverride())
    if not override.enabled:
        return None
    made: dict[str, Any] = {"alert": rule.alert.value, "expr": rule.expr}
    if hold := rule.hold if override.hold is None else override.hold.normalised:
        made["for"] = hold
    if rule.keep:
        made["keep_firing_for"] = rule.keep
    return {**made, "labels": _labels(rule, rules, override), "annotations": _annotations(rule, rules, override)}


def _labels(rule: Rule, rules: RuleInput, override: RuleOverride) -> dict[str, str]:
    labels = {
        **override.labels,
        "severity": (override.severity or rule.severity).value,
        # Static, since an expression such as absent() drops them.
        "namespace": literal(rules.namespace),
        "pipeline": literal(rules.pipeline),
    }
    if rule.mirrors and rules.dispatcher_tells:
        labels[NOTIFIER_LABEL] = NOTIFIER
    return labels


def _annotations(rule: Rule, rules: RuleInput, override: RuleOverride) -> dict[str, str]:
    annotations = {
        "summary": rule.summary,
        "description": rule.description,
        "runbook_url": literal(rules.runbook_url.replace("{alert}", rule.alert.short)),
        "dashboard_url": literal(rules.dashboard_url),
        **override.annotations,
    }
    return {key: text for key, text in annotations.items() if text}
