"""The engine without a disk: for tests and throw-away runs. What waits is lost when the process ends.

The same promises as every engine's, but for what outlives a process; chosen by NOTIFICATION_QUEUE_ENGINE=memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from notification_dispatcher.clock import Clock
from notification_dispatcher.job import Job, JobReport, Lease, Rank, Settlement, Settling
from notification_dispatcher.queues.base import (
    Admission,
    Counts,
    Evicted,
    Kept,
    Limits,
    Overflow,
    State,
    Verdict,
    position,
    report_of,
)
from notification_dispatcher.queues.waking import Waking


@dataclass(slots=True)
class _Entry:
    job: Job
    seq: int
    state: State
    due_ms: int
    attempts: int = 0
    done: dict[str, str] = field(default_factory=dict)
    reason: str = ""
    detail: str = ""


_Heap = list[tuple[int, int]]
"""(due_ms, seq) of jobs that wait, the first due on top."""


class MemoryQueue:
    """A queue in dictionaries and heaps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waking = Waking(clock)
        self._entries: dict[int, _Entry] = {}
        self._seqs: dict[str, int] = {}
        self._remembered: dict[str, tuple[str, int]] = {}
        """Dedup key → the job's id, and until when. In the order in which they were noted."""
        self._waiting: dict[State, dict[Rank, _Heap]] = {
            state: {rank: [] for rank in Rank} for state in (State.READY, State.SCHEDULED)
        }
        self._counts = dict.fromkeys(State, 0)
        self._next_seq = 0

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def enqueue(self, jobs: Sequence[Job], limits: Limits) -> Admission:
        """Keep a batch."""
        now = self._clock.wall_ms()
        self._forget_old(now)
        evicted: list[Evicted] = []
        verdicts = [self._admit(job, limits, now, evicted) for job in jobs]
        if Verdict.QUEUED in verdicts:
            self._waking.now()
        return Admission(verdicts, evicted)

    async def claim(self, count: int) -> list[Lease]:
        """Lease what is due."""
        self._waking.claiming()
        self._promote(self._clock.wall_ms())
        leases: list[Lease] = []
        heaps = self._waiting[State.READY]
        while len(leases) < count and any(heaps.values()):
            rank = min((rank for rank in Rank if heaps[rank]), key=lambda one: self._place(one, heaps[one][0]))
            entry = self._entries[heapq.heappop(heaps[rank])[1]]
            self._move(entry, State.RUNNING)
            entry.attempts += 1
            leases.append(_lease(entry))
        scheduled = [heap[0][0] for heap in self._waiting[State.SCHEDULED].values() if heap]
        self._waking.claimed(full=len(leases) == count, next_due_ms=min(scheduled, default=None))
        return leases

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases."""
        for one in settlements:
            entry = self._entries.get(one.lease.seq)
            if entry is not None and entry.state is State.RUNNING:
                self._settle(entry, one)

    async def wait_for_work(self) -> None:
        """Return when there may be something to claim."""
        await self._waking.wait()

    async def report(self, job_id: str) -> JobReport | None:
        """What is known of a job."""
        seq = self._seqs.get(job_id)
        if seq is None:
            return None
        one = self._entries[seq]
        kept = Kept(
            id=job_id,
            type=one.job.type,
            state=one.state,
            attempts=one.attempts,
            accepted_ms=one.job.accepted_ms,
            due_ms=one.due_ms,
            reason=one.reason,
            detail=one.detail,
        )
        return report_of(kept)

    async def oldest_due_ms(self) -> int | None:
        """When the job that has been due longest became so."""
        return min((heap[0][0] for heaps in self._waiting.values() for heap in heaps.values() if heap), default=None)

    def counts(self) -> Counts:
        """How many jobs are where."""
        return Counts(*(self._counts[state] for state in State))

    async def probe(self) -> None:
        """It always can."""

    @property
    def available(self) -> bool:
        """Always."""
        return True

    def _admit(self, job: Job, limits: Limits, now: int, evicted: list[Evicted]) -> Verdict:
        known = self._remembered.get(job.dedup_key)
        if known is not None and known[1] > now:
            return Verdict.DEDUPLICATED
        full = self.counts().depth >= limits.capacity
        if full and (limits.overflow is Overflow.REJECT or self._victim()[0] < job.rank):
            return Verdict.REJECTED
        previous = self._entries.get(self._seqs.get(job.id, -1))
        if previous is not None and previous.state is not State.DEAD:
            return Verdict.DEDUPLICATED
        if previous is not None:
            self._remove(previous)
        self._remembered.pop(job.dedup_key, None)
        self._remembered[job.dedup_key] = (job.id, now + limits.dedup_window_ms)
        while limits.overflow is Overflow.EVICT_OLDEST and self.counts().depth >= limits.capacity:
            evicted.append(self._evict())
        self._insert(job, now)
        return Verdict.QUEUED

    def _insert(self, job: Job, now: int) -> None:
        state = State.SCHEDULED if job.due_ms > now else State.READY
        entry = _Entry(job, self._next_seq, state, job.due_ms)
        self._next_seq += 1
        self._entries[entry.seq] = entry
        self._seqs[job.id] = entry.seq
        self._counts[state] += 1
        heapq.heappush(self._waiting[state][job.rank], (job.due_ms, entry.seq))

    def _victim(self) -> tuple[Rank, State]:
        """Where the job stands, on top of its heap, that gives way first."""
        found = [(rank, state) for state, heaps in self._waiting.items() for rank, heap in heaps.items() if heap]
        return min(found, key=lambda one: (-one[0], self._waiting[one[1]][one[0]][0]))

    def _evict(self) -> Evicted:
        rank, state = self._victim()
        entry = self._entries[heapq.heappop(self._waiting[state][rank])[1]]
        self._remove(entry)
        key = entry.job.dedup_key
        if self._remembered.get(key, ("", 0))[0] == entry.job.id:
            del self._remembered[key]
        return Evicted(entry.job.id, entry.job.type)

    def _settle(self, entry: _Entry, one: Settlement) -> None:
        if one.settling is Settling.PROCESSED:
            self._remove(entry)
            return
        entry.done = one.done
        if one.settling is Settling.RELEASED:
            entry.attempts -= 1
        else:
            entry.reason, entry.detail = one.reason, one.detail
        match one.settling:
            case Settling.FAILED:
                self._move(entry, State.DEAD)
                return
            case Settling.RETRY:
                entry.due_ms = one.due_ms
                self._move(entry, State.SCHEDULED)
            case _:
                self._move(entry, State.READY)
        heapq.heappush(self._waiting[entry.state][entry.job.rank], (entry.due_ms, entry.seq))
        self._waking.now()

    def _promote(self, now: int) -> None:
        for rank, heap in self._waiting[State.SCHEDULED].items():
            while heap and heap[0][0] <= now:
                place = heapq.heappop(heap)
                self._move(self._entries[place[1]], State.READY)
                heapq.heappush(self._waiting[State.READY][rank], place)

    def _move(self, entry: _Entry, state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state

    def _remove(self, entry: _Entry) -> None:
        self._counts[entry.state] -= 1
        del self._entries[entry.seq]
        del self._seqs[entry.job.id]

    def _forget_old(self, now: int) -> None:
        old = []
        for key, (_, until) in self._remembered.items():
            if until > now:
                break
            old.append(key)
        for key in old:
            del self._remembered[key]

    @staticmethod
    def _place(rank: Rank, top: tuple[int, int]) -> tuple[int, int]:
        return position(top[0], rank), top[1]


def _lease(entry: _Entry) -> Lease:
    return Lease(
        seq=entry.seq,
        id=entry.job.id,
        type=entry.job.type,
        payload=entry.job.payload,
        rank=entry.job.rank,
        channels=entry.job.channels,
        done=entry.done,
        attempt=entry.attempts,
        accepted_ms=entry.job.accepted_ms,
        due_ms=entry.due_ms,
    )
