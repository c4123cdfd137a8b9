"""The pipeline's Grafana dashboard, as a ConfigMap that Grafana's sidecar loads."""

from __future__ import annotations

from notification_operator import naming
from notification_operator.dashboards import BoardInput, pipeline_text
from notification_operator.kinds import CONFIG_MAP
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child
from notification_operator.spec.monitoring import FOLDER_ANNOTATION

_DEFAULT_LABELS = {"grafana_dashboard": "1"}
"""What the sidecar of kube-prometheus-stack looks for."""


def build(pipeline: Pipeline, _context: Context) -> Manifest | None:
    """The ConfigMap `<name>-dashboard`."""
    spec = pipeline.spec
    if not spec.dashboard.enabled:
        return None
    board = BoardInput(
        namespace=pipeline.namespace,
        pipeline=pipeline.name,
        metrics_prefix=spec.monitoring.metrics_prefix,
        datasource=spec.dashboard.datasource,
        latency_threshold_ms=spec.alerts.latency_threshold.milliseconds,
        backlog_threshold=spec.alerts.backlog_threshold,
        failure_threshold=spec.alerts.failure_threshold,
    )
    folder = {FOLDER_ANNOTATION: spec.dashboard.folder} if spec.dashboard.folder else {}
    frame = child(
        CONFIG_MAP,
        pipeline,
        naming.dashboard(pipeline.name),
        labels=_DEFAULT_LABELS if spec.dashboard.labels is None else spec.dashboard.labels,
        annotations={**spec.dashboard.annotations, **folder},
    )
    # The sidecar writes all boards into one folder; with a dot, which neither name can have, no two files are one.
    return frame | {"data": {f"{pipeline.namespace}.{pipeline.name}.json": pipeline_text(board)}}
