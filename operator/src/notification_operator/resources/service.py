"""The Service: where notifications are posted, and what the ServiceMonitor scrapes."""

from __future__ import annotations

from notification_operator import naming
from notification_operator.kinds import SERVICE
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child

PORT_NAME = "http"


def build(pipeline: Pipeline, _context: Context) -> Manifest:
    """The Service `<name>`."""
    return child(SERVICE, pipeline, pipeline.name, labels={naming.METRICS_LABEL: "true"}) | {
        "spec": {
            "type": "ClusterIP",
            "selector": naming.selector(pipeline.name),
            "ports": [{"name": PORT_NAME, "port": pipeline.spec.api.port, "targetPort": PORT_NAME, "protocol": "TCP"}],
        }
    }


def endpoint(pipeline: Pipeline) -> str:
    """Where to reach the API inside the cluster."""
    return f"http://{pipeline.name}.{pipeline.namespace}.svc:{pipeline.spec.api.port}"
