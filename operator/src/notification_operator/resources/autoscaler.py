"""The HorizontalPodAutoscaler: as many dispatchers as their CPU asks for."""

from __future__ import annotations

from notification_operator.kinds import AUTOSCALER, DEPLOYMENT
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child

_CALM_SECONDS = 300
"""A backlog is worked off in bursts: dispatchers that were added stay for this long after the last need."""


def build(pipeline: Pipeline, _context: Context) -> Manifest | None:
    """The HorizontalPodAutoscaler `<name>`."""
    wanted = pipeline.spec.autoscaling
    if wanted is None:
        return None
    target = {"type": "Utilization", "averageUtilization": wanted.target_cpu}
    return child(AUTOSCALER, pipeline, pipeline.name) | {
        "spec": {
            "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "name": pipeline.name},
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": _CALM_SECONDS}},
        }
    }
