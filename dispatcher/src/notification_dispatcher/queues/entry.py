"""A job as the memory engine keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field

from notification_dispatcher.job import Job, JobReport, Lease
from notification_dispatcher.queues.base import DeadFilter, Kept, State, report_of
from notification_dispatcher.queues.jumps import Moment


@dataclass(slots=True)
class Entry:
    """A job, and what became of it so far. Fields as in `job.Lease`."""

    job: Job
    seq: int
    state: State
    due_ms: int
    ready_ms: int
    accepted_ms: int
    attempts: int = 0
    crashes: int = 0
    dead_ms: int = 0
    done: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""

    @property
    def since(self) -> tuple[int, int]:
        """Its place among those that wait in its state."""
        return (self.ready_ms if self.state is State.SCHEDULED else self.due_ms), self.seq

    @property
    def timed(self) -> bool:
        """Whether it waits for a time of day: it has neither run nor been postponed."""
        return self.state is State.SCHEDULED and self.attempts == 0 and self.ready_ms == self.due_ms

    def matches(self, which: DeadFilter) -> bool:
        """Whether it is one of the dead letters that are meant."""
        return (
            which.job_id in {None, self.job.id}
            and which.job_type in {None, self.job.type}
            and which.reason in {None, self.reason}
            and (which.channel is None or bool(self.done.get(which.channel)))
        )


def lease_of(entry: Entry, now: Moment) -> Lease:
    """The job as a worker gets it."""
    return Lease(
        seq=entry.seq,
        id=entry.job.id,
        type=entry.job.type,
        payload=entry.job.payload,
        rank=entry.job.rank,
        channels=entry.job.channels,
        done=entry.done,
        attempt=entry.attempts,
        accepted_ms=entry.accepted_ms,
        due_ms=entry.due_ms,
        eligible_at=now.to_monotonic(entry.due_ms),
        crashes=entry.crashes,
        trace=entry.job.trace,
    )


def reported(one: Entry) -> JobReport:
    """The job as callers are shown it."""
    return report_of(
        Kept(
            id=one.job.id,
            type=one.job.type,
            state=one.state,
            attempts=one.attempts,
            accepted_ms=one.accepted_ms,
            due_ms=one.due_ms,
            dead_ms=one.dead_ms,
            done=one.done,
            reason=one.reason,
            detail=one.detail,
        )
    )
