"""The ServiceMonitor: tells a Prometheus of prometheus-operator to scrape the dispatchers."""

from __future__ import annotations

from notification_dispatcher.metric_names import METRICS_PATH
from notification_operator import naming
from notification_operator.kinds import SERVICE_MONITOR
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child
from notification_operator.resources.service import PORT_NAME


def build(pipeline: Pipeline, _context: Context) -> Manifest | None:
    """The ServiceMonitor `<name>`."""
    wanted = pipeline.spec.monitoring.service_monitor
    if not wanted.enabled:
        return None
    endpoint: Manifest = {
        "port": PORT_NAME,
        "path": METRICS_PATH,
        "interval": wanted.interval.normalised,
        "scrapeTimeout": wanted.scrape_timeout.normalised,
        "honorLabels": False,
        # Rules and boards tell pipelines apart by it.
        "relabelings": [{"action": "replace", "targetLabel": "pipeline", "replacement": pipeline.name}],
    }
    if wanted.metric_relabelings:
        endpoint["metricRelabelings"] = [
            step.model_dump(mode="json", by_alias=True, exclude_none=True) for step in wanted.metric_relabelings
        ]
    spec: Manifest = {
        "selector": {"matchLabels": {naming.PIPELINE_LABEL: pipeline.name, naming.METRICS_LABEL: "true"}},
        "endpoints": [endpoint],
    }
    if wanted.scrape_class:
        spec["scrapeClass"] = wanted.scrape_class
    return child(SERVICE_MONITOR, pipeline, pipeline.name, labels=wanted.labels) | {"spec": spec}
