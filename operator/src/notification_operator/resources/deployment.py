"""The Deployment of dispatchers: how many there are, and how one generation of them follows another."""

from __future__ import annotations

from notification_operator import naming
from notification_operator.kinds import DEPLOYMENT
from notification_operator.pipeline import Pipeline
from notification_operator.resources import pod_template
from notification_operator.resources.base import Context, Manifest, child


def build(pipeline: Pipeline, context: Context) -> Manifest:
    """The Deployment `<name>`."""
    spec: Manifest = {
        "selector": {"matchLabels": naming.selector(pipeline.name)},
        "strategy": _strategy(pipeline),
        "template": pod_template.build(pipeline, context),
    }
    # Left out, it is the autoscaler's alone; but none is what a HorizontalPodAutoscaler never changes. KEDA does.
    if pipeline.spec.autoscaling is None:
        spec["replicas"] = pipeline.spec.replicas
    elif context.stopped and not context.keda:
        spec["replicas"] = pipeline.spec.autoscaling.min_replicas
    return child(DEPLOYMENT, pipeline, pipeline.name) | {"spec": spec}


def _strategy(pipeline: Pipeline) -> Manifest:
    """A queue on a volume is for one dispatcher at a time: the new one starts when the old one has gone."""
    if pipeline.spec.queue.persistence is not None:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
