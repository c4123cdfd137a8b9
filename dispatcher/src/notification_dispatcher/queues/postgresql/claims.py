"""Takes jobs out and ends their leases: `engine` calls it for the worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import asyncpg
import msgspec

from notification_dispatcher.job import Lease, Rank, Settlement, Settling
from notification_dispatcher.queues.base import State, position
from notification_dispatcher.queues.jumps import Moment
from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.track import Track, Work
from notification_dispatcher.queues.transitions import change_of

if TYPE_CHECKING:
    Row = asyncpg.Record

_MOST_BYTES = 16 * 1024 * 1024
"""So much payload at a time, and the rest the next time; one job at least."""

_Key = tuple[int, int]
"""A lease's holder and its job's number: as another member, this process may lease a job while the lost one ends."""

_RANKS = tuple(Rank)
_encode = msgspec.json.encode
_decode_channels = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_done = msgspec.json.Decoder(dict[str, str]).decode


class Claims:
    """The leases of this process."""

    def __init__(self, claiming: Track, settling: Track, suspects_lock: int) -> None:
        self._claiming = claiming
        self._settling = settling
        self._suspects_lock = suspects_lock
        self._held: dict[_Key, Lease] = {}
        """What is not in here was settled; one that was leased again since is another one."""
        self._uncertain = False
        """Whether a claim ended otherwise than it should: it may have leased what nobody knows of."""

    async def claim(self, count: int, now: Moment, suspects: bool) -> list[Lease]:
        """Lease up to so many jobs that are due; fewer if they are large, but one at least."""

        async def do(work: Work) -> list[Lease]:
            promoted = statements.rows_of(work.begun)
            if suspects and await work.link.fetchval("SELECT pg_try_advisory_xact_lock($1)", self._suspects_lock):
                promoted += statements.rows_of(await work.link.execute(statements.PROMOTE_SUSPECT, now.wall_ms))
            if self._uncertain:
                await self._give_back(work)
            rows = await work.link.fetch(statements.CLAIM, count, work.member, _MOST_BYTES)
            work.changes[State.SCHEDULED] -= promoted
            work.changes[State.READY] += promoted - len(rows)
            work.changes[State.RUNNING] += len(rows)
            return [_lease(row, now, work.member) for row in rows]

        try:
            leases = await self._claiming.run(do, after=statements.promote(now.wall_ms))
        except BaseException:
            self._uncertain = True
            raise
        self._uncertain = False
        self._held.update((_key(lease), lease) for lease in leases)
        leases.sort(key=lambda one: (position(one.due_ms, one.rank), one.seq))
        return leases

    async def settle(self, settlements: Sequence[Settlement], now: Moment) -> list[Lease]:
        """End leases. Those that are not held any more are left alone. Returns those that were lost to others."""

        async def do(work: Work) -> tuple[list[Settlement], list[Lease]]:
            held = {_key(one.lease): one for one in reversed(settlements) if self._holds(one.lease)}
            # A member that was given up has lost all that it had; this one has all, as long as its share is locked.
            ours = [one for one in held.values() if one.lease.holder == work.member]
            await _end(work, ours, now)
            return ours, [one.lease for one in held.values() if one.lease.holder != work.member]

        ours, lost = await self._settling.run(do)
        for lease in (*(one.lease for one in ours), *lost):
            # Claimed side by side, it may have been leased again before this was heard of.
            if self._holds(lease):
                del self._held[_key(lease)]
        return lost

    def _holds(self, lease: Lease) -> bool:
        return self._held.get(_key(lease)) is lease

    async def _give_back(self, work: Work) -> None:
        """Let go of what an earlier claim leased, whose end was not heard of."""
        known = [seq for holder, seq in self._held if holder == work.member]
        found = statements.rows_of(await work.link.execute(statements.UNKNOWN_OUTCOME, work.member, known))
        work.changes[State.READY] += found
        work.changes[State.RUNNING] -= found


def _key(lease: Lease) -> _Key:
    return lease.holder, lease.seq


def _lease(row: Row, now: Moment, holder: int) -> Lease:
    seq, job_id, job_type, payload, rank, channels, done, attempts, accepted_ms, due_ms, crashes, trace = row
    return Lease(
        seq=seq,
        id=job_id,
        type=job_type,
        payload=payload,
        rank=_RANKS[rank],
        channels=None if channels is None else _decode_channels(channels),
        done={} if done == "{}" else _decode_done(done),
        attempt=attempts,
        accepted_ms=accepted_ms,
        due_ms=due_ms,
        eligible_at=now.to_monotonic(due_ms),
        crashes=crashes,
        trace=trace,
        holder=holder,
    )


async def _end(work: Work, settlements: Sequence[Settlement], now: Moment) -> None:
    """End leases of the member's."""
    processed = [one.lease.id for one in settlements if one.settling is Settling.PROCESSED]
    others = [one for one in settlements if one.settling is not Settling.PROCESSED]
    if processed:
        done = await work.link.execute(statements.PROCESSED, processed, work.member)
        work.changes[State.RUNNING] -= statements.rows_of(done)
    if others:
        ids = [one.lease.id for one in others]
        columns = zip(*(_row_of(one, now) for one in others), strict=True)
        rows = await work.link.fetch(statements.CHANGE, ids, work.member, *columns)
        work.changes[State.RUNNING] -= len(rows)
        for row in rows:
            work.changes[row["state"]] += 1


def _row_of(
    one: Settlement, now: Moment
) -> tuple[str, int, int, int | None, int | None, int | None, str | None, str | None]:
    change = change_of(one, now)
    # What a destination answered may be anything.
    detail = None if change.detail is None else statements.text(change.detail)
    return _encode(one.done).decode(), *change[:-1], detail
