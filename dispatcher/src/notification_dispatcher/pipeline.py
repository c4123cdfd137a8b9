"""The part of a NotificationPipeline that the dispatcher itself understands: channels, job types, retries.

The words are the custom resource's own. The operator builds its CRD on these models (`notification_operator.spec`),
and the dispatcher reads them back from the file that `NOTIFICATION_PIPELINE_FILE` names (`settings`). Each rule stands
here twice on purpose, side by side: as a Python check for the dispatcher, and as schema or CEL
(`x-kubernetes-validations`), so that `kubectl apply` refuses what the dispatcher would refuse.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, model_validator
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, core_schema

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
"""RFC 1123 label: what Kubernetes accepts as a name without dots."""

_DNS_SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
_SECRET_KEY = r"^[-._a-zA-Z0-9]+$"  # noqa: S105  a pattern, not a secret
# Printable ASCII only, and no "@" before the path: credentials in a URL would end up in logs.
_HTTP_URL = r"^https?://[A-Za-z0-9._:\[\]-]+([/?#][!-~]*)?$"
_HEADER_NAME = r"^[A-Za-z0-9-]+$"
_HEADER_VALUE = r"^[ -~]*$"

_UNIT_MILLISECONDS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
_DURATION_PART = re.compile(r"([0-9]+)(ms|s|m|h)")
DURATION_PATTERN = r"^([0-9]{1,9}(ms|s|m|h)){1,4}$"
LONGEST = "720h"


class Duration(str):
    """A length of time as Go writes it: `250ms`, `5m`, `1h30m`. More than zero, at most 30 days.

    It stays the string that the person wrote, so that it goes back into an object unchanged.
    """

    __slots__ = ()

    @property
    def milliseconds(self) -> int:
        """The length in whole milliseconds."""
        return sum(int(count) * _UNIT_MILLISECONDS[unit] for count, unit in _DURATION_PART.findall(self))

    @property
    def seconds(self) -> float:
        """The length in seconds."""
        return self.milliseconds / 1000

    @property
    def normalised(self) -> str:
        """The same length with each unit at most once, largest first, as Prometheus reads durations: `1h30m`."""
        rest, parts = self.milliseconds, []
        for unit in ("h", "m", "s", "ms"):
            count, rest = divmod(rest, _UNIT_MILLISECONDS[unit])
            if count:
                parts.append(f"{count}{unit}")
        return "".join(parts)

    @classmethod
    def _check(cls, value: str) -> Self:
        duration = cls(value)
        if not 0 < duration.milliseconds <= cls(LONGEST).milliseconds:
            raise ValueError("must be more than 0s and at most 720h (30 days)")
        return duration

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls._check, core_schema.str_schema(pattern=DURATION_PATTERN, max_length=40, strict=True)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {
            **handler(schema),
            **rule(
                f"self.matches('{DURATION_PATTERN}') && duration(self) > duration('0s')"
                f" && duration(self) <= duration('{LONGEST}')",
                f"must be a duration such as 30s, 5m or 1h30m: more than 0s, at most {LONGEST} (30 days)",
            ),
        }


def rule(expression: str, message: str) -> dict[str, Any]:
    """One CEL rule, as `json_schema_extra` takes it."""
    return {"x-kubernetes-validations": [{"rule": expression, "message": message}]}


def rules(*pairs: tuple[str, str]) -> dict[str, Any]:
    """Several CEL rules for one object, each an (expression, message)."""
    return {"x-kubernetes-validations": [{"rule": expression, "message": message} for expression, message in pairs]}


class ApiModel(BaseModel):
    """A frozen object of the API: camelCase outside, unknown fields refused, no silent conversion of types."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,  # an input can hold a secret
        strict=True,
    )


class Enumeration(StrEnum):
    """A closed set of CamelCase words."""


Name = Annotated[str, Field(pattern=DNS_LABEL, min_length=1, max_length=63)]
LIST_BY_NAME: dict[str, Any] = {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]}


def duplicates(names: Iterable[str]) -> list[str]:
    """The names that stand more than once, sorted."""
    seen: set[str] = set()
    return sorted({name for name in names if name in seen or seen.add(name)})


class SecretKeyRef(ApiModel):
    """One key of a Secret in the pipeline's own namespace."""

    name: str = Field(
        pattern=_DNS_SUBDOMAIN, min_length=1, max_length=253, description="Name of the Secret, in the same namespace."
    )
    key: str = Field(
        pattern=_SECRET_KEY, min_length=1, max_length=253, description="Key of the Secret that holds the value."
    )


class Webhook(ApiModel):
    """An HTTP endpoint that takes each notification as a JSON POST."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "has(self.url) != has(self.urlSecretRef)", "set exactly one of url and urlSecretRef for a webhook"
        )
    )

    url: str | None = Field(
        default=None,
        pattern=_HTTP_URL,
        max_length=2048,
        description="Where to POST: an http or https URL without user name or password. Not with urlSecretRef.",
    )
    url_secret_ref: SecretKeyRef | None = Field(
        default=None, description="The URL, from a Secret: for a URL that holds a credential. Not together with url."
    )
    headers: Mapping[
        Annotated[str, Field(pattern=_HEADER_NAME)], Annotated[str, Field(pattern=_HEADER_VALUE, max_length=1024)]
    ] = Field(
        default_factory=dict,
        max_length=16,
        description="Headers to send with each request. Not for credentials: those belong into a Secret.",
        json_schema_extra=rule(
            f"self.all(name, name.matches('{_HEADER_NAME}') && size(name) <= 128)",
            "each header's name must be letters, digits and hyphens, at most 128 of them",
        ),
    )
    allow_private_addresses: bool = Field(
        default=False,
        description="Allow destinations inside the cluster or on other private addresses. "
        "By default only public addresses are reached, so that nobody can make the dispatcher call internal services.",
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.url_secret_ref is None):
            raise ValueError("set exactly one of url and urlSecretRef for a webhook")
        if any(not re.fullmatch(_HEADER_NAME, name) or len(name) > 128 for name in self.headers):
            raise ValueError("each header's name must be letters, digits and hyphens, at most 128 of them")
        return self


class Slack(ApiModel):
    """A Slack incoming webhook that takes each notification as a message."""

    webhook_secret_ref: SecretKeyRef = Field(description="The incoming webhook's URL, from a Secret.")


class Channel(ApiModel):
    """One way out for notifications: exactly one of webhook and slack."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "has(self.webhook) != has(self.slack)", "a channel must have exactly one of webhook and slack"
        )
    )

    name: Name = Field(description="Name of the channel, unique in the pipeline; job types route to it by this name.")
    webhook: Webhook | None = Field(default=None, description="Deliver as a JSON POST to an HTTP endpoint.")
    slack: Slack | None = Field(default=None, description="Deliver as a message to a Slack incoming webhook.")

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if (self.webhook is None) == (self.slack is None):
            raise ValueError("a channel must have exactly one of webhook and slack")
        return self

    @property
    def secret_refs(self) -> Mapping[str, SecretKeyRef]:
        """The Secrets that this channel needs: the field's name in the custom resource → the reference."""
        refs: dict[str, SecretKeyRef] = {}
        if self.webhook is not None and self.webhook.url_secret_ref is not None:
            refs["urlSecretRef"] = self.webhook.url_secret_ref
        if self.slack is not None:
            refs["webhookSecretRef"] = self.slack.webhook_secret_ref
        return refs


class Retry(ApiModel):
    """How often and how fast a failed delivery is tried again: exponential back-off with full jitter."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "duration(self.initialBackoff) <= duration(self.maxBackoff)",
            "retry.initialBackoff must not be longer than retry.maxBackoff",
        )
    )

    max_attempts: int = Field(default=5, ge=1, le=100, description="Attempts in all, the first one included.")
    initial_backoff: Duration = Field(
        default=Duration("1s"), description="Longest wait before the second attempt; it doubles with each further one."
    )
    max_backoff: Duration = Field(default=Duration("5m"), description="No wait between two attempts is longer.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.initial_backoff.milliseconds > self.max_backoff.milliseconds:
            raise ValueError("retry.initialBackoff must not be longer than retry.maxBackoff")
        return self


class RetryOverride(ApiModel):
    """What one job type changes of the pipeline's `retry`."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "!has(self.initialBackoff) || !has(self.maxBackoff)"
            " || duration(self.initialBackoff) <= duration(self.maxBackoff)",
            "retry.initialBackoff must not be longer than retry.maxBackoff",
        )
    )

    max_attempts: int | None = Field(
        default=None, ge=1, le=100, description="Attempts in all. Default: spec.retry.maxAttempts."
    )
    initial_backoff: Duration | None = Field(
        default=None, description="Longest wait before the second attempt. Default: spec.retry.initialBackoff."
    )
    max_backoff: Duration | None = Field(
        default=None, description="No wait between two attempts is longer. Default: spec.retry.maxBackoff."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        first, last = self.initial_backoff, self.max_backoff
        if first is not None and last is not None and first.milliseconds > last.milliseconds:
            raise ValueError("retry.initialBackoff must not be longer than retry.maxBackoff")
        return self


class Priority(Enumeration):
    """Which jobs go first when several wait."""

    HIGH = "High"
    NORMAL = "Normal"
    LOW = "Low"


class JobType(ApiModel):
    """What is special about one kind of notification; what is not said follows the pipeline's defaults."""

    name: Name = Field(description="The job type, as callers send it: booking-created, lesson-completed, …")
    channels: tuple[Name, ...] | None = Field(
        default=None,
        min_length=1,
        max_length=32,
        description="Channels that this type is delivered to, by name; each must be in spec.channels. Default: all.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )
    priority: Priority = Field(
        default=Priority.NORMAL,
        description="High goes first, then Normal, then Low; a lower one is never starved.",
    )
    timeout: Duration | None = Field(
        default=None, description="Limit for one delivery attempt. Default: spec.workers.timeout."
    )
    retry: RetryOverride | None = Field(default=None, description="What differs from spec.retry for this type.")


class UnknownJobTypes(Enumeration):
    """What happens to a job whose type is not listed in jobTypes."""

    ACCEPT = "Accept"
    REJECT = "Reject"


class Routing(ApiModel):
    """The pipeline file: which channels there are, and which job types go where.

    `NOTIFICATION_PIPELINE_FILE` holds it as JSON or YAML, in the words of the custom resource's spec.
    """

    channels: tuple[Channel, ...] = ()
    job_types: tuple[JobType, ...] = ()
    unknown_job_types: UnknownJobTypes = UnknownJobTypes.ACCEPT

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_routing(self.channels, self.job_types)
        return self


def check_routing(channels: Collection[Channel], job_types: Collection[JobType]) -> None:
    """Raise ValueError when a name stands twice, or a job type routes to a channel that isn't there."""
    channel_names, type_names = [channel.name for channel in channels], [job_type.name for job_type in job_types]
    for field, names in (("channels", channel_names), ("jobTypes", type_names)):
        if twice := duplicates(names):
            raise ValueError(f"{field}: the name {twice[0]} stands more than once")
    for job_type in job_types:
        if missing := sorted(set(job_type.channels or ()) - set(channel_names)):
            raise ValueError(f"jobTypes[{job_type.name}].channels: there is no channel named {missing[0]}")
