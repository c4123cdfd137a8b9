"""`spec.queue` and `spec.workers`: where jobs wait, and how many are delivered at once."""

from __future__ import annotations

from pydantic import Field

from notification_dispatcher.schema import ApiModel, Duration, Enumeration


class Overflow(Enumeration):
    """What happens to a new job when the queue is full."""

    EVICT_OLDEST = "EvictOldest"
    REJECT = "Reject"


class DeadLetters(ApiModel):
    """Jobs that failed for good. They can be looked at, replayed and deleted over the dispatcher's API."""

    retention: Duration = Field(default=Duration("168h"), description="They are deleted after this time.")
    limit: int = Field(
        default=10_000, ge=0, le=10_000_000, description="So many are kept; the oldest go first. 0 keeps none."
    )


class Queue(ApiModel):
    """Where jobs wait."""

    capacity: int = Field(
        default=10_000, ge=1, le=10_000_000, description="Jobs that may wait at once, all priorities together."
    )
    overflow: Overflow = Field(
        default=Overflow.EVICT_OLDEST,
        description="When the queue is full: EvictOldest drops the job that has waited longest, Reject answers the "
        "caller 429 with Retry-After. Both are counted and alerted on.",
    )
    dedup_window: Duration = Field(
        default=Duration("10m"),
        description="A job whose dedupKey (or id) was seen within this time is not queued a second time.",
    )
    dead_letters: DeadLetters = Field(
        default_factory=DeadLetters, description="How long jobs are kept that failed for good, and how many."
    )


class Workers(ApiModel):
    """How many deliveries run at once, and for how long."""

    concurrency: int = Field(default=32, ge=1, le=1024, description="Deliveries at once, for each replica.")
    timeout: Duration = Field(default=Duration("30s"), description="Limit for one delivery attempt.")
    drain_timeout: Duration = Field(
        default=Duration("25s"),
        description="On termination, running deliveries get this long to finish; what is left goes back to the queue.",
    )
