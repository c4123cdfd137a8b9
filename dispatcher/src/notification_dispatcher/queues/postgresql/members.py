"""The dispatchers on one schema: each is a member, with a heartbeat and a share of the counts.

A job that runs belongs to a member, and is leased for as long as that one's heart beats, so a lease that lasts for an
hour costs nothing. A member that is silent for too long, on the database's clock, is buried by whoever notices it: its
jobs go back, and its share of the counts goes to those of the dead. Should it be alive after all, its settlements find
nothing of its own any more, and it joins again as another member.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import structlog

from notification_dispatcher.queue_names import TALLY
from notification_dispatcher.queues.base import Counts, State
from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.database_clock import SharedClock
from notification_dispatcher.queues.postgresql.links import Links
from notification_dispatcher.queues.postgresql.tables import BASE

if TYPE_CHECKING:
    from notification_dispatcher.queues.postgresql.links import Link

logger = structlog.get_logger(__name__)

LANES = (0, 1, 2)
"""Of each member: so many kinds of work, each with a share of its own, change the counts without waiting."""

_NOW_MS = "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
_JOIN = f"INSERT INTO member (alive_ms) VALUES ({_NOW_MS}) RETURNING id"  # noqa: S608
_OPEN_SHARE = f"INSERT INTO {TALLY} (member, lane) SELECT $1, unnest($2::smallint[])"
_OVERDUE = f"alive_ms < {_NOW_MS} - $2 AND id <> $1"
_BEAT = f"""
WITH beat AS (UPDATE member SET alive_ms = {_NOW_MS} WHERE id = $1 RETURNING id)
SELECT {_NOW_MS} AS now_ms, (SELECT count(*) FROM beat) AS alive, (SELECT count(*) FROM member) AS members,
    EXISTS (SELECT FROM member WHERE {_OVERDUE}) AS overdue, {statements.ANY_SUSPECT} AS suspects, others.*
FROM (
    SELECT coalesce(sum(ready), 0)::bigint AS ready, coalesce(sum(scheduled), 0)::bigint AS scheduled,
        coalesce(sum(running), 0)::bigint AS running, coalesce(sum(dead), 0)::bigint AS dead
    FROM {TALLY} WHERE member <> $1
) AS others
"""  # noqa: S608
_SILENT = f"SELECT id FROM member WHERE {_OVERDUE} FOR UPDATE SKIP LOCKED"  # noqa: S608
_CLOSE_SHARES = f"DELETE FROM {TALLY} WHERE member = ANY($1::bigint[]) RETURNING ready, scheduled, running, dead"  # noqa: S608
_INHERIT = f"""
UPDATE {TALLY} SET ready = ready + $1, scheduled = scheduled + $2, running = running + $3, dead = dead + $4
WHERE member = {BASE}
"""  # noqa: S608
_REMOVE = "DELETE FROM member WHERE id = ANY($1::bigint[])"


class Pulse(NamedTuple):
    """What a heartbeat told."""

    members: int
    suspects: bool
    waiting: int
    """Jobs that others let in, and that wait."""


class Member:
    """This process among the others."""

    def __init__(self, links: Links, clock: SharedClock, lease_seconds: float) -> None:
        self._links = links
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._lease_ms = round(lease_seconds * 1000)
        self._joining = asyncio.Lock()
        self._beaten: float | None = None
        self._steady_since = 0.0
        self._others = Counts(0, 0, 0, 0)
        self._shares: dict[int, list[int] | None] = {}
        self.id = BASE
        """Its number; that of nobody as long as it has not joined."""

    def counts(self) -> Counts:
        """How many jobs are where: exact for what this process did, and of the last heartbeat for the others."""
        mine = [share for share in self._shares.values() if share is not None]
        return Counts(*(sum(numbers) for numbers in zip(self._others, *mine, strict=True)))

    def share(self, lane: int) -> list[int] | None:
        """What a lane's share holds; None when a transaction's end is not known."""
        return self._shares.get(lane)

    def keep(self, member: int, lane: int, share: list[int] | None) -> None:
        """A lane's share is now this, unless the member was buried meanwhile."""
        if member == self.id:
            self._shares[lane] = share

    async def join(self, instead_of: int) -> None:
        """Become a member, unless it has become another one already."""
        async with self._joining:
            if self.id != instead_of:
                return
            async with self._links.link() as link, link.transaction():
                found = await link.fetchval(_JOIN)
                await link.execute(_OPEN_SHARE, found, LANES)
            if instead_of != BASE:
                logger.warning("silent for too long; its jobs went to others", action="lease_lost", member=instead_of)
            self._shares = {lane: [0] * len(State) for lane in LANES}
            self._beaten = None
            self.id = found
        await self.beat()

    async def beat(self) -> Pulse:
        """Say that it lives, and hear of the others; bury those that are silent."""
        member = self.id
        asked = self._clock.monotonic()
        async with self._links.link() as link:
            found = await link.fetchrow(_BEAT, member, self._lease_ms)
        assert found is not None  # noqa: S101  an aggregate has a row
        now = self._clock.monotonic()
        self._clock.observe(found["now_ms"], asked, now)
        if not found["alive"]:
            await self.join(member)
            return Pulse(found["members"], found["suspects"], 0)
        if self._beaten is None or now - self._beaten > self._lease_seconds / 2:
            # If it could not be heard, nor could the others: they get the time to be.
            self._steady_since = now
        self._beaten = now
        self._others = Counts(*(found[state.name.lower()] for state in State))
        if found["overdue"] and now - self._steady_since >= self._lease_seconds:
            await self._bury_the_silent()
        return Pulse(found["members"], found["suspects"], self._others.depth)

    async def leave(self) -> None:
        """Be a member no more. What it still had goes back, as if it had crashed."""
        if self.id == BASE:
            return
        async with self._links.link() as link, link.transaction():
            await _bury(link, [self.id])

    async def _bury_the_silent(self) -> None:
        async with self._links.link() as link, link.transaction():
            silent = [row["id"] for row in await link.fetch(_SILENT, self.id, self._lease_ms)]
            back = await _bury(link, silent)
        if silent:
            logger.warning("silent dispatchers were given up", action="lease_expired", members=silent, jobs=back)


async def _bury(link: Link, members: Sequence[int]) -> int:
    """Take back what they had. Returns how many jobs that were."""
    # Their shares first: whatever transaction of theirs is under way, it has one, and ends before this goes on.
    shares = await link.fetch(_CLOSE_SHARES, members)
    back = await link.fetch(statements.RECOVER, members)
    left = [sum(share[state] for share in shares) for state in State]
    for row in back:
        left[row["state"]] += 1
    left[State.RUNNING] -= len(back)
    await link.execute(_INHERIT, *left)
    await link.execute(_REMOVE, members)
    return len(back)
