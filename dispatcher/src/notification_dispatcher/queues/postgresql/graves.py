"""Dead letters: listed, replayed, deleted. `engine` calls it; what changes them runs behind the schema's lock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg

from notification_dispatcher.job import JobReport, JobState
from notification_dispatcher.queues.base import (
    FIRST_PAGE,
    MOST_TIDIED,
    DeadFilter,
    DeadLetter,
    DeadLimits,
    Limits,
    Named,
    Place,
    State,
    kept_of,
    report_of,
)
from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.door import forget
from notification_dispatcher.queues.postgresql.statements import text
from notification_dispatcher.queues.postgresql.track import Work

if TYPE_CHECKING:
    from notification_dispatcher.queues.postgresql.links import Link

    Row = asyncpg.Record


async def report(link: Link, job_id: str, now_ms: int) -> JobReport | None:
    """What is known of a job."""
    job_id = text(job_id)
    row = await link.fetchrow(statements.REPORT, job_id)
    if row is not None:
        return report_of(kept_of(tuple(row)))
    delivered = await link.fetchval(statements.DELIVERED, job_id, statements.ID_MARK + job_id, now_ms)
    return JobReport(id=job_id, state=JobState.PROCESSED) if delivered else None


async def dead_letters(link: Link, which: DeadFilter, after: Place | None, count: int) -> list[DeadLetter]:
    """A page of them, the latest first."""
    rows = await link.fetch(statements.DEAD_LETTERS, *_chosen(which), *(after or FIRST_PAGE), count)
    return [DeadLetter(report_of(kept_of(tuple(row)[2:])), Place(row["dead_ms"], row["seq"])) for row in rows]


async def replay(work: Work, which: DeadFilter, limits: Limits, count: int, now_ms: int) -> list[Named]:
    """Queue them again, as far as there is room."""
    room = limits.capacity - int(await work.link.fetchval(statements.WAITING) or 0)
    rows = await _oldest(work, which, min(count, max(0, room)))
    await work.link.execute(statements.REVIVE, [row["id"] for row in rows], now_ms)
    work.changes[State.DEAD] -= len(rows)
    work.changes[State.READY] += len(rows)
    return _named(rows)


async def discard(work: Work, which: DeadFilter, count: int) -> list[Named]:
    """Delete them."""
    return await _delete(work, await _oldest(work, which, count))


async def tidy(work: Work, limits: DeadLimits, now_ms: int) -> int:
    """Delete those that are too old, or too many."""
    expired = await work.link.fetch(statements.EXPIRED_DEAD, now_ms - limits.retention_ms, MOST_TIDIED)
    kept = int(await work.link.fetchval(statements.DEAD_COUNT) or 0)
    deleted = len(await _delete(work, expired))
    too_many = min(kept - deleted - limits.limit, MOST_TIDIED - deleted)
    if too_many > 0:
        deleted += len(await _delete(work, await _oldest(work, DeadFilter(), too_many)))
    return deleted


async def _oldest(work: Work, which: DeadFilter, count: int) -> list[Row]:
    return await work.link.fetch(statements.OLDEST_DEAD, *_chosen(which), count)


async def _delete(work: Work, rows: Sequence[Row]) -> list[Named]:
    if rows:
        await work.link.execute(statements.UNBURY, [row["id"] for row in rows])
        # As if they had never been seen.
        await forget(work, [(row["dedup_key"], row["id"]) for row in rows])
        work.changes[State.DEAD] -= len(rows)
    return _named(rows)


def _named(rows: Sequence[Row]) -> list[Named]:
    return [Named(row["id"], row["type"]) for row in rows]


def _chosen(which: DeadFilter) -> tuple[str | None, ...]:
    given = (which.job_id, which.job_type, which.reason, which.channel)
    return tuple(None if one is None else text(one) for one in given)
