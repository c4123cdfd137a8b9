"""Takes jobs out of an SQL queue: those that are due, in their order. `sqlite` calls it inside a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from notification_dispatcher.job import Lease, Rank
from notification_dispatcher.queues import sql
from notification_dispatcher.queues.base import position
from notification_dispatcher.queues.jumps import Moment

_MOST_BYTES = 16 * 1024 * 1024
"""So much payload at a time, and the rest the next time: all of it is one text on its way."""


class _Row(msgspec.Struct, array_like=True, frozen=True):
    """As `sql.STARTED` has it."""

    seq: int
    id: str
    type: str
    payload: str
    rank: Rank
    channels: tuple[str, ...] | None
    done: dict[str, str]
    attempts: int
    accepted_ms: int
    due_ms: int
    crashes: int
    trace: str

    def lease(self, now: Moment) -> Lease:
        """What a worker is given."""
        return Lease(
            seq=self.seq,
            id=self.id,
            type=self.type,
            payload=self.payload.encode(),
            rank=self.rank,
            channels=self.channels,
            done=self.done,
            attempt=self.attempts,
            accepted_ms=self.accepted_ms,
            due_ms=self.due_ms,
            eligible_at=now.to_monotonic(self.due_ms),
            crashes=self.crashes,
            trace=self.trace,
        )


_encode = msgspec.json.encode
_decode_sizes = msgspec.json.Decoder(list[tuple[int, int]]).decode
_decode_rows = msgspec.json.Decoder(list[_Row]).decode


def lease_due(connection: sqlite3.Connection, count: int, now: Moment) -> tuple[list[Lease], bool]:
    """Lease up to so many jobs that are due; fewer if they are large, but one at least. Whether there may be more."""
    sizes = _decode_sizes(connection.execute(sql.DUE, {"count": count}).fetchone()[0])
    if not sizes:
        return [], False
    seqs = list(_within(sizes))
    taken = (_encode(seqs).decode(),)
    connection.execute(sql.START, taken)
    rows = _decode_rows(connection.execute(sql.STARTED, taken).fetchone()[0])
    rows.sort(key=lambda row: (position(row.due_ms, row.rank), row.seq))
    return [row.lease(now) for row in rows], len(seqs) < len(sizes) or len(sizes) == count


def _within(sizes: list[tuple[int, int]]) -> Iterator[int]:
    """The first of them, until they are large enough."""
    total = 0
    for seq, size in sizes:
        yield seq
        total += size
        if total >= _MOST_BYTES:
            return
