"""The settings that a dispatcher takes up without a restart, each under its variable's name."""

from __future__ import annotations

import json

from notification_dispatcher.variables import ROUTING_FILE, Variable
from notification_operator import naming
from notification_operator.kinds import CONFIG_MAP
from notification_operator.pipeline import Pipeline
from notification_operator.resources.base import Context, Manifest, child
from notification_operator.spec.queue import Overflow

_OVERFLOW = {Overflow.EVICT_OLDEST: "evict-oldest", Overflow.REJECT: "reject"}


def build(pipeline: Pipeline, _context: Context) -> Manifest:
    """The ConfigMap `<name>-config`."""
    routing = pipeline.spec.routing.model_dump(mode="json", by_alias=True, exclude_none=True)
    return child(CONFIG_MAP, pipeline, naming.config(pipeline.name)) | {
        "data": {
            **{variable.value: value for variable, value in _settings(pipeline).items()},
            ROUTING_FILE: json.dumps(routing, sort_keys=True),
        }
    }


def _settings(pipeline: Pipeline) -> dict[Variable, str]:
    spec, alerts = pipeline.spec, pipeline.spec.alerts
    private_alerts = alerts.slack is not None and alerts.slack.allow_private_addresses
    return {
        Variable.ALERT_FAILURE_THRESHOLD: str(alerts.failure_threshold),
        Variable.ALERT_FAILURE_WINDOW_MS: str(alerts.failure_window.milliseconds),
        Variable.ALERT_BACKLOG_THRESHOLD: str(alerts.backlog_threshold),
        Variable.ALERT_LATENCY_THRESHOLD_MS: str(alerts.latency_threshold.milliseconds),
        Variable.ALERT_COOLDOWN_MS: str(alerts.cooldown.milliseconds),
        Variable.ALERT_ALLOW_PRIVATE_ADDRESSES: "true" if private_alerts else "false",
        Variable.ALERT_DASHBOARD_URL: alerts.dashboard_url,
        Variable.ALERT_RUNBOOK_URL: alerts.runbook_url,
        Variable.API_MAX_BATCH: str(spec.api.max_batch),
        Variable.API_MAX_BODY_BYTES: str(spec.api.max_body_bytes),
        Variable.QUEUE_CAPACITY: str(spec.queue.capacity),
        Variable.QUEUE_OVERFLOW: _OVERFLOW[spec.queue.overflow],
        Variable.DEDUP_WINDOW_MS: str(spec.queue.dedup_window.milliseconds),
        Variable.DEAD_LETTER_RETENTION_MS: str(spec.queue.dead_letters.retention.milliseconds),
        Variable.DEAD_LETTER_LIMIT: str(spec.queue.dead_letters.limit),
        Variable.WORKER_CONCURRENCY: str(spec.workers.concurrency),
        Variable.JOB_TIMEOUT_MS: str(spec.workers.timeout.milliseconds),
        Variable.RETRY_MAX_ATTEMPTS: str(spec.retry.max_attempts),
        Variable.RETRY_INITIAL_BACKOFF_MS: str(spec.retry.initial_backoff.milliseconds),
        Variable.RETRY_MAX_BACKOFF_MS: str(spec.retry.max_backoff.milliseconds),
    }
