"""The shared engine: any number of dispatchers on one PostgreSQL schema. NOTIFICATION_QUEUE_ENGINE=postgresql takes it.

Dedup and capacity are decided by one dispatcher at a time (`door`), jobs are claimed side by side (`claims`), and each
keeps what it claimed for as long as its heart beats (`members`). While the database cannot be reached nothing is
acknowledged, and what runs is settled when it can.

All times are of the database's clock, and stay as they were written when that is set: how long a lease lasts is
counted in heartbeats.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress

import structlog

from notification_dispatcher.errors import QueueError, QueueInUseError, QueueSchemaError, QueueUnavailableError
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
from notification_dispatcher.queues.postgresql.blackboard import Blackboard
from notification_dispatcher.queues.postgresql.chores import Chore, Chores
from notification_dispatcher.queues.postgresql.claims import Claims
from notification_dispatcher.queues.postgresql.cleaning import Cleaning
from notification_dispatcher.queues.postgresql.database_clock import SharedClock
from notification_dispatcher.queues.postgresql.door import Door
from notification_dispatcher.queues.postgresql.links import Access, HopelessError, Links, SilentError
from notification_dispatcher.queues.postgresql.members import LANES, Member
from notification_dispatcher.queues.postgresql.tables import BASE, Tenancy, migrate
from notification_dispatcher.queues.postgresql.track import Track
from notification_dispatcher.queues.waking import Waking

logger = structlog.get_logger(__name__)

LEASE_SECONDS = 10.0
_BEAT_SECONDS = 1.0
_LONGEST_SECONDS = 30.0
"""Between two tries of what can wait."""
_LEAVING_SECONDS = 1.0
_SOON_MS = 20
"""When others are about to take all that is due, it is time to look again."""


class PostgresqlQueue:
    """A queue in one schema, which the other dispatchers of the pipeline use as well."""

    def __init__(
        self,
        access: Callable[[], Access],
        tenancy: Tenancy,
        pool_size: int,
        clock: SharedClock,
        lease_seconds: float = LEASE_SECONDS,
    ) -> None:
        self._tenancy = tenancy
        self._clock = clock
        schema = tenancy.schema
        self._links = Links(access, schema, pool_size, clock)
        # Of its own: however busy the pool is, and whatever else fails, it beats.
        self._heart = Links(access, schema, 1, clock)
        self._waking = Waking(clock)
        self._member = Member(self._links, clock, lease_seconds)
        door, claiming, settling = (Track(lane, self._links, self._member) for lane in LANES)
        self._door = Door(door, clock, _lock(schema, "door"))
        self._claims = Claims(claiming, settling, _lock(schema, "suspects"))
        self._bell = Bell(self._links, Links(access, schema, 1, clock), schema, clock, self._waking.now)
        self._board = Blackboard(self._links)
        self._chores = Chores(clock)
        # It takes a connection for long: one of those that the lanes leave.
        self._cleaning = Cleaning(self._links) if pool_size > len(LANES) else None
        self._patience = lease_seconds / 3
        self._alone = True
        self._suspects = False
        self._busy = False
        """Whether the last claim was full: then there is more, and no need to look first."""
        self._prepared = False
        self._refusal: QueueError | None = None
        """Why this program must not use the schema, as was found once the server was up."""

    async def open(self) -> None:
        """Bring the schema up to date and become a member. If the server is down, that is done once it is up."""
        try:
            await self._beat()
            await self._listen_if_possible()
        except HopelessError as error:
            await self._links_closed()
            raise QueueError(
                f"{error}: NOTIFICATION_QUEUE_DSN has the user, the password and the database, and the user must own"
                f" the schema {self._tenancy.schema} or be allowed to create it."
            ) from None
        except QueueUnavailableError as error:
            logger.warning(str(error), action="queue_unavailable")
        except BaseException:
            await self._links_closed()
            raise
        self._chores.start(Chore("heart", self._beat, _BEAT_SECONDS, _BEAT_SECONDS))
        self._chores.start(Chore("bell", self._listen, _BEAT_SECONDS, _LONGEST_SECONDS))
        self._chores.start(Chore("forgetting", self._forget_old, _BEAT_SECONDS, _LONGEST_SECONDS))
        self._chores.start(Chore("cleaning", self._clean, _BEAT_SECONDS, _LONGEST_SECONDS))

    async def close(self) -> None:
        """Finish what was begun, and be a member no more. Each step is taken, whatever came of the others."""
        async with AsyncExitStack() as steps:
            steps.push_async_callback(self._links_closed)
            steps.push_async_callback(self._leave)
            steps.push_async_callback(self._chores.close)
            await self._door.close()

    async def _leave(self) -> None:
        try:
            async with asyncio.timeout(_LEAVING_SECONDS):
                self._now()
                await self._member.leave()
                if not self._alone:
                    await self._bell.ring_now(self._member.id)
        except (QueueUnavailableError, TimeoutError) as error:
            # The others notice that it is silent.
            logger.warning("could not say goodbye", action="queue_unavailable", why=str(error))

    async def _links_closed(self) -> None:
        await asyncio.gather(self._bell.close(), self._heart.close(), self._links.close())

    async def enqueue(self, jobs: Sequence[Job], limits: Limits, receipt: Receipt | None = None) -> Admission:
        """Store a batch, in one transaction with others that came meanwhile."""
        self._now()
        admission = await self._door.enqueue(jobs, limits, receipt)
        if Verdict.QUEUED in admission.verdicts:
            self._wake()
        return admission

    async def claim(self, count: int) -> list[Lease]:
        """Lease what is due."""
        if self._refusal is not None:
            raise self._refusal
        now = self._now()
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

    async def settle(self, settlements: Sequence[Settlement]) -> list[Lease]:
        """End leases in one transaction."""
        # Tried whatever the heart says: what ran has ended, and the process too may be about to.
        lost = await self._claims.settle(settlements, self._moment())
        kinds = {one.settling for one in settlements}
        if Settling.RELEASED in kinds:
            # Due now, and whoever stops takes none of it up again.
            self._wake()
        elif self._suspects or kinds - {Settling.PROCESSED}:
            self._waking.now()
        return lost

    async def wait_for_work(self) -> None:
        """Return when there may be something to claim."""
        await self._waking.wait()

    async def report(self, job_id: str) -> JobReport | None:
        """What is known of a job."""
        now = self._now()
        async with self._links.link() as link:
            return await graves.report(link, job_id, now.wall_ms)

    async def dead_letters(self, which: DeadFilter, after: Place | None, count: int) -> list[DeadLetter]:
        """A page of dead letters, the latest first."""
        self._now()
        async with self._links.link() as link:
            return await graves.dead_letters(link, which, after, count)

    async def replay(self, which: DeadFilter, limits: Limits, count: int) -> list[Named]:
        """Queue dead letters again."""
        now = self._now()
        replayed = await self._door.run(lambda work: graves.replay(work, which, limits, count, now.wall_ms))
        if replayed:
            self._wake()
        return replayed

    async def discard(self, which: DeadFilter, count: int) -> list[Named]:
        """Delete dead letters."""
        self._now()
        return await self._door.run(lambda work: graves.discard(work, which, count))

    async def tidy(self, limits: DeadLimits) -> int:
        """Delete the dead letters that are too old or too many."""
        now = self._now()
        return await self._door.run(lambda work: graves.tidy(work, limits, now.wall_ms))

    async def oldest_due_ms(self) -> int | None:
        """When the job that has been due longest became so."""
        self._now()
        async with self._links.link() as link:
            found = await link.fetchval(statements.OLDEST_DUE)
        return None if found is None else self._clock.to_local_ms(found)

    def counts(self) -> Counts:
        """How many jobs are where, of all dispatchers."""
        return self._member.counts()

    async def probe(self) -> None:
        """Try whether it can store: a heartbeat does."""
        self._now()
        async with self._links.link() as link:
            await self._member.beat(link)

    @property
    def available(self) -> bool:
        """Whether the last thing that was tried worked."""
        return self._prepared and self._heart.available and self._links.available

    @property
    def board(self) -> Blackboard:
        """What all dispatchers remember together."""
        return self._board

    def _now(self) -> Moment:
        """The time, on both clocks. Raises QueueUnavailableError when the last heartbeat failed.

        Then nobody waits for connections that swallow everything; and nothing is leased, as others would soon take it
        for abandoned and deliver it as well.
        """
        if not self._prepared:
            raise QueueUnavailableError("the queue's database was not reached yet")
        if not self._heart.available:
            raise QueueUnavailableError("the queue's database does not hear this dispatcher's heart")
        return self._moment()

    def _moment(self) -> Moment:
        return Moment(self._clock.wall_ms(), self._clock.monotonic())

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

    async def _beat(self) -> None:
        """Let the heart beat once; the first time, make everything ready for it."""
        try:
            async with self._heart.link() as link:
                if not self._prepared:
                    await migrate(link, self._tenancy, _lock(self._tenancy.schema, "tables"))
                    await self._member.join(link, BASE)
                    self._prepared = True
                    self._waking.now()
                # A connection that hangs is to cost less than the lease.
                async with asyncio.timeout(self._patience):
                    pulse = await self._member.beat(link)
        except SilentError:
            self._links.distrust()
            raise
        except (QueueInUseError, QueueSchemaError) as error:
            self._refusal = error
            raise
        self._alone = pulse.members < 2
        self._suspects = pulse.suspects
        if pulse.waiting:
            # The safety net under the bell.
            self._waking.now()

    async def _listen(self) -> None:
        if self._prepared:
            await self._bell.listen()

    async def _listen_if_possible(self) -> None:
        # If it is not, the chore says so. Where connections are scarce, one to work with comes first.
        with suppress(QueueUnavailableError):
            await self.probe()
            await self._listen()

    async def _clean(self) -> None:
        if self._prepared and self._cleaning is not None:
            await self._cleaning.step()

    async def _forget_old(self) -> None:
        """A batch at a time, so that nothing else waits for it, until nothing is too old."""
        if not self._prepared:
            return
        for statement in (statements.FORGET_OLD, statements.FORGET_REQUESTS):
            more = True
            while more:
                async with self._links.link() as link:
                    status = await link.execute(statement, self._clock.wall_ms())
                more = statements.rows_of(status) == statements.MOST_FORGOTTEN


def _lock(schema: str, what: str) -> int:
    """The number of an advisory lock: others' in the same database are others."""
    digest = hashlib.sha256(f"notifications {schema} {what}".encode()).digest()
    return int.from_bytes(digest[:8], "big", signed=True)
