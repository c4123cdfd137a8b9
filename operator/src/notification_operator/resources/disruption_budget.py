"""The PodDisruptionBudget: a node's maintenance takes one dispatcher at a time."""

from __future__ import annotations

from notification_operator import naming
from notification_operator.kinds import DISRUPTION_BUDGET
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child


def build(pipeline: Pipeline, _context: Context) -> Manifest | None:
    """The PodDisruptionBudget `<name>`; None for a single dispatcher, which it could only keep nodes from draining."""
    spec = pipeline.spec
    if not spec.pod_disruption_budget.enabled or spec.most_replicas <= 1:
        return None
    return child(DISRUPTION_BUDGET, pipeline, pipeline.name) | {
        "spec": {
            "maxUnavailable": 1,
            "selector": {"matchLabels": naming.selector(pipeline.name)},
            # Pods that don't work serve nobody, and must not hold a node up.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
        }
    }
