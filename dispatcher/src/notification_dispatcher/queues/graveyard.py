"""Dead letters in SQL: listed, replayed, deleted. `sqlite` calls these inside a transaction.

`counts` has a number for each `State`, and is kept current.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from notification_dispatcher.queues import sql
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


def dead_letters(
    connection: sqlite3.Connection, which: DeadFilter, after: Place | None, count: int
) -> list[DeadLetter]:
    """A page of them, the latest first."""
    place = FIRST_PAGE if after is None else after
    rows = connection.execute(sql.DEAD_LETTERS, {**which._asdict(), **place._asdict(), "count": count})
    return [DeadLetter(report_of(kept_of(row[2:])), Place(row[0], row[1])) for row in rows]


class Graveyard:
    """What changes them."""

    def __init__(self, connection: sqlite3.Connection, now_ms: int, counts: list[int]) -> None:
        self._execute = connection.execute
        self._now_ms = now_ms
        self._counts = counts

    def replay(self, which: DeadFilter, limits: Limits, count: int) -> list[Named]:
        """Queue them again, as far as there is room."""
        room = limits.capacity - self._counts[State.READY] - self._counts[State.SCHEDULED]
        rows = self._oldest(which, min(count, max(0, room)))
        for row in rows:
            self._execute(sql.REVIVE, (self._now_ms, row[0]))
        self._counts[State.DEAD] -= len(rows)
        self._counts[State.READY] += len(rows)
        return [Named(row[1], row[2]) for row in rows]

    def discard(self, which: DeadFilter, count: int) -> list[Named]:
        """Delete them."""
        return self._delete(self._oldest(which, count))

    def tidy(self, limits: DeadLimits) -> int:
        """Delete those that are too old, or too many."""
        expired = self._execute(sql.EXPIRED_DEAD, (self._now_ms - limits.retention_ms, MOST_TIDIED)).fetchall()
        deleted = len(self._delete(expired))
        too_many = min(self._counts[State.DEAD] - limits.limit, MOST_TIDIED - deleted)
        if too_many > 0:
            deleted += len(self._delete(self._oldest(DeadFilter(), too_many)))
        return deleted

    def _oldest(self, which: DeadFilter, count: int) -> list[Any]:
        return self._execute(sql.OLDEST_DEAD, {**which._asdict(), "count": count}).fetchall()

    def _delete(self, rows: Iterable[Any]) -> list[Named]:
        deleted = []
        for seq, job_id, job_type, key in rows:
            self._execute(sql.DELETE, (seq,))
            self._execute(sql.FORGET, (key, job_id))
            deleted.append(Named(job_id, job_type))
        self._counts[State.DEAD] -= len(deleted)
        return deleted
