"""The names of the dispatcher's settings: environment variables, and files of the same names in a folder.

`settings` reads them; the operator writes them into a pipeline's ConfigMap, Secrets and pod template. The first seven
are the observability guide's; their names, defaults and units are a contract with its readers.
"""

from __future__ import annotations

from enum import StrEnum


class Variable(StrEnum):
    """One setting. Durations are whole milliseconds where the name ends in `_MS`."""

    SLACK_ALERT_WEBHOOK_URL = "SLACK_ALERT_WEBHOOK_URL"
    SLACK_WEBHOOK_URL = "SLACK_WEBHOOK_URL"
    ALERT_FAILURE_THRESHOLD = "NOTIFICATION_ALERT_FAILURE_THRESHOLD"
    ALERT_FAILURE_WINDOW_MS = "NOTIFICATION_ALERT_FAILURE_WINDOW_MS"
    ALERT_BACKLOG_THRESHOLD = "NOTIFICATION_ALERT_BACKLOG_THRESHOLD"
    ALERT_LATENCY_THRESHOLD_MS = "NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS"
    ALERT_COOLDOWN_MS = "NOTIFICATION_ALERT_COOLDOWN_MS"

    ALERT_ALLOW_PRIVATE_ADDRESSES = "NOTIFICATION_ALERT_ALLOW_PRIVATE_ADDRESSES"
    ALERT_DASHBOARD_URL = "NOTIFICATION_ALERT_DASHBOARD_URL"
    ALERT_RUNBOOK_URL = "NOTIFICATION_ALERT_RUNBOOK_URL"

    HOST = "NOTIFICATION_HOST"
    PORT = "NOTIFICATION_PORT"
    API_TOKEN = "NOTIFICATION_API_TOKEN"  # noqa: S105  a name, not a secret
    API_MAX_BATCH = "NOTIFICATION_API_MAX_BATCH"
    API_MAX_BODY_BYTES = "NOTIFICATION_API_MAX_BODY_BYTES"

    QUEUE_ENGINE = "NOTIFICATION_QUEUE_ENGINE"
    QUEUE_PATH = "NOTIFICATION_QUEUE_PATH"
    QUEUE_CAPACITY = "NOTIFICATION_QUEUE_CAPACITY"
    QUEUE_OVERFLOW = "NOTIFICATION_QUEUE_OVERFLOW"
    DEDUP_WINDOW_MS = "NOTIFICATION_DEDUP_WINDOW_MS"
    DEAD_LETTER_RETENTION_MS = "NOTIFICATION_DEAD_LETTER_RETENTION_MS"
    DEAD_LETTER_LIMIT = "NOTIFICATION_DEAD_LETTER_LIMIT"

    WORKER_CONCURRENCY = "NOTIFICATION_WORKER_CONCURRENCY"
    JOB_TIMEOUT_MS = "NOTIFICATION_JOB_TIMEOUT_MS"
    DRAIN_TIMEOUT_MS = "NOTIFICATION_DRAIN_TIMEOUT_MS"
    RETRY_MAX_ATTEMPTS = "NOTIFICATION_RETRY_MAX_ATTEMPTS"
    RETRY_INITIAL_BACKOFF_MS = "NOTIFICATION_RETRY_INITIAL_BACKOFF_MS"
    RETRY_MAX_BACKOFF_MS = "NOTIFICATION_RETRY_MAX_BACKOFF_MS"

    METRICS_PREFIX = "NOTIFICATION_METRICS_PREFIX"
    PIPELINE_FILE = "NOTIFICATION_PIPELINE_FILE"
    CONFIG_DIR = "NOTIFICATION_CONFIG_DIR"
    PIPELINE_NAMESPACE = "NOTIFICATION_PIPELINE_NAMESPACE"
    PIPELINE_NAME = "NOTIFICATION_PIPELINE_NAME"
    LOG_FORMAT = "NOTIFICATION_LOG_FORMAT"
    LOG_LEVEL = "NOTIFICATION_LOG_LEVEL"


def channel_secret_file(channel: str, field: str) -> str:
    """Name of the file in the folder of settings that holds a channel's secret.

    `field` is the reference's name in the custom resource, so `team.webhookSecretRef` holds what
    `spec.channels[team].slack.webhookSecretRef` refers to. The dot keeps it apart from every variable.
    """
    return f"{channel}.{field}"


ROUTING_FILE = "pipeline.json"
"""The pipeline file's name in the folder of settings: `pipeline.Routing`, as JSON."""
