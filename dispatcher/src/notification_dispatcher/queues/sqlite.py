"""The embedded engine: one SQLite file, one process. The default, and what a pipeline runs on in Kubernetes.

WAL with `synchronous=FULL`: a commit is on disk, not only in the operating system's memory. `NORMAL` acknowledged
writes that no fsync had followed.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import msgspec

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueError, QueueUnavailableError
from notification_dispatcher.job import Job, JobReport, JobState, Lease, Settlement, Settling
from notification_dispatcher.queues import sql
from notification_dispatcher.queues.admission import Admitting
from notification_dispatcher.queues.base import (
    Admission,
    Counts,
    DeadFilter,
    DeadLetter,
    DeadLimits,
    Limits,
    Named,
    Place,
    Receipt,
    State,
    Verdict,
    kept_of,
    report_of,
)
from notification_dispatcher.queues.graveyard import Graveyard, dead_letters
from notification_dispatcher.queues.jumps import ClockJumps, Moment
from notification_dispatcher.queues.leasing import lease_due
from notification_dispatcher.queues.migrations import VERSION
from notification_dispatcher.queues.sqlite_file import connect, lock
from notification_dispatcher.queues.transitions import change_of
from notification_dispatcher.queues.waking import Waking
from notification_dispatcher.queues.writer import GroupCommitWriter

_encode = msgspec.json.encode


class SqliteQueue:
    """A queue in one file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        # The writer's thread changes these inside a transaction; everyone else sees them once it is committed.
        self._changing = [0] * len(State)
        self._committed = Counts(0, 0, 0, 0)
        self._jumps = ClockJumps(clock)
        self._suspects = False
        """Whether there were any when it was opened: they come from nowhere else."""
        self._waking = Waking(clock)
        self._lock: IO[str] | None = None
        self._writer: GroupCommitWriter | None = None

    async def open(self) -> None:
        """Open or create the file, bring it up to date, take back what ran when the process died."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = lock(self._path)
            connection = await asyncio.to_thread(connect, self._path)
        except (OSError, sqlite3.Error) as error:
            self._unlock()
            why = error.strerror if isinstance(error, OSError) else error
            raise QueueError(
                f"the queue's file {self._path} cannot be opened: {why}. NOTIFICATION_QUEUE_PATH names it."
            ) from error
        except QueueError:
            self._unlock()
            raise
        self._writer = GroupCommitWriter(connection, committed=self._publish, rolled_back=self._take_back)
        await self._writer.do(self._recover)
        self._waking.now()

    async def close(self) -> None:
        """Commit what waits and let go of the file."""
        if self._writer is not None:
            await self._writer.close()
        self._unlock()

    async def enqueue(self, jobs: Sequence[Job], limits: Limits, receipt: Receipt | None = None) -> Admission:
        """Store a batch in one transaction."""
        now = await self._now()

        def run(connection: sqlite3.Connection) -> Admission:
            return Admitting(connection, limits, now.wall_ms, self._changing).admit(jobs, receipt)

        admission = await self._running.do(run)
        if Verdict.QUEUED in admission.verdicts:
            self._waking.now()
        return admission

    async def claim(self, count: int) -> list[Lease]:
        """Lease what is due."""
        now = await self._now()

        def run(connection: sqlite3.Connection) -> tuple[list[Lease], bool, int | None]:
            promoted = connection.execute(sql.PROMOTE, (now.wall_ms,)).rowcount
            if self._suspects:
                promoted += connection.execute(sql.PROMOTE_SUSPECT, (now.wall_ms,)).rowcount
            leases, more = lease_due(connection, count, now)
            self._changing[State.SCHEDULED] -= promoted
            self._changing[State.READY] += promoted - len(leases)
            self._changing[State.RUNNING] += len(leases)
            return leases, more, self._next_due(connection)

        self._waking.claiming()
        leases, more, next_due = await self._running.do(run)
        self._waking.claimed(more=more, next_due_ms=next_due)
        return leases

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[Lease]:
        """End leases in one transaction. None is ever lost: nobody else has the file."""
        processed = _encode([one.lease.seq for one in settlements if one.settling is Settling.PROCESSED]).decode()
        others = [one for one in settlements if one.settling is not Settling.PROCESSED]
        now = await self._now()

        def run(connection: sqlite3.Connection) -> None:
            self._changing[State.RUNNING] -= connection.execute(sql.PROCESSED, (processed,)).rowcount
            for one in others:
                state, changed = _settle(connection, one, now)
                self._changing[State.RUNNING] -= changed
                self._changing[state] += changed

        await self._running.do(run)
        if others or self._suspects:
            self._waking.now()
        return ()

    async def wait_for_work(self) -> None:
        """Return when there may be something to claim."""
        await self._waking.wait()

    async def report(self, job_id: str) -> JobReport | None:
        """What is known of a job."""

        now = await self._now()

        def run(connection: sqlite3.Connection) -> JobReport | None:
            row = connection.execute(sql.REPORT, (job_id,)).fetchone()
            if row is not None:
                return report_of(kept_of(row))
            delivered = connection.execute(sql.DELIVERED, (job_id, now.wall_ms)).fetchone()
            return None if delivered is None else JobReport(id=job_id, state=JobState.PROCESSED)

        return await self._running.do(run)

    async def dead_letters(self, which: DeadFilter, after: Place | None, count: int) -> list[DeadLetter]:
        """A page of dead letters, the latest first."""
        return await self._running.do(lambda connection: dead_letters(connection, which, after, count))

    async def replay(self, which: DeadFilter, limits: Limits, count: int) -> list[Named]:
        """Queue dead letters again."""
        now = await self._now()
        replayed = await self._running.do(
            lambda connection: Graveyard(connection, now.wall_ms, self._changing).replay(which, limits, count)
        )
        if replayed:
            self._waking.now()
        return replayed

    async def discard(self, which: DeadFilter, count: int) -> list[Named]:
        """Delete dead letters."""
        now = await self._now()
        return await self._running.do(
            lambda connection: Graveyard(connection, now.wall_ms, self._changing).discard(which, count)
        )

    async def tidy(self, limits: DeadLimits) -> int:
        """Delete the dead letters that are too old or too many."""
        now = await self._now()
        return await self._running.do(
            lambda connection: Graveyard(connection, now.wall_ms, self._changing).tidy(limits)
        )

    async def oldest_due_ms(self) -> int | None:
        """When the job that has been due longest became so."""
        await self._now()
        return await self._running.do(lambda connection: _number(connection, sql.OLDEST_DUE))

    def counts(self) -> Counts:
        """How many jobs are where."""
        return self._committed

    async def probe(self) -> None:
        """Try whether it can store."""
        # The same number again: nothing changes, and a page of the file is written all the same.
        await self._running.do(lambda connection: connection.execute(f"PRAGMA user_version = {VERSION}"), writes=True)

    @property
    def available(self) -> bool:
        """Whether it could store when it last had something to."""
        return self._writer is not None and self._writer.available

    @property
    def board(self) -> None:
        """Nobody to share with."""

    @property
    def _running(self) -> GroupCommitWriter:
        if self._writer is None:
            raise QueueUnavailableError("the queue is not open")
        return self._writer

    async def _now(self) -> Moment:
        """The time, once what is stored was moved along with a wall clock that was set."""
        now, moved = self._jumps.now()
        if not moved:
            return now
        try:
            await self._running.do(lambda connection: _move(connection, moved, now.wall_ms))
        except QueueUnavailableError:
            self._jumps.again(moved)
            raise
        self._waking.now()
        # Not what the wall clock says now: it may have been set again.
        return now.later(self._clock.monotonic())

    def _recover(self, connection: sqlite3.Connection) -> None:
        connection.execute(sql.RECOVER)
        for state, count in connection.execute(sql.COUNTS):
            self._changing[state] = count
        self._suspects = bool(_number(connection, sql.ANY_SUSPECT))

    def _next_due(self, connection: sqlite3.Connection) -> int | None:
        statements = (sql.NEXT_READY, sql.NEXT_SUSPECT) if self._suspects else (sql.NEXT_READY,)
        found = [one for statement in statements if (one := _number(connection, statement)) is not None]
        return min(found, default=None)

    def _publish(self) -> None:
        self._committed = Counts(*self._changing)

    def _take_back(self) -> None:
        self._changing = list(self._committed)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _settle(connection: sqlite3.Connection, one: Settlement, now: Moment) -> tuple[State, int]:
    """One transition out of running, and how many jobs made it: none if the lease is no longer held."""
    change = change_of(one, now)
    values = (*change, _encode(one.done).decode(), one.lease.seq)
    return change.state, connection.execute(sql.CHANGE, values).rowcount


def _move(connection: sqlite3.Connection, by_ms: int, now_ms: int) -> None:
    connection.execute(sql.MOVE_JOBS, (by_ms, now_ms))
    for statement in (sql.MOVE_DEDUP, sql.MOVE_REQUESTS):
        connection.execute(statement, (by_ms,))


def _number(connection: sqlite3.Connection, statement: str) -> int | None:
    (found,) = connection.execute(statement).fetchone()
    return None if found is None else int(found)
