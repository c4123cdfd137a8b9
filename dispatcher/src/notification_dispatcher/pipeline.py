"""The part of a NotificationPipeline that the dispatcher itself understands: channels, job types, retries.

The words are the custom resource's own. The operator builds its CRD on these models (`notification_operator.spec`),
and the dispatcher reads them back from the file that `NOTIFICATION_PIPELINE_FILE` names (`settings`).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Annotated, Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.schema import (
    ApiModel,
    Duration,
    Enumeration,
    Name,
    SecretKeyRef,
    duplicates,
    rule,
)

# Printable ASCII only, and no "@" before the path: credentials in a URL would end up in logs.
_HTTP_URL = r"^https?://[A-Za-z0-9._:\[\]-]+([/?#][!-~]*)?$"
_HEADER_NAME = r"^[A-Za-z0-9-]+$"
_HEADER_VALUE = r"^[ -~]*$"


_FRAMING = {"connection", "content-length", "host", "transfer-encoding"}
"""Headers that say where a request ends or goes: not a matter of taste."""
_HEADER_SENTENCE = (
    "each header's name must be letters, digits and hyphens, at most 128 of them, and none of Connection, "
    "Content-Length, Host and Transfer-Encoding"
)

ALLOW_PRIVATE = (
    "Allow destinations inside the cluster or on other private addresses. By default only public addresses are "
    "reached, so that nobody can make the dispatcher call internal services."
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
            f"self.all(name, name.matches('{_HEADER_NAME}') && size(name) <= 128"
            f" && !(name.lowerAscii() in {sorted(_FRAMING)}))",
            _HEADER_SENTENCE,
        ),
    )
    allow_private_addresses: bool = Field(default=False, description=ALLOW_PRIVATE)

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if (self.url is None) == (self.url_secret_ref is None):
            raise ValueError("set exactly one of url and urlSecretRef for a webhook")
        if any(
            not re.fullmatch(_HEADER_NAME, name) or len(name) > 128 or name.lower() in _FRAMING for name in self.headers
        ):
            raise ValueError(_HEADER_SENTENCE)
        return self


class Slack(ApiModel):
    """A Slack incoming webhook that takes each notification as a message."""

    webhook_secret_ref: SecretKeyRef = Field(description="The incoming webhook's URL, from a Secret.")
    allow_private_addresses: bool = Field(default=False, description=ALLOW_PRIVATE)


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
