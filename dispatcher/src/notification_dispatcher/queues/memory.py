"""The engine without a disk: for tests and throw-away runs. What waits is lost when the process ends.

The same promises as every engine's, but for what outlives a process; chosen by NOTIFICATION_QUEUE_ENGINE=memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from notification_dispatcher.clock import Clock
from notification_dispatcher.job import Job, JobReport, JobState, Lease, Rank, Settlement, Settling
from notification_dispatcher.queues.base import (
    MOST_TIDIED,
    Admission,
    Counts,
    DeadFilter,
    DeadLetter,
    DeadLimits,
    Limits,
    Named,
    Overflow,
    Place,
    Recalled,
    Receipt,
    State,
    Verdict,
    beginning,
    position,
)
from notification_dispatcher.queues.entry import Entry, lease_of, reported
from notification_dispatcher.queues.fading import Fading
from notification_dispatcher.queues.jumps import ClockJumps, Moment
from notification_dispatcher.queues.transitions import change_of
from notification_dispatcher.queues.waking import Waking

_Heap = list[tuple[int, int]]
"""Places of jobs that wait, the first on top."""


class MemoryQueue:
    """A queue in dictionaries and heaps."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._jumps = ClockJumps(clock)
        self._waking = Waking(clock)
        self._entries: dict[int, Entry] = {}
        self._seqs: dict[str, int] = {}
        self._remembered: Fading[str] = Fading()
        """Dedup key → the job's id."""
        self._processed: Fading[None] = Fading()
        """The ids of jobs that were delivered."""
        self._requests: Fading[Recalled] = Fading()
        """The request's key → what was answered."""
        self._waiting: dict[State, dict[Rank, _Heap]] = {
            state: {rank: [] for rank in Rank} for state in (State.READY, State.SCHEDULED)
        }
        self._counts = dict.fromkeys(State, 0)
        self._next_seq = 0

    async def open(self) -> None:
        """Nothing to open."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def enqueue(self, jobs: Sequence[Job], limits: Limits, receipt: Receipt | None = None) -> Admission:
        """Keep a batch."""
        now = self._now().wall_ms
        self._forget_old(now)
        if receipt is not None and (known := self._requests.get(receipt.key)):
            return Admission([], [], known[0])
        evicted: list[Named] = []
        verdicts = [self._admit(job, limits, now, evicted) for job in jobs]
        if Verdict.QUEUED in verdicts:
            self._waking.now()
        admission = Admission(verdicts, evicted)
        answer = receipt.answer(admission) if receipt is not None else b""
        if receipt is not None and answer:
            recalled = Recalled(receipt.fingerprint, answer)
            self._requests.note(receipt.key, recalled, now + limits.dedup_window_ms)
        return admission

    async def claim(self, count: int) -> list[Lease]:
        """Lease what is due."""
        self._waking.claiming()
        now = self._now()
        self._promote(now.wall_ms)
        leases: list[Lease] = []
        heaps = self._waiting[State.READY]
        while len(leases) < count and any(heaps.values()):
            rank = min((rank for rank in Rank if heaps[rank]), key=lambda one: self._place(one, heaps[one][0]))
            entry = self._entries[heapq.heappop(heaps[rank])[1]]
            self._move(entry, State.RUNNING)
            entry.attempts += 1
            leases.append(lease_of(entry, now))
        scheduled = [heap[0][0] for heap in self._waiting[State.SCHEDULED].values() if heap]
        self._waking.claimed(more=len(leases) == count, next_due_ms=min(scheduled, default=None))
        return leases

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Lease]:
        """End leases. None is ever lost."""
        now = self._now()
        for one in settlements:
            entry = self._entries.get(one.lease.seq)
            if entry is not None and entry.state is State.RUNNING:
                self._settle(entry, one, now)
        return ()

    async def wait_for_work(self) -> None:
        """Return when there may be something to claim."""
        await self._waking.wait()

    async def report(self, job_id: str) -> JobReport | None:
        """What is known of a job."""
        self._forget_old(self._now().wall_ms)
        seq = self._seqs.get(job_id)
        if seq is not None:
            return reported(self._entries[seq])
        return JobReport(id=job_id, state=JobState.PROCESSED) if self._processed.get(job_id) else None

    async def oldest_due_ms(self) -> int | None:
        """When the job that has been due longest became so."""
        self._now()
        waiting = (heap for heaps in self._waiting.values() for heap in heaps.values())
        return min((self._entries[seq].due_ms for heap in waiting for _, seq in heap), default=None)

    async def dead_letters(self, which: DeadFilter, after: Place | None, count: int) -> list[DeadLetter]:
        """A page of dead letters, the latest first."""
        found = [DeadLetter(reported(entry), Place(entry.dead_ms, entry.seq)) for entry in self._oldest_dead(which)]
        return [one for one in reversed(found) if after is None or one.place < after][:count]

    async def replay(self, which: DeadFilter, limits: Limits, count: int) -> list[Named]:
        """Queue dead letters again."""
        now = self._now().wall_ms
        room = max(0, limits.capacity - self.counts().depth)
        replayed = self._oldest_dead(which)[: min(count, room)]
        for entry in replayed:
            entry.done = {name: reason for name, reason in entry.done.items() if not reason}
            entry.attempts = entry.crashes = entry.dead_ms = 0
            entry.reason = entry.detail = ""
            entry.due_ms = entry.ready_ms = now
            self._move(entry, State.READY)
            self._put(entry)
        if replayed:
            self._waking.now()
        return [Named(entry.job.id, entry.job.type) for entry in replayed]

    async def discard(self, which: DeadFilter, count: int) -> list[Named]:
        """Delete dead letters."""
        return [self._delete(entry) for entry in self._oldest_dead(which)[:count]]

    async def tidy(self, limits: DeadLimits) -> int:
        """Delete the dead letters that are too old or too many."""
        dead, oldest = self._oldest_dead(DeadFilter()), self._now().wall_ms - limits.retention_ms
        gone = [
            entry for number, entry in enumerate(dead) if entry.dead_ms <= oldest or len(dead) - number > limits.limit
        ]
        for entry in gone[:MOST_TIDIED]:
            self._delete(entry)
        return len(gone[:MOST_TIDIED])

    def counts(self) -> Counts:
        """How many jobs are where."""
        return Counts(*(self._counts[state] for state in State))

    async def probe(self) -> None:
        """It always can."""

    @property
    def available(self) -> bool:
        """Always."""
        return True

    @property
    def board(self) -> None:
        """Nobody to share with."""

    def _admit(self, job: Job, limits: Limits, now: int, evicted: list[Named]) -> Verdict:
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
        self._remembered.note(job.dedup_key, job.id, now + limits.dedup_window_ms)
        while (
            limits.overflow is Overflow.EVICT_OLDEST
            and self.counts().depth >= limits.capacity
            and self._victim()[0] >= job.rank
        ):
            evicted.append(self._evict())
        self._insert(job, now)
        return Verdict.QUEUED

    def _insert(self, job: Job, now: int) -> None:
        state, due = beginning(job, now)
        entry = Entry(job, self._next_seq, state, due, due, now)
        self._next_seq += 1
        self._entries[entry.seq] = entry
        self._seqs[job.id] = entry.seq
        self._counts[state] += 1
        self._put(entry)

    def _victim(self) -> tuple[Rank, State]:
        """Where the job stands, on top of its heap, that gives way first."""
        found = [(rank, state) for state, heaps in self._waiting.items() for rank, heap in heaps.items() if heap]
        return min(found, key=lambda one: (-one[0], self._waiting[one[1]][one[0]][0]))

    def _evict(self) -> Named:
        rank, state = self._victim()
        return self._delete(self._entries[heapq.heappop(self._waiting[state][rank])[1]])

    def _delete(self, entry: Entry) -> Named:
        """Remove it as if it had never been seen."""
        self._remove(entry)
        noted = self._remembered.get(entry.job.dedup_key)
        if noted is not None and noted[0] == entry.job.id:
            self._remembered.drop(entry.job.dedup_key)
        return Named(entry.job.id, entry.job.type)

    def _oldest_dead(self, which: DeadFilter) -> list[Entry]:
        dead = [entry for entry in self._entries.values() if entry.state is State.DEAD and entry.matches(which)]
        return sorted(dead, key=lambda entry: (entry.dead_ms, entry.seq))

    def _settle(self, entry: Entry, one: Settlement, now: Moment) -> None:
        if one.settling is Settling.PROCESSED:
            self._remove(entry)
            noted = self._remembered.get(entry.job.dedup_key)
            if noted is not None and noted[0] == entry.job.id:
                self._processed.note(entry.job.id, None, noted[1])
            return
        change = change_of(one, now)
        entry.done = one.done
        entry.attempts -= change.refund
        entry.due_ms = entry.due_ms if change.due_ms is None else change.due_ms
        entry.ready_ms = entry.ready_ms if change.ready_ms is None else change.ready_ms
        entry.dead_ms = entry.dead_ms if change.dead_ms is None else change.dead_ms
        entry.reason = entry.reason if change.reason is None else change.reason
        entry.detail = entry.detail if change.detail is None else change.detail
        self._move(entry, change.state)
        if change.state is not State.DEAD:
            self._put(entry)
            self._waking.now()

    def _put(self, entry: Entry) -> None:
        heapq.heappush(self._waiting[entry.state][entry.job.rank], entry.since)

    def _promote(self, now: int) -> None:
        for heap in self._waiting[State.SCHEDULED].values():
            while heap and heap[0][0] <= now:
                entry = self._entries[heapq.heappop(heap)[1]]
                self._move(entry, State.READY)
                self._put(entry)

    def _move(self, entry: Entry, state: State) -> None:
        self._counts[entry.state] -= 1
        self._counts[state] += 1
        entry.state = state

    def _remove(self, entry: Entry) -> None:
        self._counts[entry.state] -= 1
        del self._entries[entry.seq]
        del self._seqs[entry.job.id]

    def _forget_old(self, now: int) -> None:
        for notes in (self._remembered, self._processed, self._requests):
            notes.forget(now)

    def _now(self) -> Moment:
        """The time, once everything was moved along with a wall clock that was set."""
        now, moved = self._jumps.now()
        if moved:
            self._move_along(moved, now.wall_ms)
            self._waking.now()
        return now

    def _move_along(self, by_ms: int, now_ms: int) -> None:
        for entry in self._entries.values():
            entry.accepted_ms += by_ms
            entry.dead_ms += by_ms
            if entry.timed:
                # If its time was jumped over, it is due now, and has not waited since.
                entry.due_ms = entry.ready_ms = max(entry.due_ms, min(entry.due_ms + by_ms, now_ms))
            else:
                entry.due_ms += by_ms
                entry.ready_ms += by_ms
        for heaps in self._waiting.values():
            for heap in heaps.values():
                heap[:] = [self._entries[seq].since for _, seq in heap]
                heapq.heapify(heap)
        for notes in (self._remembered, self._processed, self._requests):
            notes.move(by_ms)

    @staticmethod
    def _place(rank: Rank, top: tuple[int, int]) -> tuple[int, int]:
        return position(top[0], rank), top[1]
