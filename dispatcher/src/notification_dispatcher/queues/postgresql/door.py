"""Lets jobs in: many requests to a transaction, and one transaction of one dispatcher at a time. `engine` calls it.

Behind the schema's lock, dedup and capacity are exact across dispatchers. What is asked for while a transaction is
under way goes into the next one, so the lock, the round trips and the fsync are shared by all of it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.job import Job
from notification_dispatcher.queues.base import Admission, Limits, Overflow, Recalled, Receipt, State
from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.deciding import Deciding, New, Waiting
from notification_dispatcher.queues.postgresql.track import Track, Work

T = TypeVar("T")

_MOST_JOBS = 4000
_MOST_BYTES = 16 * 1024 * 1024
"""So much in one transaction; what is asked for beyond that waits for the next. One request may be larger."""
_LOOKS_FOR_VICTIMS = 3
_FINISHING_SECONDS = 1.0

_encode = msgspec.json.encode


class _Request(NamedTuple):
    jobs: Sequence[Job]
    limits: Limits
    receipt: Receipt | None
    future: asyncio.Future[Admission]


class Door:
    """The only way in."""

    def __init__(self, track: Track, clock: Clock, lock: int) -> None:
        self._track = track
        self._clock = clock
        self._lock = f"SELECT pg_advisory_xact_lock({lock});"
        self._asked: list[_Request] = []
        self._working: asyncio.Task[None] | None = None

    async def enqueue(self, jobs: Sequence[Job], limits: Limits, receipt: Receipt | None) -> Admission:
        """Store a batch. Raises QueueUnavailableError."""
        future: asyncio.Future[Admission] = asyncio.get_running_loop().create_future()
        self._asked.append(_Request(jobs, limits, receipt, future))
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work(), name="queue-door")
        return await future

    async def run(self, do: Callable[[Work], Awaitable[T]]) -> T:
        """Run something else while nobody is let in."""
        return await self._track.run(do, before=self._lock)

    async def close(self) -> None:
        """Finish what was asked for; what takes too long is refused."""
        if self._working is not None:
            await asyncio.wait((self._working,), timeout=_FINISHING_SECONDS)
            self._working.cancel()
            await asyncio.gather(self._working, return_exceptions=True)

    async def _work(self) -> None:
        while self._asked:
            group = self._next_group()
            try:
                await self._commit(group)
            except asyncio.CancelledError:
                for request in (*group, *self._asked):
                    _fail(request.future, QueueUnavailableError("the queue is closed"))
                raise

    def _next_group(self) -> list[_Request]:
        """The first of them; at least one."""
        jobs = size = taken = 0
        for request in self._asked:
            jobs += len(request.jobs)
            size += sum(len(job.payload) for job in request.jobs)
            if taken and (jobs > _MOST_JOBS or size > _MOST_BYTES):
                break
            taken += 1
        group, self._asked = self._asked[:taken], self._asked[taken:]
        return group

    async def _commit(self, group: Sequence[_Request]) -> None:
        try:
            admissions = await self.run(lambda work: self._admit(work, group))
        except QueueUnavailableError as error:
            for request in group:
                # One of their own for each: whoever raises it writes its traceback into it.
                _fail(request.future, QueueUnavailableError(str(error)))
        except Exception as error:  # noqa: BLE001  whoever asked is told; the door stays open
            if len(group) == 1:
                _fail(group[0].future, error)
                return
            # One of them failed, not the database: each alone, so that it fails nobody else's.
            for request in group:
                await self._commit([request])
        else:
            for request, admission in zip(group, admissions, strict=True):
                if not request.future.done():
                    request.future.set_result(admission)

    async def _admit(self, work: Work, group: Sequence[_Request]) -> list[Admission]:
        now_ms = self._clock.wall_ms()
        recalled = await _recall(work, group, now_ms)
        asking = [one for one in group if one.receipt is None or one.receipt.key not in recalled]
        deciding = await _look(work, asking, now_ms)
        admissions = []
        answered: dict[str, tuple[Recalled, int]] = {}
        for request in group:
            receipt = request.receipt
            if receipt is not None and receipt.key in recalled:
                admissions.append(Admission([], [], recalled[receipt.key]))
                continue
            admission = Admission(*deciding.admit(request.jobs, request.limits))
            admissions.append(admission)
            if receipt is not None and (answer := receipt.answer(admission)):
                recalled[receipt.key] = Recalled(receipt.fingerprint, answer)
                answered[receipt.key] = (recalled[receipt.key], now_ms + request.limits.dedup_window_ms)
        await _store(work, deciding)
        if answered:
            rows = [(key, one.fingerprint, one.answer, until) for key, (one, until) in answered.items()]
            await work.link.execute(statements.RECORD, *zip(*rows, strict=True))
        return admissions


def _fail(future: asyncio.Future[Admission], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


async def _recall(work: Work, group: Sequence[_Request], now_ms: int) -> dict[str, Recalled]:
    """The answers to requests that came before."""
    keys = [request.receipt.key for request in group if request.receipt is not None]
    if not keys:
        return {}
    rows = await work.link.fetch(statements.RECALL, keys, now_ms)
    return {row["key"]: Recalled(row["fingerprint"], row["answer"]) for row in rows}


async def _look(work: Work, group: Sequence[_Request], now_ms: int) -> Deciding:
    """Read all that the decisions need."""
    keys = [job.dedup_key for request in group for job in request.jobs]
    ids = [job.id for request in group for job in request.jobs]
    row = await work.link.fetchrow(statements.LOOK, keys, ids, now_ms)
    assert row is not None  # noqa: S101  a row of aggregates
    waiting = row["waiting"]
    victims: list[Waiting] = []
    least = min((one.limits.capacity for one in group if one.limits.overflow is Overflow.EVICT_OLDEST), default=None)
    for _ in range(_LOOKS_FOR_VICTIMS):
        needed = 0 if least is None else waiting + len(ids) - least
        if needed <= len(victims) or len(victims) >= waiting:
            break
        found = await work.link.fetch(statements.VICTIMS, needed)
        victims = [Waiting(-one["rank"], *tuple(one)[1:]) for one in found]
        # A worker may have taken some of them meanwhile.
        waiting = await work.link.fetchval(statements.WAITING)
    deciding = Deciding(now_ms, waiting, json.loads(row["noted"] or "[]"), dict(json.loads(row["present"] or "[]")))
    deciding.offer(victims)
    return deciding


async def _store(work: Work, deciding: Deciding) -> None:
    """Write down what was decided, and count it."""
    if deciding.gone:
        await work.link.execute(statements.EVICT, [one.id for one in deciding.gone])
        await forget(work, [(one.dedup_key, one.id) for one in deciding.gone])
    if deciding.unburied:
        await work.link.execute(statements.UNBURY, deciding.unburied)
    if deciding.new:
        jobs = zip(*map(_row, deciding.new.values()), strict=True)
        notes = [(key, *note) for key, note in deciding.notes.items()]
        await work.link.execute(statements.STORE, *jobs, *zip(*notes, strict=True))
    for one in deciding.gone:
        work.changes[one.state] -= 1
    for new in deciding.new.values():
        work.changes[new.state] += 1
    work.changes[State.DEAD] -= len(deciding.unburied)


async def forget(work: Work, jobs: Sequence[tuple[str, str]]) -> None:
    """Forget that jobs were seen: their dedup keys, each with its id."""
    keys = [key for key, _ in jobs] + [statements.ID_MARK + job_id for _, job_id in jobs]
    ids = [job_id for _, job_id in jobs]
    await work.link.execute(statements.FORGET, keys, ids + ids)


def _row(new: New) -> tuple[str, str, int, int, bytes, str, str | None, str, int, int]:
    job = new.job
    channels = None if job.channels is None else _encode(job.channels).decode()
    return (
        job.id,
        job.type,
        new.state,
        job.rank,
        job.payload,
        job.dedup_key,
        channels,
        job.trace,
        new.accepted_ms,
        new.due_ms,
    )
