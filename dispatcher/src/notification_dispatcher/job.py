"""A notification job: what a caller sends, what the queue keeps, and what a worker is given.

`intake` makes jobs from what was posted, the engines under `queues` store them, `worker` runs them.
"""

from __future__ import annotations

import os
import time
from enum import IntEnum, StrEnum

import msgspec

from notification_dispatcher.pipeline import Priority


class Rank(IntEnum):
    """Priorities as numbers: lower goes first."""

    HIGH = 0
    NORMAL = 1
    LOW = 2


RANKS = {Priority.HIGH: Rank.HIGH, Priority.NORMAL: Rank.NORMAL, Priority.LOW: Rank.LOW}

HEAD_START_MS = 60_000
"""A job overtakes those of the next lower priority that became due less than this time before it, and no others: so
nothing starves, since in the end the job that has been due longest goes first whatever its priority."""


class JobState(StrEnum):
    """Where a job is, as callers are told."""

    READY = "ready"
    SCHEDULED = "scheduled"
    RUNNING = "running"
    DEAD = "dead"
    PROCESSED = "processed"
    """Delivered. Only its id is remembered, for as long as the dedup window."""


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job on its way into the queue."""

    id: str
    type: str
    payload: bytes
    """The payload as JSON, exactly as it came."""
    dedup_key: str
    rank: Rank = Rank.NORMAL
    channels: tuple[str, ...] | None = None
    """Channels that the caller chose; None leaves it to the job type."""
    due_ms: int = 0
    """When it may start, in milliseconds since 1970; at once, when that is over. The queue's clock tells: whoever takes
    jobs in may have another."""
    trace: str = ""
    """The caller's trace context, as JSON (`tracing`); empty where there is none."""


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a worker has, and must settle."""

    seq: int
    """Its number in the queue."""
    id: str
    type: str
    payload: bytes
    rank: Rank
    channels: tuple[str, ...] | None
    done: dict[str, str]
    """Channels that need no further attempt: name → "" where delivered, else the reason why it failed for good."""
    attempt: int
    """1 for the first."""
    accepted_ms: int
    due_ms: int
    """When it became eligible, as it is stored."""
    eligible_at: float
    """The same in monotonic seconds, whatever becomes of the wall clock: its wait is counted from here."""
    crashes: int = 0
    """How often the process ended while a worker had it. That costs no attempt, but may be its fault."""
    trace: str = ""
    """As in the job."""
    holder: int = 0
    """Which of the dispatchers on a shared queue has it: a lease that was lost and given to another is another one."""


class Settling(StrEnum):
    """What becomes of a job that was run."""

    PROCESSED = "processed"
    RETRY = "retry"
    FAILED = "failed"
    RELEASED = "released"
    """Back as it was, at no cost: it was not attempted, or not to the end."""
    POSTPONED = "postponed"
    """Back until a later time, at no cost: it waits for a limit or an open circuit, and keeps its place and its age."""


class Settlement(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a lease."""

    lease: Lease
    settling: Settling
    done: dict[str, str] = {}
    """As in the lease, with what this attempt added."""
    again_at: float = 0.0
    """For RETRY and POSTPONED: when it may start again, in monotonic seconds."""
    reason: str = ""
    """For RETRY and FAILED: the root cause, one of the metrics' reasons."""
    detail: str = ""
    """For people: what was answered. Never a secret."""


class JobReport(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A job as callers are shown it. `reason` and `detail` are of its last attempt; times are RFC 3339."""

    id: str
    state: JobState
    type: str = ""
    attempts: int | None = None
    accepted_at: str = ""
    due_at: str = ""
    dead_at: str = ""
    delivered: list[str] = []
    """Channels that have it already."""
    reason: str = ""
    detail: str = ""


def new_id() -> str:
    """A fresh id that sorts by time: a version 7 UUID. Source: RFC 9562, section 5.7."""
    value = time.time_ns() // 1_000_000 << 80 | int.from_bytes(os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
