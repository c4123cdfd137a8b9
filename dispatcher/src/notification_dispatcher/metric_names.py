"""The names, labels and label values of every metric that the dispatcher publishes.

`metrics` registers them; the operator builds dashboards and rules from them, so that no query can name a metric that
isn't there. Full names are `prefix + name` with the prefix `plannivo_` unless the pipeline sets another. The seven of
the observability guide come first; their names, types and labels are a contract with its readers.
"""

from __future__ import annotations

from enum import StrEnum

DEFAULT_PREFIX = "plannivo_"
METRICS_PATH = "/api/metrics/prometheus"

# The guide's table.
QUEUE_DEPTH = "notification_queue_depth"
ACTIVE_JOBS = "notification_active_jobs"
JOBS_TOTAL = "notification_jobs_total"  # result, job_type
JOB_WAIT_DURATION_MS = "notification_job_wait_duration_ms"  # job_type
JOB_DURATION_MS = "notification_job_duration_ms"  # job_type
JOB_FAILURES_TOTAL = "notification_job_failures_total"  # reason, job_type
JOBS_DROPPED_TOTAL = "notification_jobs_dropped_total"  # reason

# Beyond the guide: where jobs wait, what deliveries did, what alerting did, what is configured.
SCHEDULED_JOBS = "notification_scheduled_jobs"
DEAD_JOBS = "notification_dead_jobs"
OLDEST_JOB_AGE_SECONDS = "notification_oldest_job_age_seconds"
DELIVERY_ATTEMPTS_TOTAL = "notification_delivery_attempts_total"  # channel, outcome
RETRIES_TOTAL = "notification_retries_total"  # job_type
POSTPONED_TOTAL = "notification_postponed_total"  # reason
CIRCUIT_OPEN = "notification_circuit_open"  # channel
DEAD_LETTERS_REMOVED_TOTAL = "notification_dead_letters_removed_total"  # reason
ALERTS_TOTAL = "notification_alerts_total"  # alert, outcome
THRESHOLD = "notification_threshold"  # threshold
CONFIG_INFO = "notification_config_info"  # hash
CONFIG_RELOADS_TOTAL = "notification_config_reloads_total"  # result
BUILD_INFO = "notification_build_info"  # version
EVENT_LOOP_LAG_SECONDS = "event_loop_lag_seconds"

WAIT_BUCKETS_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000, 300000, 900000, 3600000)
"""Upper bounds of both duration histograms, in milliseconds; the latency threshold in force is always added."""

OTHER_JOB_TYPE = "other"
"""The label value of every job type past the bounded number of them."""

INVALID_JOB_TYPE = "invalid"
"""The label value of a job whose type could not be read."""


class Result(StrEnum):
    """`result` of jobs_total."""

    QUEUED = "queued"
    PROCESSED = "processed"
    FAILED = "failed"
    DEDUPLICATED = "deduplicated"
    DROPPED = "dropped"


class DropReason(StrEnum):
    """`reason` of jobs_dropped_total. All but CAPACITY are dropped on arrival, before they are queued."""

    CAPACITY = "capacity"  # evicted: it was queued, and a newer one took its place
    REJECTED = "rejected"  # the queue is full and its overflow is reject
    INVALID_PAYLOAD = "invalid_payload"
    UNKNOWN_JOB_TYPE = "unknown_job_type"


class FailureReason(StrEnum):
    """`reason` of job_failures_total: the root cause of a permanent failure."""

    HTTP_4XX = "http_4xx"
    HTTP_5XX = "http_5xx"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    BLOCKED_ADDRESS = "blocked_address"
    NO_CHANNEL = "no_channel"
    INTERRUPTED = "interrupted"  # the process ended while it ran, at its last attempt
    NOT_CONFIGURED = "not_configured"
    TEMPLATE = "template"  # the message's template does not fit the payload
    SMTP = "smtp"
    UNKNOWN = "unknown"


class PostponeReason(StrEnum):
    """`reason` of postponed_total: what a job waits for, at no cost."""

    RATE_LIMIT = "rate_limit"
    CONCURRENCY = "concurrency"
    CIRCUIT = "circuit"


class RemovalReason(StrEnum):
    """`reason` of dead_letters_removed_total."""

    RETENTION = "retention"
    REPLAYED = "replayed"
    DELETED = "deleted"


class Alert(StrEnum):
    """`alert` of alerts_total, and what an alert is called everywhere else."""

    FAILURE_SPIKE = "failure_spike"
    BACKLOG_GROWTH = "backlog_growth"
    HIGH_WAIT = "high_wait"
    HIGH_DURATION = "high_duration"
    CAPACITY_DROPS = "capacity_drops"
    TEST = "test"


class AlertOutcome(StrEnum):
    """`outcome` of alerts_total."""

    SENT = "sent"
    SUPPRESSED = "suppressed"
    FAILED = "failed"


class ReloadResult(StrEnum):
    """`result` of config_reloads_total."""

    APPLIED = "applied"
    REJECTED = "rejected"


class Threshold(StrEnum):
    """`threshold` of notification_threshold, in the unit that the name gives or a plain number."""

    FAILURE = "failure"
    FAILURE_WINDOW_SECONDS = "failure_window_seconds"
    BACKLOG = "backlog"
    LATENCY_MS = "latency_ms"
    COOLDOWN_SECONDS = "cooldown_seconds"
