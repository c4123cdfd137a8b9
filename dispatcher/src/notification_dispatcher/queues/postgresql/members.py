"""The dispatchers on one schema: each is a member, with a heartbeat and a share of the counts. `engine` lets it beat.

A job that runs belongs to a member, and is leased for as long as that one's heart beats, so a lease that lasts for an
hour costs nothing. A beat is a number that grows. Whoever sees another's stand still for too long, while its own heart
beat steadily, buries that one: its jobs go back, and its share of the counts goes to those of the dead. Should it be
alive after all, its settlements find nothing of its own any more, and it joins again as another member.

No wall clock has a part in this: a database's that is set, or a dispatcher that was suspended and comes back, takes
nobody's jobs away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import asyncpg
import structlog

from notification_dispatcher.queue_names import TALLY
from notification_dispatcher.queues.base import Counts, State
from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.database_clock import SharedClock
from notification_dispatcher.queues.postgresql.links import Links, transaction
from notification_dispatcher.queues.postgresql.tables import BASE

if TYPE_CHECKING:
    from notification_dispatcher.queues.postgresql.links import Link

logger = structlog.get_logger(__name__)

LANES = (0, 1, 2)
"""Of each member: so many kinds of work, each with a share of its own, change the counts without waiting."""

_JOIN = "INSERT INTO member DEFAULT VALUES RETURNING id"
_OPEN_SHARE = f"INSERT INTO {TALLY} (member, lane) SELECT $1, unnest($2::smallint[])"
_SUMS = ", ".join(
    f"coalesce(sum({one}) FILTER (WHERE member <> $1), 0)::bigint AS {one}"
    for one in ("ready", "scheduled", "running", "dead")
)
_BEAT = f"""
WITH beat AS (UPDATE member SET beats = beats + 1 WHERE id = $1 RETURNING id)
SELECT ({statements.NOW_MS}) AS now_ms, EXISTS (SELECT FROM beat) AS alive, {statements.ANY_SUSPECT} AS suspects,
    ARRAY(SELECT ARRAY[id, beats] FROM member WHERE id <> $1) AS others, sums.*
FROM (
    SELECT {_SUMS}, coalesce(sum(ready + scheduled), 0)::bigint AS waiting FROM {TALLY}
) AS sums
"""  # noqa: S608
_STILL_SILENT = """
SELECT id FROM member JOIN unnest($1::bigint[], $2::bigint[]) AS seen (id, beats) USING (id, beats)
FOR UPDATE OF member SKIP LOCKED
"""
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
    """Jobs that wait, of all shares together: one let a job in, another gives it back, and no share alone tells."""


class Member:
    """This process among the others."""

    def __init__(self, links: Links, clock: SharedClock, lease_seconds: float) -> None:
        self._links = links
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._joining = asyncio.Lock()
        self._beaten: float | None = None
        self._seen: dict[int, tuple[int, float]] = {}
        """Each other member's number → its last beat, and since when it is the last, on the monotonic clock."""
        self._others = Counts(0, 0, 0, 0)
        self._shares: dict[int, list[int]] = {}
        self._unsure: set[int] = set()
        """Lanes whose share may be another by now: a transaction is under way, or its end was not heard of."""
        self.id = BASE
        """Its number; that of nobody as long as it has not joined."""

    def counts(self) -> Counts:
        """How many jobs are where: exact for what this process did, and of the last heartbeat for the others."""
        return Counts(*(sum(numbers) for numbers in zip(self._others, *self._shares.values(), strict=True)))

    def share(self, lane: int) -> list[int] | None:
        """What a lane's share holds; None when a transaction's end is not known."""
        return None if lane in self._unsure else self._shares.get(lane)

    def doubt(self, member: int, lane: int) -> None:
        """A lane's share is about to change. Until it is heard how, what was known of it is what counts."""
        if member == self.id:
            self._unsure.add(lane)

    def keep(self, member: int, lane: int, share: list[int]) -> None:
        """A lane's share is now this, unless the member was buried meanwhile."""
        if member == self.id:
            self._shares[lane] = share
            self._unsure.discard(lane)

    async def join(self, link: Link, instead_of: int) -> None:
        """Become a member, unless it has become another one already."""
        async with self._joining:
            if self.id != instead_of:
                return
            async with transaction(link):
                found = await link.fetchval(_JOIN)
                await link.execute(_OPEN_SHARE, found, LANES)
            if instead_of != BASE:
                logger.warning("silent for too long; its jobs went to others", action="lease_lost", member=instead_of)
            self._shares = {lane: [0] * len(State) for lane in LANES}
            self._unsure.clear()
            self.id = found
            await self._say(link)

    async def beat(self, link: Link) -> Pulse:
        """Say that it lives, and hear of the others; bury those that are silent."""
        member = self.id
        told = await self._say(link)
        if not told["alive"]:
            await self.join(link, member)
        elif silent := self._silent(dict(told["others"])):
            await self._bury_the_silent(link, silent)
        return Pulse(len(told["others"]) + 1, told["suspects"], told["waiting"])

    async def leave(self) -> None:
        """Be a member no more. What it still had goes back, as if it had crashed."""
        if self.id == BASE:
            return
        async with self._links.link() as link, transaction(link):
            await _bury(link, [self.id])

    async def _say(self, link: Link) -> asyncpg.Record:
        asked = self._clock.monotonic()
        told = await link.fetchrow(_BEAT, self.id)
        assert told is not None  # noqa: S101  an aggregate has a row
        self._clock.observe(told["now_ms"], asked, self._clock.monotonic())
        self._others = Counts(*(told[state.name.lower()] for state in State))
        return told

    def _silent(self, others: Mapping[int, int]) -> dict[int, int]:
        """Those whose last beat is older than a lease. Each with that beat."""
        now = self._clock.monotonic()
        if self._beaten is None or now - self._beaten > self._lease_seconds / 2:
            # If it could not be heard, nor could the others: they get the time to be.
            self._seen.clear()
        self._beaten = now
        seen = {}
        for member, beats in others.items():
            before = self._seen.get(member)
            seen[member] = before if before is not None and before[0] == beats else (beats, now)
        self._seen = seen
        return {member: beats for member, (beats, since) in seen.items() if now - since >= self._lease_seconds}

    async def _bury_the_silent(self, link: Link, silent: Mapping[int, int]) -> None:
        async with transaction(link):
            found = await link.fetch(_STILL_SILENT, list(silent), list(silent.values()))
            members = [row["id"] for row in found]
            back = await _bury(link, members)
        if members:
            logger.warning("silent dispatchers were given up", action="lease_expired", members=members, jobs=back)


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
