"""The Deployment of dispatchers.

What a dispatcher reads at its start only stands in the pod template, so that a change of it rolls the pods; everything
else comes through the mounted folder and doesn't.
"""

from __future__ import annotations

import hashlib
import math

import msgspec

from notification_dispatcher.variables import Variable
from notification_operator import naming
from notification_operator.kinds import DEPLOYMENT
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child
from notification_operator.resources.service import PORT_NAME

CONTAINER = "dispatcher"
SETTINGS_PATH = "/etc/notification"
DATA_PATH = "/var/lib/notification"
TEMPORARY_PATH = "/tmp"  # noqa: S108  a mount of its own in the pod

_USER = 65532
_STOP_MARGIN_SECONDS = 5
"""Beyond the drain: settling the last deliveries and closing the queue."""


def build(pipeline: Pipeline, context: Context) -> Manifest:
    """The Deployment `<name>`."""
    template: Manifest = {"metadata": {"labels": naming.labels(pipeline.name)}, "spec": _pod(pipeline, context)}
    template["metadata"]["annotations"] = {naming.TEMPLATE_ANNOTATION: _digest(template)}
    return child(DEPLOYMENT, pipeline, pipeline.name) | {
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": naming.selector(pipeline.name)},
            # One pod, one queue: the old one drains while the new one takes over.
            "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": template,
        }
    }


def _digest(template: Manifest) -> str:
    return hashlib.sha256(msgspec.json.encode(template, order="deterministic")).hexdigest()[:16]


def _pod(pipeline: Pipeline, context: Context) -> Manifest:
    return {
        "serviceAccountName": pipeline.name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": math.ceil(pipeline.spec.workers.drain_timeout.seconds) + _STOP_MARGIN_SECONDS,
        # The restricted Pod Security Standard.
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(pipeline, context)],
        "volumes": [
            {"name": "settings", "projected": {"sources": _settings_sources(pipeline)}},
            {"name": "data", "emptyDir": {}},
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _settings_sources(pipeline: Pipeline) -> list[Manifest]:
    """One folder of three objects: the kubelet swaps it as a whole, so no half of a change is ever seen.

    The Secrets are optional, so that a pipeline starts without them and takes them up when they come.
    """
    return [
        {"configMap": {"name": naming.config(pipeline.name)}},
        {"secret": {"name": naming.slack_alerts(pipeline.name), "optional": True}},
        {"secret": {"name": naming.credentials(pipeline.name), "optional": True}},
    ]


def _container(pipeline: Pipeline, context: Context) -> Manifest:
    return {
        "name": CONTAINER,
        "image": context.image(pipeline),
        "imagePullPolicy": pipeline.spec.image_pull_policy.value,
        "command": ["notification-dispatcher"],
        "args": ["run"],
        "env": [{"name": variable.value, "value": value} for variable, value in _environment(pipeline).items()],
        "ports": [{"name": PORT_NAME, "containerPort": pipeline.spec.api.port, "protocol": "TCP"}],
        "resources": {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "startupProbe": _probe("/healthz", period=1, failures=60),
        "livenessProbe": _probe("/healthz", period=10, failures=3),
        "readinessProbe": _probe("/readyz", period=2, failures=2),
        "volumeMounts": [
            {"name": "settings", "mountPath": SETTINGS_PATH, "readOnly": True},
            {"name": "data", "mountPath": DATA_PATH},
            {"name": "tmp", "mountPath": TEMPORARY_PATH},
        ],
    }


def _environment(pipeline: Pipeline) -> dict[Variable, str]:
    spec = pipeline.spec
    return {
        Variable.CONFIG_DIR: SETTINGS_PATH,
        Variable.HOST: "0.0.0.0",  # noqa: S104  the Service and the kubelet come from outside the pod
        Variable.PORT: str(spec.api.port),
        Variable.QUEUE_ENGINE: "sqlite",
        Variable.QUEUE_PATH: f"{DATA_PATH}/queue.db",
        Variable.DRAIN_TIMEOUT_MS: str(spec.workers.drain_timeout.milliseconds),
        Variable.METRICS_PREFIX: spec.monitoring.metrics_prefix,
        Variable.PIPELINE_NAMESPACE: pipeline.namespace,
        Variable.PIPELINE_NAME: pipeline.name,
        Variable.LOG_FORMAT: "json",
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
