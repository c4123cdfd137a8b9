"""Who is let into an SQL queue: dedup, capacity, eviction. `sqlite` calls it inside a transaction."""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import msgspec

from notification_dispatcher.job import Job
from notification_dispatcher.queues import sql
from notification_dispatcher.queues.base import (
    Admission,
    Limits,
    Named,
    Overflow,
    Recalled,
    Receipt,
    State,
    Verdict,
    beginning,
)

_encode = msgspec.json.encode

_FORGOTTEN = 1000
_SIZES = (64, 16, 4, 1)
"""So many rows a statement has: few statements for any number of rows, and few of them to be kept prepared."""


class Admitting:
    """One batch at the door. `counts` has a number for each `State`, and is kept current."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits, now_ms: int, counts: list[int]) -> None:
        self._execute = connection.execute
        self._limits = limits
        self._now_ms = now_ms
        self._until_ms = now_ms + limits.dedup_window_ms
        self._counts = counts
        self._evicted: list[Named] = []

    def admit(self, jobs: Sequence[Job], receipt: Receipt | None) -> Admission:
        """Decide about each job, in order; about none when the request was answered before."""
        # A job leaves up to two notes: more are forgotten than it writes, or they would become ever more.
        self._execute(sql.FORGET_OLD, (self._now_ms, max(_FORGOTTEN, 3 * len(jobs))))
        if receipt is None:
            return self._decide(jobs)
        self._execute(sql.FORGET_REQUESTS, (self._now_ms,))
        known = self._execute(sql.RECALL, (receipt.key, self._now_ms)).fetchone()
        if known is not None:
            return Admission([], [], Recalled(*known))
        admission = self._decide(jobs)
        answer = receipt.answer(admission)
        if answer:
            self._execute(sql.RECORD, (receipt.key, receipt.fingerprint, answer, self._until_ms))
        return admission

    def _decide(self, jobs: Sequence[Job]) -> Admission:
        if self._admit_all(jobs):
            return Admission([Verdict.QUEUED] * len(jobs), [])
        return Admission([self._admit(job) for job in jobs], self._evicted)

    def _admit_all(self, jobs: Sequence[Job]) -> bool:
        """The usual case, in a few statements for the whole batch: there is room, and none of them was seen before.

        False: it is not so, and nothing was changed.
        """
        if self._waiting + len(jobs) > self._limits.capacity:
            return False
        self._execute("SAVEPOINT batch")
        notes = [(job.dedup_key, job.id, self._until_ms) for job in jobs]
        usual = self._store(sql.remember, notes, self._now_ms) == len(jobs)
        rows = [self._row(job) for job in jobs]
        usual = usual and self._store(sql.insert, rows) == len(jobs)
        if usual:
            self._store(sql.note_ids, [self._id_note(job) for job in jobs if job.dedup_key != job.id])
            scheduled = sum(row[2] == State.SCHEDULED for row in rows)
            self._counts[State.SCHEDULED] += scheduled
            self._counts[State.READY] += len(jobs) - scheduled
        else:
            self._execute("ROLLBACK TO batch")
        self._execute("RELEASE batch")
        return usual

    def _store(self, statement: Callable[[int], str], rows: Sequence[Sequence[Any]], *more: int) -> int:
        """Insert rows, dozens of them with one statement: each takes the interpreter's lock. How many were changed."""
        changed = start = 0
        for size in _SIZES:
            while start + size <= len(rows):
                values = [*chain.from_iterable(rows[start : start + size]), *more]
                changed += self._execute(statement(size), values).rowcount
                start += size
        return changed

    def _id_note(self, job: Job) -> tuple[str, str, int]:
        return job.id, job.id, self._until_ms

    def _row(self, job: Job) -> tuple[str, str, int, int, bytes, str, str | None, str, int, int, int]:
        channels = None if job.channels is None else _encode(job.channels).decode()
        key, now = job.dedup_key, self._now_ms
        state, due = beginning(job, now)
        # Plain numbers: sqlite3 looks for an adapter of anything else.
        return job.id, job.type, int(state), int(job.rank), job.payload, key, channels, job.trace, now, due, due

    def _admit(self, job: Job) -> Verdict:
        if self._waiting >= self._limits.capacity and not self._room_for(job):
            # A repetition is a repetition even when there is no room.
            seen = self._execute(sql.REMEMBERED, (job.dedup_key, self._now_ms)).fetchone()
            return Verdict.REJECTED if seen is None else Verdict.DEDUPLICATED
        if not self._store(sql.remember, [(job.dedup_key, job.id, self._until_ms)], self._now_ms):
            return Verdict.DEDUPLICATED
        seq = self._insert(job)
        if seq is None:
            # Its id is noted for the job that is there.
            self._execute(sql.FORGET_KEY, (job.dedup_key, job.id))
            return Verdict.DEDUPLICATED
        if job.dedup_key != job.id:
            self._store(sql.note_ids, [self._id_note(job)])
        self._make_room(job, seq)
        return Verdict.QUEUED

    @property
    def _waiting(self) -> int:
        return self._counts[State.READY] + self._counts[State.SCHEDULED]

    def _room_for(self, job: Job) -> bool:
        """Whether something that waits may give way to it."""
        if self._limits.overflow is Overflow.REJECT:
            return False
        victim = self._execute(sql.VICTIM, {"newest": sys.maxsize}).fetchone()
        return victim is not None and victim[4] >= job.rank

    def _insert(self, job: Job) -> int | None:
        """Store it. None when a job of its id still waits or runs."""
        values = self._row(job)
        cursor = self._execute(sql.insert(1), values)
        if cursor.rowcount == 0 and self._execute(sql.UNBURY, (job.id,)).rowcount == 1:
            # It failed for good, the window is over, and somebody sends it again: a new job.
            self._counts[State.DEAD] -= 1
            cursor = self._execute(sql.insert(1), values)
        if cursor.rowcount == 0:
            return None
        self._counts[values[2]] += 1
        return cursor.lastrowid

    def _make_room(self, newest: Job, newest_seq: int) -> None:
        """Evict what is no more important until the rest is within the capacity, which may have been lowered."""
        while self._limits.overflow is Overflow.EVICT_OLDEST and self._waiting > self._limits.capacity:
            victim = self._execute(sql.VICTIM, {"newest": newest_seq}).fetchone()
            seq, job_id, job_type, state, rank, _since, key = victim
            if rank < newest.rank:
                return
            self._execute(sql.DELETE, (seq,))
            self._execute(sql.FORGET, (key, job_id))
            self._counts[state] -= 1
            self._evicted.append(Named(job_id, job_type))
