"""Who is let in, and who gives way: decided in memory, from what `door` has read behind the schema's lock.

The same decisions in the same order as the other engines'; `door` writes down what came of them.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from notification_dispatcher.job import Job
from notification_dispatcher.queues.base import Limits, Named, Overflow, State, Verdict, beginning
from notification_dispatcher.queues.postgresql.statements import ID_MARK

_LATER = 1 << 62
"""A new job's number, before it has one: after all that are stored."""


class Waiting(NamedTuple):
    """A job that may give way. The least of them goes first."""

    importance: int
    """Its rank below nought."""
    since_ms: int
    seq: int
    id: str
    type: str
    state: int
    dedup_key: str


class New(NamedTuple):
    """A job that is to be stored."""

    job: Job
    state: State
    accepted_ms: int
    due_ms: int


class Deciding:
    """One transaction's decisions."""

    def __init__(self, now_ms: int, waiting: int, noted: Iterable[tuple[str, str]], present: Mapping[str, int]) -> None:
        """`noted` are those of the batch's dedup keys that are remembered, `present` those of its ids that are kept."""
        self._now_ms = now_ms
        self._waiting = waiting
        self._noted = dict(noted)
        self._present = dict(present)
        self._stored_victims: deque[Waiting] = deque()
        self._new_victims: list[Waiting] = []
        self._seq = _LATER
        self.new: dict[str, New] = {}
        self.notes: dict[str, tuple[str, int]] = {}
        """Dedup key → the job's id, and until when."""
        self.gone: list[Waiting] = []
        """Stored jobs that gave way."""
        self.unburied: list[str] = []

    def offer(self, victims: Iterable[Waiting]) -> None:
        """Stored jobs that may give way."""
        self._stored_victims = deque(sorted(victims))

    def admit(self, jobs: Sequence[Job], limits: Limits) -> tuple[list[Verdict], list[Named]]:
        """Decide about a batch, one after the other; and who gave way."""
        evicted: list[Named] = []
        return [self._admit(job, limits, evicted) for job in jobs], evicted

    def _admit(self, job: Job, limits: Limits, evicted: list[Named]) -> Verdict:
        if job.dedup_key in self._noted:
            return Verdict.DEDUPLICATED
        if self._waiting >= limits.capacity and self._victim_for(job, limits) is None:
            return Verdict.REJECTED
        present = self._present.get(job.id)
        if present is not None and present != State.DEAD:
            return Verdict.DEDUPLICATED
        if present is not None:
            self.unburied.append(job.id)
        while self._waiting >= limits.capacity and (victim := self._victim_for(job, limits)) is not None:
            evicted.append(self._evict(victim))
        self._store(job, self._now_ms + limits.dedup_window_ms)
        return Verdict.QUEUED

    def _victim_for(self, job: Job, limits: Limits) -> Waiting | None:
        """Who gives way to it: nobody who is more important."""
        if limits.overflow is Overflow.REJECT:
            return None
        first = [heap[0] for heap in (self._stored_victims, self._new_victims) if heap]
        victim = min(first, default=None)
        return None if victim is None or -victim.importance < job.rank else victim

    def _store(self, job: Job, until_ms: int) -> None:
        state, due = beginning(job, self._now_ms)
        self.new[job.id] = New(job, state, self._now_ms, due)
        self._present[job.id] = state
        self._noted[job.dedup_key] = job.id
        self.notes[job.dedup_key] = (job.id, until_ms)
        if job.dedup_key != job.id:
            self.notes[ID_MARK + job.id] = (job.id, until_ms)
        self._waiting += 1
        self._seq += 1
        waiting = Waiting(-job.rank, due, self._seq, job.id, job.type, state, job.dedup_key)
        heapq.heappush(self._new_victims, waiting)

    def _evict(self, victim: Waiting) -> Named:
        if self._stored_victims and victim is self._stored_victims[0]:
            self._stored_victims.popleft()
            self.gone.append(victim)
        else:
            heapq.heappop(self._new_victims)
            del self.new[victim.id]
            self.notes.pop(ID_MARK + victim.id, None)
            if self.notes.get(victim.dedup_key, ("",))[0] == victim.id:
                del self.notes[victim.dedup_key]
        if self._noted.get(victim.dedup_key) == victim.id:
            del self._noted[victim.dedup_key]
        self._present.pop(victim.id, None)
        self._waiting -= 1
        return Named(victim.id, victim.type)
