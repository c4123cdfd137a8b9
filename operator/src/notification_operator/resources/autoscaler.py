"""The HorizontalPodAutoscaler: as many dispatchers as their CPU asks for, where KEDA isn't there to look at more."""

from __future__ import annotations

from notification_operator.kinds import AUTOSCALER, DEPLOYMENT
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child

# A backlog is worked off in bursts: dispatchers that were added stay for five minutes after the last need.
BEHAVIOR = {"scaleDown": {"stabilizationWindowSeconds": 300}}


def build(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The HorizontalPodAutoscaler `<name>`; None with KEDA, which makes one of its own."""
    wanted = pipeline.spec.autoscaling
    if wanted is None or context.keda:
        return None
    target = {"type": "Utilization", "averageUtilization": wanted.target_cpu}
    return child(AUTOSCALER, pipeline, pipeline.name) | {
        "spec": {
            "scaleTargetRef": {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.name, "name": pipeline.name},
            "minReplicas": wanted.min_replicas,
            "maxReplicas": wanted.max_replicas,
            "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": target}}],
            "behavior": BEHAVIOR,
        }
    }
