"""The port to the queue. `intake` puts jobs in, `worker` takes them out, `metrics` and `app` look.

Every engine keeps these promises, and `tests/contract` holds each of them to it:

- What `enqueue` reports as queued is stored before it returns, and what `settle` was told holds after a crash.
- Claims go by the time a job became due, moved by its priority's head start (`job.HEAD_START_MS`).
- No new job is let in beyond the capacity. When the queue is full and its overflow is `evict-oldest`, the lowest
  priority that waits gives way, and among it the job that has been due longest; a job never takes the place of a more
  important one, but is rejected itself. Jobs that come back for another attempt are always taken: of those that wait
  above the capacity, as many give way to the next new job as are no more important than it.
- A key that was queued within the window is not queued again, across restarts; an evicted job's key is forgotten, since
  nothing will come of it. A job whose id still waits or runs is not queued again either, whatever the window.
- A request that comes with a receipt is stored together with its answer, and told that answer when it comes again.
- A job that was leased when the process died is leased again, at no cost, but `Lease.crashes` counts it. Of those that
  it happened to `SUSPICIOUS_CRASHES` times, one at a time is leased: what it does then is its own fault, and the others
  are not under suspicion for it.
- When the machine's wall clock is set, what was measured from it moves along: back-offs keep their length, ages stay
  what they were. What was scheduled for a time of day is not moved. (The shared engine's times are of the database's
  clock, and nobody but the database knows how that was set: they stay as they are.)
- Dead letters are kept until `tidy` finds them too old or too many, and are listed the latest first.
- Counts are kept, never counted: reading them costs nothing, whatever the length of the queue.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple, Protocol

import msgspec

from notification_dispatcher.clock import rfc3339
from notification_dispatcher.job import HEAD_START_MS, Job, JobReport, JobState, Lease, Rank, Settlement

_decode_done = msgspec.json.Decoder(dict[str, str]).decode

SUSPICIOUS_CRASHES = 2
"""Once is bad company: whatever is leased when a process ends is leased again. Twice may be the job itself."""
MOST_TIDIED = 1000
"""So many dead letters are tidied away at a time: deliveries wait for no more."""


class State(IntEnum):
    """Where a job is, as engines store it. The first two are waiting."""

    READY = 0
    SCHEDULED = 1
    RUNNING = 2
    DEAD = 3


class Overflow(StrEnum):
    """What a full queue does with a new job. The values are those of the setting."""

    EVICT_OLDEST = "evict-oldest"
    REJECT = "reject"


class Limits(NamedTuple):
    """How much the queue holds, and for how long it remembers."""

    capacity: int
    overflow: Overflow
    dedup_window_ms: int


class DeadLimits(NamedTuple):
    """How long jobs are kept that failed for good, and how many."""

    retention_ms: int
    limit: int


class DeadFilter(NamedTuple):
    """Which dead letters are meant: those that match all that is given."""

    job_id: str | None = None
    job_type: str | None = None
    channel: str | None = None
    """One of the channels that they could not be delivered through."""
    reason: str | None = None


class Place(NamedTuple):
    """A dead letter's place in the list: where the next page goes on."""

    dead_ms: int
    seq: int


FIRST_PAGE = Place(sys.maxsize, sys.maxsize)
"""Where the list begins, the latest being first: after a place that nothing can have."""


class DeadLetter(NamedTuple):
    """A dead letter in a list."""

    report: JobReport
    place: Place


class Verdict(StrEnum):
    """What became of a job at the door."""

    QUEUED = "queued"
    DEDUPLICATED = "deduplicated"
    REJECTED = "rejected"


class Named(NamedTuple):
    """A job that something was done with: it gave way to a newer one, was replayed, or was deleted."""

    id: str
    type: str


class Recalled(NamedTuple):
    """The answer to an earlier request of the same key."""

    fingerprint: bytes
    answer: bytes


class Admission(NamedTuple):
    """What became of a batch: a verdict for each job, in order, and who gave way."""

    verdicts: list[Verdict]
    evicted: list[Named]
    recalled: Recalled | None = None
    """The request was answered before: nothing of this one was stored, and there are no verdicts."""


class Receipt(NamedTuple):
    """What makes a whole request idempotent: kept for as long as the dedup window."""

    key: str
    fingerprint: bytes
    """Tells whether it is the same request that comes again."""
    answer: Callable[[Admission], bytes]
    """What is answered, from what became of the batch. Called inside the transaction: it must be quick, and pure."""


class Counts(NamedTuple):
    """How many jobs are where, in the order of `State`."""

    ready: int
    scheduled: int
    """Due later: on a schedule, or between two attempts."""
    running: int
    dead: int

    @property
    def depth(self) -> int:
        """Jobs that were accepted and neither run nor ended."""
        return self.ready + self.scheduled


class Board(Protocol):
    """Something small that all dispatchers on a queue remember together."""

    async def change(self, by: Callable[[bytes, int], bytes]) -> None:
        """Replace what is written by what is made of it, one dispatcher at a time; empty at first.

        `by` is told the board's time too, in milliseconds; it may be called again. Raises QueueUnavailableError.
        """


class JobQueue(Protocol):
    """A durable, bounded queue."""

    async def open(self) -> None:
        """Get ready. Raises QueueError when that cannot be."""

    async def close(self) -> None:
        """Finish what was begun and let go."""

    async def enqueue(self, jobs: Sequence[Job], limits: Limits, receipt: Receipt | None = None) -> Admission:
        """Store a batch. Raises QueueUnavailableError, and then nothing of it is stored."""

    async def claim(self, count: int) -> list[Lease]:
        """Lease up to so many jobs that are due, in their order. Empty when none is.

        Raises QueueUnavailableError, and any other QueueError when it turns out, later than `open` could, that this
        process must not use the queue.
        """

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Lease]:
        """End leases. Raises QueueUnavailableError, and then they go on.

        Returns those that were lost meanwhile, since others took this dispatcher for dead: nothing came of them here.
        """

    async def wait_for_work(self) -> None:
        """Return when there may be something to claim."""

    async def report(self, job_id: str) -> JobReport | None:
        """What is known of a job; None when it is not kept (any more)."""

    async def dead_letters(self, which: DeadFilter, after: Place | None, count: int) -> list[DeadLetter]:
        """Up to so many dead letters, the latest first, from after a place on."""

    async def replay(self, which: DeadFilter, limits: Limits, count: int) -> list[Named]:
        """Queue up to so many dead letters again, the oldest first, as far as there is room; nothing gives way.

        They start afresh, but for what was delivered already.
        """

    async def discard(self, which: DeadFilter, count: int) -> list[Named]:
        """Delete up to so many dead letters, the oldest first, and forget that they were seen."""

    async def tidy(self, limits: DeadLimits) -> int:
        """Delete the dead letters that are too old or too many; a bounded number at a time. Returns how many."""

    def counts(self) -> Counts:
        """How many jobs are where."""

    async def oldest_due_ms(self) -> int | None:
        """When the job that has been due longest became so; None when none waits."""

    async def probe(self) -> None:
        """Try whether it can store. Raises QueueUnavailableError."""

    @property
    def available(self) -> bool:
        """Whether the last thing that was tried worked."""

    @property
    def board(self) -> Board | None:
        """What is shared beside the jobs; None where one dispatcher is all there is."""


def beginning(job: Job, now_ms: int) -> tuple[State, int]:
    """How a new job waits, and when it is due: by the queue's own clock."""
    due = max(now_ms, job.due_ms)
    return State.SCHEDULED if due > now_ms else State.READY, due


def position(due_ms: int, rank: int) -> int:
    """A job's place among those that are due: lower goes first."""
    return due_ms + HEAD_START_MS * (rank - Rank.NORMAL)


_REPORTED = {
    State.READY: JobState.READY,
    State.SCHEDULED: JobState.SCHEDULED,
    State.RUNNING: JobState.RUNNING,
    State.DEAD: JobState.DEAD,
}


class Kept(NamedTuple):
    """What an engine knows of a job, for `report_of`."""

    id: str
    type: str
    state: int
    attempts: int
    accepted_ms: int
    due_ms: int
    dead_ms: int
    done: dict[str, str]
    reason: str
    detail: str


def kept_of(row: Sequence[Any]) -> Kept:
    """The same from a row with its columns in this order, of which `done` is JSON still."""
    kept = Kept(*row)
    return kept._replace(done=_decode_done(row[7]))


def report_of(kept: Kept) -> JobReport:
    """A stored job as callers are shown it."""
    return JobReport(
        id=kept.id,
        type=kept.type,
        state=_REPORTED[State(kept.state)],
        attempts=kept.attempts,
        accepted_at=rfc3339(kept.accepted_ms),
        due_at=rfc3339(kept.due_ms),
        dead_at=rfc3339(kept.dead_ms) if kept.state == State.DEAD else "",
        delivered=[name for name, reason in kept.done.items() if not reason],
        reason=kept.reason,
        detail=kept.detail,
    )
