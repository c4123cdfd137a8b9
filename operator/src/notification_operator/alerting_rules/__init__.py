"""The pipeline's Prometheus rules: `spec.groups` of its PrometheusRule. Called by the builder of that object.

`thresholds` has the alerts of the observability guide and the one for silence, `slo` those of the error budget;
`finishing` adds what all alerts share and what the pipeline overrides.
"""

from __future__ import annotations

from typing import Any

from notification_operator.alerting_rules.finishing import finished
from notification_operator.alerting_rules.input import RuleInput
from notification_operator.alerting_rules.slo import slo_groups
from notification_operator.alerting_rules.thresholds import threshold_groups

__all__ = ["RuleInput", "rule_groups"]


def rule_groups(rules: RuleInput) -> list[dict[str, Any]]:
    """Every group of rules, recordings before the alerts that read them."""
    groups = [*threshold_groups(rules), *slo_groups(rules)]
    made = []
    for group in groups:
        alerts = [finished(rule, rules) for rule in group.alerts]
        found = [*group.recordings, *(alert for alert in alerts if alert is not None)]
        if found:
            made.append({"name": group.name, **group.settings, "rules": found})
    return made
