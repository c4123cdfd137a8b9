"""The shared engine: any number of dispatchers on one PostgreSQL schema. NOTIFICATION_QUEUE_ENGINE=postgresql takes it.

Dedup and capacity are decided by one dispatcher at a time (`door`), jobs are claimed side by side (`claims`), and each
lives on the others' word only as long as its heart beats (`members`). While the database cannot be reached nothing is
acknowledged, and what runs is settled when it can.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Callable, Sequence

import structlog

from notification_dispatcher.errors import QueueError, QueueUnavailableError
from notification_dispatcher.job import Job, JobReport, Lease, Settlement, Settling
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
    Verdict,
)
from notification_dispatcher.queues.jumps import Moment
from notification_dispatcher.queues.postgresql import graves, statements
from notification_dispatcher.queues.postgresql.bell import Bell
from notification_dispatcher.queues.postgresql.claims import Claims
from notification_dispatcher.queues.postgresql.database_clock import SharedClock
from notification_dispatcher.queues.postgresql.door import Door
from notification_dispatcher.queues.postgresql.links import Access, HopelessError, Links
from notification_dispatcher.queues.postgresql.members import LANES, Member, Pulse
from notification_dispatcher.queues.postgresql.moving import Moving
from notification_dispatcher.queues.postgresql.tables import BASE, migrate
from notification_dispatcher.queues.postgresql.track import Track
from notification_dispatcher.queues.waking import Waking

logger = structlog.get_logger(__name__)

LEASE_SECONDS = 10.0
_BEAT_SECONDS = 1.0
_SOON_MS = 20
"""When others are about to take all that is due, it is time to look again."""


class PostgresqlQueue:
    """A queue in one schema, which others use as well."""

    def __init__(
        self,
        access: Callable[[], Access],
        schema: str,
        pool_size: int,
        clock: SharedClock,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._schema = schema
        self._clock = clock
        self._links = Links(access, schema, pool_size, clock)
        self._waking = Waking(clock)
        self._moving = Moving(self._links, clock)
        self._member = Member(self._links, clock, lease_seconds)
        door, claiming, settling = (Track(lane, self._links, self._member) for lane in LANES)
        self._door = Door(door, clock, _lock(schema, "door"))
        self._claims = Claims(claiming, settling, _lock(schema, "suspects"))
        self._bell = Bell(self._links, schema, clock, self._waking.now)
        self._alone = True
        self._suspects = False
        self._busy = False
        """Whether the last claim was full: then there is more, and no need to look first."""
        self._prepared = False
        self._keeper: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Bring the schema up to date and become a member. If the server is down, that is done once it is up."""
        try:
            await self._prepare()
        except HopelessError as error:
            raise QueueError(
                f"{error}: NOTIFICATION_QUEUE_DSN has the user, the password and the database, and the user must own"
                f" the schema {self._schema} or be allowed to create it."
            ) from None
        except QueueUnavailableError as error:
            logger.warning(str(error), action="queue_unavailable")
        self._keeper = asyncio.create_task(self._keep(), name="queue-keeper")

    async def close(self) -> None:
        """Finish what was begun, and be a member no more."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        await self._door.close()
        await self._bell.close()
        with contextlib.suppress(QueueUnavailableError):
            await self._member.leave()
        await self._links.close()

    async def enqueue(self, jobs: Sequence[Job], limits: Limits, receipt: Receipt | None = None) -> Admission:
        """Store a batch, in one transaction with others that came meanwhile."""
        await self._now()
        admission = await self._door.enqueue(jobs, limits, receipt)
        if Verdict.QUEUED in admission.verdicts:
            self._wake()
        return admission

    async def claim(self, count: int) -> list[Lease]:
        """Lease what is due."""
        now = await self._now()
        self._waking.claiming()
        if not self._busy:
            due, next_ms = await self._peek(now.wall_ms)
            if not due:
                self._waking.claimed(more=False, next_due_ms=next_ms)
                return []
        leases = await self._claims.claim(count, now, self._suspects)
        self._busy = len(leases) == count
        # Empty after all: others have them, and are about to say so.
        self._waking.claimed(more=bool(leases), next_due_ms=now.wall_ms + _SOON_MS)
        return leases

    async def settle(self, settlements: Sequence[Settlement]) -> None:
        """End leases in one transaction."""
        await self._claims.settle(settlements, await self._now())
        if self._suspects or any(one.settling is not Settling.PROCESSED for one in settlements):
            self._waking.now()

    async def wait_for_work(self) -> None:
        """Return when there may be something to claim."""
        await self._waking.wait()

    async def report(self, job_id: str) -> JobReport | None:
        """What is known of a job."""
        now = await self._now()
        async with self._links.link() as link:
            return await graves.report(link, job_id, now.wall_ms)

    async def dead_letters(self, which: DeadFilter, after: Place | None, count: int) -> list[DeadLetter]:
        """A page of dead letters, the latest first."""
        await self._now()
        async with self._links.link() as link:
            return await graves.dead_letters(link, which, after, count)

    async def replay(self, which: DeadFilter, limits: Limits, count: int) -> list[Named]:
        """Queue dead letters again."""
        now = await self._now()
        replayed = await self._door.run(lambda work: graves.replay(work, which, limits, count, now.wall_ms))
        if replayed:
            self._wake()
        return replayed

    async def discard(self, which: DeadFilter, count: int) -> list[Named]:
        """Delete dead letters."""
        await self._now()
        return await self._door.run(lambda work: graves.discard(work, which, count))

    async def tidy(self, limits: DeadLimits) -> int:
        """Delete the dead letters that are too old or too many."""
        now = await self._now()
        return await self._door.run(lambda work: graves.tidy(work, limits, now.wall_ms))

    async def oldest_due_ms(self) -> int | None:
        """When the job that has been due longest became so."""
        await self._now()
        async with self._links.link() as link:
            found = await link.fetchval(statements.OLDEST_DUE)
        return None if found is None else self._clock.to_local_ms(found)

    def counts(self) -> Counts:
        """How many jobs are where, of all dispatchers."""
        return self._member.counts()

    async def probe(self) -> None:
        """Try whether it can store: a heartbeat does."""
        if self._prepared:
            await self._member.beat()
        else:
            await self._prepare()

    @property
    def available(self) -> bool:
        """Whether the last thing that was tried worked."""
        return self._prepared and self._links.available

    async def _prepare(self) -> None:
        async with self._links.link() as link:
            await migrate(link, self._schema, _lock(self._schema, "tables"))
            asked = self._clock.monotonic()
            self._clock.observe(await link.fetchval(statements.NOW_MS), asked, self._clock.monotonic())
        await self._moving.start()
        await self._member.join(BASE)
        self._prepared = True
        self._waking.now()

    async def _now(self) -> Moment:
        """The time, once what is stored was moved along with a clock that was set."""
        if not self._prepared:
            raise QueueUnavailableError("the queue's database was not reached yet")
        now, moved = await self._moving.now()
        if moved:
            self._waking.now()
        return now

    async def _peek(self, now_ms: int) -> tuple[bool, int | None]:
        """Whether anything is due, and when the next is."""
        async with self._links.link() as link:
            ready, next_ms, suspect_ms = await link.fetchrow(statements.PEEK) or (False, None, None)
        self._suspects = self._suspects or suspect_ms is not None
        found = [one for one in (next_ms, suspect_ms) if one is not None]
        soonest = min(found, default=None)
        return ready or (soonest is not None and soonest <= now_ms), soonest

    def _wake(self) -> None:
        self._waking.now()
        if not self._alone:
            self._bell.ring(self._member.id)

    async def _keep(self) -> None:
        """Let the heart beat, for ever, and look after what nobody else does."""
        while True:
            try:
                if not self._prepared:
                    await self._prepare()
                await self._bell.listen()
                self._heard(await self._member.beat())
                await self._forget_old()
            except QueueError as error:
                if self.available:
                    logger.warning(str(error), action="queue_unavailable")
            await self._clock.sleep(_BEAT_SECONDS)

    def _heard(self, pulse: Pulse) -> None:
        self._alone = pulse.members < 2
        self._suspects = pulse.suspects
        if pulse.waiting:
            # The safety net under the bell.
            self._waking.now()

    async def _forget_old(self) -> None:
        now = await self._now()
        for statement in (statements.FORGET_OLD, statements.FORGET_REQUESTS):
            forgotten = statements.MOST_FORGOTTEN
            while forgotten == statements.MOST_FORGOTTEN:
                async with self._links.link() as link:
                    forgotten = int((await link.execute(statement, now.wall_ms)).rpartition(" ")[2])


def _lock(schema: str, what: str) -> int:
    """The number of an advisory lock: others' in the same database are others."""
    digest = hashlib.sha256(f"notifications {schema} {what}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
