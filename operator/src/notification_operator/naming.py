"""What the operator's objects are called and labelled. Used by every builder, by `cluster` and by `crd`.

Each kind of child has a suffix of its own, so that the children of two pipelines cannot have one name: were
`a + suffix == b + suffix` for one kind, `a` and `b` would be equal.
"""

from __future__ import annotations

import hashlib

from notification_dispatcher.schema import DNS_LABEL
from notification_operator import group
from notification_operator.group import GROUP

OPERATOR = "notification-operator"
FIELD_MANAGER = OPERATOR

CONFIG_SUFFIX = "-config"
SLACK_ALERTS_SUFFIX = "-slack-alerts"
CREDENTIALS_SUFFIX = "-credentials"
DASHBOARD_SUFFIX = "-dashboard"
QUEUE_SUFFIX = "-queue"

_LONGEST_SUFFIX = len(SLACK_ALERTS_SUFFIX)
LONGEST_NAME = 63 - _LONGEST_SUFFIX

_SERVICE_NAME = DNS_LABEL.replace("^[a-z0-9]", "^[a-z]", 1)
NAME_RULES = (
    (
        f"^.{{0,{LONGEST_NAME}}}$",
        f"metadata.name must be at most {LONGEST_NAME} characters, so that its children's names fit into 63",
    ),
    (
        _SERVICE_NAME,
        "metadata.name must start with a letter and have no dots, since the Service takes it",
    ),
)
"""What a pipeline's name must match, each with its message: for CEL in `crd`, and for `offline`."""

PIPELINE_LABEL = group.PIPELINE_LABEL

METRICS_LABEL = f"{GROUP}/metrics"
"""On the Service that carries the metrics, so that no other Service of the pods is scraped as well."""

HASH_ANNOTATION = f"{GROUP}/applied"
"""On every child: a hash of what was applied last, so that a field which is no longer wanted is noticed."""

TEMPLATE_ANNOTATION = f"{GROUP}/template"
"""On every pod: a hash of the template that it was made from, so that the pods of the current one can be told."""

SOURCES_ANNOTATION = f"{GROUP}/sources"
"""On each of the dispatchers' Secrets: which Secret and key each of its values is from, as JSON. Names alone."""


def config(name: str) -> str:
    """The ConfigMap of settings."""
    return name + CONFIG_SUFFIX


def slack_alerts(name: str) -> str:
    """The Secret of the Slack alerts."""
    return name + SLACK_ALERTS_SUFFIX


def credentials(name: str) -> str:
    """The Secret of what the channels need."""
    return name + CREDENTIALS_SUFFIX


def dashboard(name: str) -> str:
    """The ConfigMap of the dashboard."""
    return name + DASHBOARD_SUFFIX


def queue(name: str) -> str:
    """The volume claim of the queue."""
    return name + QUEUE_SUFFIX


def queue_schema(namespace: str, name: str) -> str:
    """The database schema of a pipeline that names none: readable, its own, and within PostgreSQL's 63 bytes."""
    digest = hashlib.sha256(f"{namespace}/{name}".encode()).hexdigest()[:8]
    return f"npl_{name.replace('-', '_')}_{digest}"


def selector(name: str) -> dict[str, str]:
    """Labels that select a pipeline's pods, and never change: a Deployment's selector is immutable."""
    return {"app.kubernetes.io/name": "notification-dispatcher", "app.kubernetes.io/instance": name}


def labels(name: str) -> dict[str, str]:
    """Labels of every child."""
    return {
        **selector(name),
        "app.kubernetes.io/component": "dispatcher",
        "app.kubernetes.io/part-of": "notification-pipeline",
        "app.kubernetes.io/managed-by": OPERATOR,
        PIPELINE_LABEL: name,
    }
