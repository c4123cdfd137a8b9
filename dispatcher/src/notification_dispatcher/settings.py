"""The settings: what can be set, its default, and what a good value is. `settings_source` reads them.

Each is an environment variable, or a file of that name in the folder that NOTIFICATION_CONFIG_DIR names. The parts:
`Fixed` is read at the start alone; `Live` can change while the dispatcher runs. The command line's help is made from
these descriptions, and so are the sentences about wrong values.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr
from pydantic.fields import FieldInfo

from notification_dispatcher.metric_names import DEFAULT_PREFIX
from notification_dispatcher.pipeline import Routing
from notification_dispatcher.queue_names import DEFAULT_SCHEMA, SCHEMA_PATTERN
from notification_dispatcher.queues.base import DeadLimits, Limits, Overflow
from notification_dispatcher.secret_values import CERTIFICATES, DATABASE_URL, HTTP_URL, TOKEN, Shape
from notification_dispatcher.variables import Variable, channel_secret_file

_MONTH_MS = 30 * 24 * 3_600_000


@dataclass(frozen=True, slots=True)
class Expects:
    """What a good value is, in words that go on after "must be"."""

    words: str


def _secret(shape: Shape) -> tuple[AfterValidator, Expects]:
    """What holds a secret to its shape. Its value never stands in the error."""

    def check(value: SecretStr) -> SecretStr:
        shape.parse(value.get_secret_value())
        return value

    return AfterValidator(check), Expects(shape.expected)


def _whole(lowest: int, highest: int, unit: str = "") -> Expects:
    return Expects(f"a whole number{unit} from {lowest} to {highest}")


Milliseconds = Annotated[int, Field(ge=1, le=_MONTH_MS), _whole(1, _MONTH_MS, " of milliseconds")]
Count = Annotated[int, Field(ge=1, le=10_000_000), _whole(1, 10_000_000)]
Url = Annotated[SecretStr, *_secret(HTTP_URL)]
Link = Annotated[
    str, Field(pattern=r"^(https?://[!-~]+)?$", max_length=1024), Expects("an http:// or https:// URL, or empty")
]
Token = Annotated[SecretStr, *_secret(TOKEN)]
DatabaseUrl = Annotated[SecretStr, *_secret(DATABASE_URL)]
Certificates = Annotated[SecretStr, *_secret(CERTIFICATES)]
_PipelineName = Annotated[str, Field(min_length=1, max_length=253)]


class _Variables(BaseModel):
    """Settings by the name of their variable. Numbers arrive as text."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)


def _setting(variable: Variable, default: Any, description: str) -> Any:
    return Field(default=default, alias=variable.value, description=description)


class Fixed(_Variables):
    """What is read at the start alone; a change takes a restart."""

    host: str = _setting(Variable.HOST, "127.0.0.1", "Address to listen on; 0.0.0.0 for all.")
    port: Annotated[int, Field(ge=0, le=65535), _whole(0, 65535)] = _setting(
        Variable.PORT, 4000, "Port to listen on; 0 takes any free one."
    )
    api_token_required: Annotated[bool, Expects("true or false")] = _setting(
        Variable.API_TOKEN_REQUIRED,
        False,
        "Answer nobody while NOTIFICATION_API_TOKEN is not there, in place of everybody: true or false.",
    )
    queue_engine: Annotated[
        str, Field(pattern="^(sqlite|postgresql|memory)$"), Expects("sqlite, postgresql or memory")
    ] = _setting(
        Variable.QUEUE_ENGINE,
        "sqlite",
        "Where jobs wait: sqlite (a file), postgresql (for many dispatchers), or memory (lost at the end).",
    )
    queue_path: Path = _setting(
        Variable.QUEUE_PATH, Path("notification-queue.db"), "The queue's file, for the sqlite engine."
    )
    queue_schema: Annotated[
        str,
        Field(pattern=SCHEMA_PATTERN),
        Expects("lower-case letters, digits and underscores, at most 63, the first no digit"),
    ] = _setting(
        Variable.QUEUE_SCHEMA, DEFAULT_SCHEMA, "The schema of this pipeline's tables, for the postgresql engine."
    )
    queue_pool_size: Annotated[int, Field(ge=1, le=64), _whole(1, 64)] = _setting(
        Variable.QUEUE_POOL_SIZE, 4, "Connections to PostgreSQL, beside two more: one beats, one listens."
    )
    drain_timeout_ms: Milliseconds = _setting(
        Variable.DRAIN_TIMEOUT_MS, 25_000, "On SIGTERM, running deliveries get this long to finish."
    )
    metrics_prefix: Annotated[
        str,
        Field(pattern=r"^[a-z_][a-z0-9_]*_$", max_length=64),
        Expects("lower-case letters, digits and underscores, the last one an underscore"),
    ] = _setting(Variable.METRICS_PREFIX, DEFAULT_PREFIX, "Prefix of every metric's name.")
    namespace: _PipelineName = _setting(
        Variable.PIPELINE_NAMESPACE, "local", "Namespace of the pipeline, shown on alerts."
    )
    name: _PipelineName = _setting(Variable.PIPELINE_NAME, "notifications", "Name of the pipeline, shown on alerts.")
    log_format: Annotated[str, Field(pattern="^(json|text)$"), Expects("json or text")] = _setting(
        Variable.LOG_FORMAT, "text", "How to log: json or text."
    )
    log_level: Annotated[
        str, Field(pattern="^(debug|info|warning|error)$"), Expects("debug, info, warning or error")
    ] = _setting(Variable.LOG_LEVEL, "info", "The least important line to log: debug, info, warning or error.")


class Live(_Variables):
    """What can change while the dispatcher runs."""

    slack_alert_url: Url | None = _setting(
        Variable.SLACK_ALERT_WEBHOOK_URL, None, "Slack incoming webhook for alerts. Secret."
    )
    slack_url: Url | None = _setting(Variable.SLACK_WEBHOOK_URL, None, "Used when the one above is not set. Secret.")
    failure_threshold: Count = _setting(
        Variable.ALERT_FAILURE_THRESHOLD, 20, "Failure Spike: so many permanent failures within the window."
    )
    failure_window_ms: Milliseconds = _setting(
        Variable.ALERT_FAILURE_WINDOW_MS, 300_000, "Length of that window, in milliseconds."
    )
    backlog_threshold: Count = _setting(Variable.ALERT_BACKLOG_THRESHOLD, 500, "Backlog Growth: so many jobs waiting.")
    latency_threshold_ms: Milliseconds = _setting(
        Variable.ALERT_LATENCY_THRESHOLD_MS, 5_000, "High Wait / High Duration: so many milliseconds."
    )
    cooldown_ms: Milliseconds = _setting(
        Variable.ALERT_COOLDOWN_MS, 300_000, "The same alert is sent at most once in so many milliseconds."
    )
    alert_allow_private: Annotated[bool, Expects("true or false")] = _setting(
        Variable.ALERT_ALLOW_PRIVATE_ADDRESSES, False, "Let alerts go to private addresses: true or false."
    )
    dashboard_url: Link = _setting(Variable.ALERT_DASHBOARD_URL, "", "Link to the dashboard, put on each alert.")
    runbook_url: Link = _setting(
        Variable.ALERT_RUNBOOK_URL, "", "Link to the runbook; {alert} stands for the alert's name."
    )
    api_token: Token | None = _setting(
        Variable.API_TOKEN, None, "Bearer token that callers must send; not set: anyone may call. Secret."
    )
    max_batch: Annotated[int, Field(ge=1, le=10_000), _whole(1, 10_000)] = _setting(
        Variable.API_MAX_BATCH, 1000, "Most notifications in one POST."
    )
    max_body_bytes: Annotated[int, Field(ge=1024, le=104_857_600), _whole(1024, 104_857_600)] = _setting(
        Variable.API_MAX_BODY_BYTES, 5_242_880, "Largest body of one POST, in bytes."
    )
    queue_dsn: DatabaseUrl | None = _setting(
        Variable.QUEUE_DSN, None, "The database, for the postgresql engine: postgresql://user:password@host/db. Secret."
    )
    queue_ca: Certificates | None = _setting(
        Variable.QUEUE_CA, None, "PEM text of the CA that the database's certificate must be of; its host name too."
    )
    capacity: Count = _setting(Variable.QUEUE_CAPACITY, 10_000, "Jobs that may wait at once.")
    overflow: Annotated[Overflow, Expects("evict-oldest or reject")] = _setting(
        Variable.QUEUE_OVERFLOW, Overflow.EVICT_OLDEST, "When the queue is full: evict-oldest, or reject (429)."
    )
    dedup_window_ms: Milliseconds = _setting(
        Variable.DEDUP_WINDOW_MS, 600_000, "A job seen within so many milliseconds is not queued again."
    )
    dead_letter_retention_ms: Milliseconds = _setting(
        Variable.DEAD_LETTER_RETENTION_MS, 604_800_000, "A job that failed for good is kept for so many milliseconds."
    )
    dead_letter_limit: Annotated[int, Field(ge=0, le=10_000_000), _whole(0, 10_000_000)] = _setting(
        Variable.DEAD_LETTER_LIMIT, 10_000, "So many of them are kept; the oldest go first."
    )
    concurrency: Annotated[int, Field(ge=1, le=1024), _whole(1, 1024)] = _setting(
        Variable.WORKER_CONCURRENCY, 32, "Deliveries at once."
    )
    timeout_ms: Milliseconds = _setting(
        Variable.JOB_TIMEOUT_MS, 30_000, "Limit for one delivery attempt, where the job type sets none."
    )
    max_attempts: Annotated[int, Field(ge=1, le=100), _whole(1, 100)] = _setting(
        Variable.RETRY_MAX_ATTEMPTS, 5, "Attempts in all, the first one included."
    )
    initial_backoff_ms: Milliseconds = _setting(
        Variable.RETRY_INITIAL_BACKOFF_MS, 1_000, "Longest wait before the second attempt; it doubles with each."
    )
    max_backoff_ms: Milliseconds = _setting(
        Variable.RETRY_MAX_BACKOFF_MS, 300_000, "No wait between two attempts is longer."
    )
    routing: Routing = Field(default_factory=Routing, description="Channels and job types: the pipeline file.")
    channel_secrets: Mapping[str, SecretStr] = Field(
        default_factory=dict, description="What the channels' references hold, by file name.", repr=False
    )

    @property
    def alert_url(self) -> str | None:
        """Where alerts go; None: nowhere."""
        url = self.slack_alert_url or self.slack_url
        return None if url is None else url.get_secret_value()

    @property
    def limits(self) -> Limits:
        """What the queue is told with each batch."""
        return Limits(self.capacity, self.overflow, self.dedup_window_ms)

    @property
    def dead_limits(self) -> DeadLimits:
        """How long, and how many, dead letters are kept."""
        return DeadLimits(self.dead_letter_retention_ms, self.dead_letter_limit)

    def channel_secret(self, channel: str, field: str) -> str | None:
        """A channel's secret; None while it isn't there."""
        found = self.channel_secrets.get(channel_secret_file(channel, field))
        return None if found is None else found.get_secret_value()


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings in force, and a hash that tells two of them apart."""

    fixed: Fixed
    live: Live
    config_dir: Path | None
    """The folder that settings are read from, and watched; None: only the environment."""
    hash: str
    """Twelve hexadecimal digits over everything, secrets included; nothing can be read off it."""
    warnings: tuple[str, ...] = ()
    """What is odd but not wrong: names that look like a setting and are none."""


def variables() -> Iterator[tuple[Variable, FieldInfo, bool]]:
    """Every setting that is one variable: its name, its field, and whether it can change at run time."""
    for model in (Fixed, Live):
        for field in model.model_fields.values():
            if field.alias is not None:
                yield Variable(field.alias), field, model is Live


def is_secret(field: FieldInfo) -> bool:
    """Whether its value must never be shown."""
    return "SecretStr" in str(field.annotation)


def expectation(field: FieldInfo) -> str:
    """What a good value is, in words."""
    found = [part.words for part in field.metadata if isinstance(part, Expects)]
    # An optional setting keeps what it expects within its annotation.
    nested = getattr(field.annotation, "__args__", ())
    found += [part.words for arg in nested for part in getattr(arg, "__metadata__", ()) if isinstance(part, Expects)]
    return found[0] if found else "a text that is not empty"
