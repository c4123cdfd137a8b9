"""KEDA's ScaledObject: as many dispatchers as the backlog and their CPU ask for, where the cluster has KEDA.

It reads the backlog from the database itself, with the pipeline's own credentials.
Source: https://keda.sh/docs/latest/scalers/postgresql/
"""

from __future__ import annotations

from notification_dispatcher.queue_names import depth_query
from notification_operator.kinds import SCALED_OBJECT, TRIGGER_AUTHENTICATION
from notification_operator.pipeline import Pipeline
from notification_operator.resources.autoscaler import BEHAVIOR
from notification_operator.resources.base import Context, Manifest, child


def build(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The ScaledObject `<name>`."""
    wanted = pipeline.spec.autoscaling
    if wanted is None or not context.keda:
        return None
    backlog = {
        "type": "postgresql",
        "metadata": {"query": depth_query(pipeline.queue_schema), "targetQueryValue": str(wanted.backlog_per_replica)},
        "authenticationRef": {"name": pipeline.name},
    }
    cpu = {"type": "cpu", "metricType": "Utilization", "metadata": {"value": str(wanted.target_cpu)}}
    return child(SCALED_OBJECT, pipeline, pipeline.name) | {
        "spec": {
            "scaleTargetRef": {"name": pipeline.name},
            "minReplicaCount": wanted.min_replicas,
            "maxReplicaCount": wanted.max_replicas,
            "triggers": [backlog, cpu],
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR}},
        }
    }


def build_authentication(pipeline: Pipeline, context: Context) -> Manifest | None:
    """The TriggerAuthentication `<name>`: KEDA reads the database's URI where the pipeline does."""
    database = pipeline.spec.queue.postgresql
    if pipeline.spec.autoscaling is None or database is None or not context.keda:
        return None
    ref = database.dsn_secret_ref
    return child(TRIGGER_AUTHENTICATION, pipeline, pipeline.name) | {
        "spec": {"secretTargetRef": [{"parameter": "connection", "name": ref.name, "key": ref.key}]}
    }
