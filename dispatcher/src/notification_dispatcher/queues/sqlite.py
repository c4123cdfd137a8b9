"""The embedded engine: one SQLite file, one process. The default, and what a pipeline runs on in Kubernetes.

WAL with `synchronous=FULL`: a commit is on disk, not only in the operating system's memory. `NORMAL` acknowledged
writes that no fsync had followed.
"""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

import msgspec

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueError, QueueInUseError, QueueSchemaError, QueueUnavailableError
from notification_dispatcher.job import Job, JobReport, Lease, Rank, Settlement, Settling
from notification_dispatcher.queues import sql
from notification_dispatcher.queues.admission import Admitting
from notification_dispatcher.queues.base import (
    Admission,
    Counts,
    Kept,
    Limits,
    State,
    Verdict,
    position,
    report_of,
)
from notification_dispatcher.queues.waking import Waking
from notification_dispatcher.queues.writer import GroupCommitWriter

_encode = msgspec.json.encode
_decode_done = msgspec.json.Decoder(dict[str, str]).decode
_decode_channels = msgspec.json.Decoder(tuple[str, ...]).decode


class SqliteQueue:
    """A queue in one file."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        # The writer's thread changes these inside a transaction; everyone else sees them once it is committed.
        self._changing = [0] * len(State)
        self._committed = Counts(0, 0, 0, 0)
        self._waking = Waking(clock)
        self._lock: IO[str] | None = None
        self._writer: GroupCommitWriter | None = None

    async def open(self) -> None:
        """Open or create the file, bring it up to date, take back what ran when the process died."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._path)
            connection = await asyncio.to_thread(_connect, self._path)
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

    async def enqueue(self, jobs: Sequence[Job], limits: Limits) -> Admission:
        """Store a batch in one transaction."""
        now = self._clock.wall_ms()

        def run(connection: sqlite3.Connection) -> Admission:
            return Admitting(connection, limits, now, self._changing).admit(jobs)

        admission = await self._running.do(run)
        if Verdict.QUEUED in admission.verdicts:
            self._waking.now()
        return admission

    async def claim(self, count: int) -> list[Lease]:
        """Lease what is due."""
        now = self._clock.wall_ms()

        def run(connection: sqlite3.Connection) -> tuple[list[Lease], int | None]:
            promoted = connection.execute(sql.PROMOTE, (now,)).rowcount
            rows = connection.execute(sql.CLAIM, {"count": count}).fetchall()
            self._changing[State.SCHEDULED] -= promoted
            self._changing[State.READY] += promoted - len(rows)
            self._changing[State.RUNNING] += len(rows)
            return _leases(rows), _number(connection, sql.NEXT_DUE)

        self._waking.claiming()
        leases, next_due = await self._running.do(run)
        self._waking.claimed(full=len(leases) == count, next_due_ms=next_due)
        return leases

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases in one transaction."""
        processed = [(one.lease.seq,) for one in settlements if one.settling is Settling.PROCESSED]
        others = [one for one in settlements if one.settling is not Settling.PROCESSED]

        def run(connection: sqlite3.Connection) -> None:
            self._changing[State.RUNNING] -= connection.executemany(sql.PROCESSED, processed).rowcount
            for one in others:
                state, changed = _settle(connection, one)
                self._changing[State.RUNNING] -= changed
                self._changing[state] += changed

        await self._running.do(run)
        if others:
            self._waking.now()

    async def wait_for_work(self) -> None:
        """Return when there may be something to claim."""
        await self._waking.wait()

    async def report(self, job_id: str) -> JobReport | None:
        """What is known of a job."""

        def run(connection: sqlite3.Connection) -> JobReport | None:
            row = connection.execute(sql.REPORT, (job_id,)).fetchone()
            return None if row is None else report_of(Kept(*row))

        return await self._running.do(run)

    async def oldest_due_ms(self) -> int | None:
        """When the job that has been due longest became so."""
        return await self._running.do(lambda connection: _number(connection, sql.OLDEST_DUE))

    def counts(self) -> Counts:
        """How many jobs are where."""
        return self._committed

    async def probe(self) -> None:
        """Try whether it can store."""
        # The same number again: nothing changes, and a page of the file is written all the same.
        await self._running.do(lambda connection: connection.execute(sql.TOUCH))

    @property
    def available(self) -> bool:
        """Whether the last transaction was committed."""
        return self._writer is not None and self._writer.available

    @property
    def _running(self) -> GroupCommitWriter:
        if self._writer is None:
            raise QueueUnavailableError("the queue is not open")
        return self._writer

    def _recover(self, connection: sqlite3.Connection) -> None:
        connection.execute(sql.RECOVER)
        for state, count in connection.execute(sql.COUNTS):
            self._changing[state] = count

    def _publish(self) -> None:
        self._committed = Counts(*self._changing)

    def _take_back(self) -> None:
        self._changing = list(self._committed)

    def _unlock(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _settle(connection: sqlite3.Connection, one: Settlement) -> tuple[State, int]:
    """One transition out of running, and how many jobs made it: none if the lease is no longer held."""
    seq, done = one.lease.seq, _encode(one.done).decode()
    match one.settling:
        case Settling.FAILED:
            return State.DEAD, connection.execute(sql.BURY, (done, one.reason, one.detail, seq)).rowcount
        case Settling.RELEASED:
            return State.READY, connection.execute(sql.RELEASE, (done, seq)).rowcount
        case _:
            values = (done, one.due_ms, one.reason, one.detail, seq)
            return State.SCHEDULED, connection.execute(sql.RETRY, values).rowcount


def _locked(path: Path) -> IO[str]:
    """Take the file for this process alone, until it ends, however it ends."""
    lock = path.with_name(f"{path.name}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise QueueInUseError(
            f"another dispatcher has the queue's file {path}: stop it, or set NOTIFICATION_QUEUE_PATH to another file."
        ) from None
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=64)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA cache_size = -8192")
        connection.execute("PRAGMA journal_size_limit = 67108864")
        _migrate(connection, path)
    except BaseException:
        connection.close()
        raise
    return connection


def _migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the file to this program's version, in one transaction."""
    version = _number(connection, "PRAGMA user_version") or 0
    if version > sql.SCHEMA_VERSION:
        raise QueueSchemaError(
            f"the queue's file {path} has version {version}, and this program knows {sql.SCHEMA_VERSION}: "
            "run the newer program, or set NOTIFICATION_QUEUE_PATH to another file."
        )
    if version == 0:
        connection.executescript(f"BEGIN;{sql.SCHEMA}{sql.TOUCH};COMMIT;")


def _number(connection: sqlite3.Connection, statement: str) -> int | None:
    (found,) = connection.execute(statement).fetchone()
    return None if found is None else int(found)


def _leases(rows: list[Sequence[Any]]) -> list[Lease]:
    # RETURNING gives no order.
    rows.sort(key=lambda row: (position(row[9], row[4]), row[0]))
    return [
        Lease(
            seq=seq,
            id=job_id,
            type=job_type,
            payload=payload,
            rank=Rank(rank),
            channels=None if channels is None else _decode_channels(channels),
            done=_decode_done(done),
            attempt=attempts,
            accepted_ms=accepted_ms,
            due_ms=due_ms,
        )
        for seq, job_id, job_type, payload, rank, channels, done, attempts, accepted_ms, due_ms in rows
    ]
