"""The part of a NotificationPipeline that the dispatcher itself understands: channels, job types, retries.

The words are the custom resource's own. The operator builds its CRD on these models (`notification_operator.spec`),
and the dispatcher reads them back from the file that `NOTIFICATION_PIPELINE_FILE` names (`settings`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.destinations import Apprise, Email, Slack, Webhook
from notification_dispatcher.schema import (
    ApiModel,
    Duration,
    Enumeration,
    Name,
    SecretKeyRef,
    duplicates,
    rule,
)


class RateLimit(ApiModel):
    """A token bucket. A job that waits for a token spends no attempt."""

    per_second: int = Field(
        ge=1, le=10_000, description="Tokens that come back in a second: attempts, in the long run."
    )
    burst: int | None = Field(
        default=None, ge=1, le=100_000, description="Attempts at once after a quiet time. Default: perSecond."
    )


_KINDS = ("webhook", "slack", "email", "apprise")
_ONE_KIND = "a channel must have exactly one of webhook, slack, email and apprise"


class Channel(ApiModel):
    """One way out for notifications: exactly one of webhook, slack, email and apprise."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            f"[{', '.join(f'has(self.{kind})' for kind in _KINDS)}].filter(x, x).size() == 1", _ONE_KIND
        )
    )

    name: Name = Field(description="Name of the channel, unique in the pipeline; job types route to it by this name.")
    webhook: Webhook | None = Field(default=None, description="Deliver as a JSON POST to an HTTP endpoint.")
    slack: Slack | None = Field(default=None, description="Deliver as a message to a Slack incoming webhook.")
    email: Email | None = Field(default=None, description="Deliver as a mail.")
    apprise: Apprise | None = Field(default=None, description="Deliver through any service that Apprise knows.")
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Deliveries through this channel at once, for each replica. Default: half of "
        "spec.workers.concurrency where there are other channels, so that one that hangs leaves room for the others.",
    )
    rate_limit: RateLimit | None = Field(
        default=None, description="Attempts a second through this channel, for each replica. Default: no limit."
    )

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(getattr(self, kind) is not None for kind in _KINDS) != 1:
            raise ValueError(_ONE_KIND)
        return self

    @property
    def kind(self) -> str:
        """Which of the kinds it is: webhook, slack, …"""
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @property
    def destination(self) -> Webhook | Slack | Email | Apprise:
        """Where it leads."""
        found: Webhook | Slack | Email | Apprise = getattr(self, self.kind)
        return found

    @property
    def secret_refs(self) -> Mapping[str, SecretKeyRef]:
        """The Secrets that this channel needs: the field's name in the custom resource → the reference."""
        return self.destination.secret_refs


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
    concurrency: int | None = Field(
        default=None,
        ge=1,
        le=1024,
        description="Jobs of this type that run at once, for each replica. Default: only spec.workers.concurrency.",
    )
    rate_limit: RateLimit | None = Field(
        default=None, description="Attempts a second for this type, for each replica. Default: no limit."
    )

    @model_validator(mode="after")
    def _channels_once(self) -> Self:
        if twice := duplicates(self.channels or ()):
            raise ValueError(f"jobTypes[{self.name}].channels: {twice[0]} stands more than once")
        return self


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
