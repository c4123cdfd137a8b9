"""The dispatchers' pods: `deployment` makes them of this template.

What a dispatcher reads at its start only stands in here, so that a change of it rolls the pods; everything else comes
through the mounted folder and doesn't.
"""

from __future__ import annotations

import hashlib
import math

import msgspec

from notification_dispatcher.variables import Variable
from notification_operator import naming
from notification_operator.group import DISPATCHER_CONTAINER
from notification_operator.pipeline import Pipeline
from notification_operator.resources import volume_claim
from notification_operator.resources.base import Context, Manifest, written
from notification_operator.resources.service import PORT_NAME
from notification_operator.spec.quantity import Quantity
from notification_operator.spec.scheduling import TopologySpread
from notification_operator.spec.workload import ResourceList, Resources

SETTINGS_PATH = "/etc/notification"
DATA_PATH = "/var/lib/notification"
TEMPORARY_PATH = "/tmp"  # noqa: S108  a mount of its own in the pod

_USER = 65532
_DEFAULT_RESOURCES = Resources(
    requests=ResourceList(cpu=Quantity("50m"), memory=Quantity("96Mi")), limits=ResourceList(memory=Quantity("512Mi"))
)
"""Enough for the default capacity: a waiting job takes about a kilobyte of disk, and little memory."""

_DEFAULT_SPREAD = (TopologySpread.model_validate({"topologyKey": "kubernetes.io/hostname"}),)
_STOP_MARGIN_SECONDS = 5
"""Beyond the drain: settling the last deliveries and closing the queue."""


def build(pipeline: Pipeline, context: Context) -> Manifest:
    """The template, with a hash of itself by which its pods can be told from those of an older one."""
    spec = pipeline.spec
    metadata: Manifest = {
        # Ours last: a selector depends on them.
        "labels": {**spec.pod_labels, **naming.labels(pipeline.name)},
        "annotations": dict(spec.pod_annotations),
    }
    template: Manifest = {"metadata": metadata, "spec": _pod(pipeline, context)}
    metadata["annotations"][naming.TEMPLATE_ANNOTATION] = _digest(template)
    return template


def _digest(template: Manifest) -> str:
    return hashlib.sha256(msgspec.json.encode(template, order="deterministic")).hexdigest()[:16]


def _pod(pipeline: Pipeline, context: Context) -> Manifest:
    claim = volume_claim.claim_name(pipeline)
    return {
        **_placement(pipeline),
        "serviceAccountName": pipeline.spec.service_account_name or pipeline.name,
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
            {"name": "data"} | ({"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}),
            {"name": "tmp", "emptyDir": {}},
        ],
    }


def _placement(pipeline: Pipeline) -> Manifest:
    """Where the pods may run, and with which image secrets. What isn't set is left to the cluster."""
    spec = pipeline.spec
    wanted = {
        "nodeSelector": dict(spec.node_selector),
        "tolerations": [written(one) for one in spec.tolerations],
        "affinity": written(spec.affinity),
        "topologySpreadConstraints": _spread(pipeline),
        "priorityClassName": spec.priority_class_name,
        "imagePullSecrets": [written(one) for one in spec.image_pull_secrets],
    }
    return {field: value for field, value in wanted.items() if value}


def _spread(pipeline: Pipeline) -> list[Manifest]:
    wanted = pipeline.spec.topology_spread_constraints
    return [
        {
            # These have defaults of ours that Kubernetes hasn't.
            "maxSkew": one.max_skew,
            "whenUnsatisfiable": one.when_unsatisfiable.value,
            **written(one),
            "labelSelector": {"matchLabels": naming.selector(pipeline.name)},
        }
        for one in (_DEFAULT_SPREAD if wanted is None else wanted)
    ]


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
        "name": DISPATCHER_CONTAINER,
        "image": context.image(pipeline),
        "imagePullPolicy": pipeline.spec.image_pull_policy.value,
        "command": ["notification-dispatcher"],
        "args": ["run"],
        "env": _environment(pipeline),
        "ports": [{"name": PORT_NAME, "containerPort": pipeline.spec.api.port, "protocol": "TCP"}],
        "resources": _resources(pipeline.spec.resources),
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


def _resources(wanted: Resources | None) -> Manifest:
    wanted = wanted or _DEFAULT_RESOURCES
    lists = {"requests": wanted.requests, "limits": wanted.limits}
    # What says nothing is not stored.
    return {name: amounts for name, found in lists.items() if found is not None and (amounts := found.canonical)}


def _environment(pipeline: Pipeline) -> list[Manifest]:
    """The settings that are read at the start alone, then what the pipeline adds."""
    ours = [{"name": variable.value, "value": value} for variable, value in _settings(pipeline).items()]
    return ours + [written(one) for one in pipeline.spec.env]


def _settings(pipeline: Pipeline) -> dict[Variable, str]:
    spec = pipeline.spec
    return {
        Variable.CONFIG_DIR: SETTINGS_PATH,
        Variable.HOST: "0.0.0.0",  # noqa: S104  the Service and the kubelet come from outside the pod
        Variable.PORT: str(spec.api.port),
        Variable.API_TOKEN_REQUIRED: "false" if spec.api.auth_token_secret_ref is None else "true",
        **_engine(pipeline),
        Variable.DRAIN_TIMEOUT_MS: str(spec.workers.drain_timeout.milliseconds),
        Variable.METRICS_PREFIX: spec.monitoring.metrics_prefix,
        Variable.PIPELINE_NAMESPACE: pipeline.namespace,
        Variable.PIPELINE_NAME: pipeline.name,
        Variable.LOG_FORMAT: "json",
    }


def _engine(pipeline: Pipeline) -> dict[Variable, str]:
    database = pipeline.spec.queue.postgresql
    if database is None:
        return {Variable.QUEUE_ENGINE: "sqlite", Variable.QUEUE_PATH: f"{DATA_PATH}/queue.db"}
    return {
        Variable.QUEUE_ENGINE: "postgresql",
        Variable.QUEUE_SCHEMA: pipeline.queue_schema,
        Variable.QUEUE_POOL_SIZE: str(database.pool_size),
    }


def _probe(path: str, *, period: int, failures: int) -> Manifest:
    return {
        "httpGet": {"path": path, "port": PORT_NAME, "scheme": "HTTP"},
        "periodSeconds": period,
        "timeoutSeconds": 5,
        "failureThreshold": failures,
    }
