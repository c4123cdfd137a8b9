"""Runs jobs: claims what is due, lets it pass, delivers it, and settles what came of it. `run` starts it.

Jobs are claimed a little ahead of their turn, so that the slots never wait for the queue; each slot takes one after the
other (`attempt`), and what they come to is settled in batches. Nothing that one job does ends the loop; only a stop
does, and then what has not started goes back, and what can't finish in time does too.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections import deque
from collections.abc import Coroutine
from typing import Any

import structlog

from notification_dispatcher.attempt import Attempts
from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.job import Lease, Settlement, Settling
from notification_dispatcher.lanes import Blocked, Lanes
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.routes import InForce
from notification_dispatcher.waiting import until_first

logger = structlog.get_logger(__name__)

_UNAVAILABLE_PAUSE_SECONDS = 1.0
_LAST_TRIES_SECONDS = 1.0
"""Beyond the drain, for what ended at its end: so long may a queue be away that is only restarted."""
_AHEAD_SECONDS = 0.05
_AHEAD_CLAIMS = 3
"""So much work is claimed ahead: for so long, or for as long as so many claims take; the next begins at half of it."""
_MOST_AHEAD_SECONDS = 0.5
"""However long a claim takes: that long, an important job may be overtaken."""
_MEAN_WEIGHT = 0.3
_MOST_AHEAD = 2000
_MOST_BYTES_AHEAD = 16 * 1024 * 1024
"""Of payload. What runs is bounded by the concurrency alone."""
_GATHERING_SECONDS = 0.005
"""While many jobs end, their settlements are gathered for so long: a transaction costs the same for one or fifty."""
_WORTH_SETTLING = 100
_FAST_PER_SECOND = 2000
_TURN = 32
"""So many jobs in a row may end without waiting for anything before a slot lets others at the event loop."""


class Worker:
    """All deliveries of this process."""

    def __init__(self, queue: JobQueue, monitor: Monitor, clock: Clock, in_force: InForce) -> None:
        self._queue = queue
        self._clock = clock
        self._in_force = in_force
        self._monitor = monitor
        self._ready: deque[Lease] = deque()
        dice = random.Random()  # noqa: S311  jitter, not cryptography
        self._lanes = Lanes(in_force, self._ready, monitor.circuit, dice, shared=queue.board is not None)
        self._attempts = Attempts(monitor, clock, in_force, self._lanes, dice)
        self._slots: dict[int, asyncio.Task[None]] = {}
        self._idle: deque[asyncio.Future[None]] = deque()
        self._hungry = asyncio.Event()
        self._unsettled: list[Settlement] = []
        self._held = 0
        self._pace = _Pace(clock)
        self._ended = asyncio.Event()
        self._stopping = asyncio.Event()
        self._drained = False

    @property
    def active(self) -> int:
        """Jobs that execute, or whose end is being stored."""
        return self._held - self.waiting

    @property
    def waiting(self) -> int:
        """Jobs that this process has claimed, and not started."""
        return len(self._ready) + self._lanes.parked

    def stop(self) -> None:
        """Claim and start no more. `run` returns when what runs has ended, or was given back."""
        self._stopping.set()
        self._hungry.set()
        self._wake(len(self._idle))

    async def run(self, drain_seconds: float) -> None:
        """Work until `stop`; then what runs gets so many seconds to finish."""
        async with asyncio.TaskGroup() as group:
            # If it fails, that ends all of it: a worker that delivers and settles nothing would repeat everything.
            settler = group.create_task(self._settle_all(), name="settler")
            give_up_at = 0.0
            try:
                await self._claim_all()
                give_up_at = self._clock.monotonic() + drain_seconds + _LAST_TRIES_SECONDS
                await self._drain(drain_seconds)
            finally:
                # First, or a slot that is cancelled gives its job back and waits for the next.
                self._stopping.set()
                for slot in list(self._slots.values()):
                    slot.cancel()
                await asyncio.gather(*self._slots.values(), return_exceptions=True)
                self._drained = True
                self._ended.set()
                await self._settled(settler, max(give_up_at - self._clock.monotonic(), _LAST_TRIES_SECONDS))

    async def _claim_all(self) -> None:
        """Keep a little more claimed than runs."""
        while not self._stopping.is_set():
            self._staff()
            room = self._room()
            if room <= 0:
                self._hungry.clear()
                await self._hungry.wait()
                continue
            began = self._clock.monotonic()
            try:
                leases = await self._queue.claim(room)
            except QueueUnavailableError as error:
                logger.error("nothing can be claimed", action="queue_unavailable", why=str(error))  # noqa: TRY400
                await self._unless_stopped(self._clock.sleep(_UNAVAILABLE_PAUSE_SECONDS))
                continue
            if not leases:
                await self._unless_stopped(self._queue.wait_for_work())
                continue
            self._pace.claimed(self._clock.monotonic() - began)
            self._held += len(leases)
            self._ready.extend(leases)
            self._monitor.claimed(leases[0])
            self._wake(len(leases))

    def _room(self) -> int:
        """How many more are to be claimed."""
        if sum(len(lease.payload) for lease in self._ready) >= _MOST_BYTES_AHEAD:
            return 0
        return self._pace.ahead(self._in_force.live.concurrency) - len(self._ready)

    def _staff(self) -> None:
        """As many slots as the settings in force want; those too many end by themselves."""
        for number in range(self._in_force.live.concurrency):
            if number not in self._slots:
                slot = asyncio.create_task(self._slot(number), name=f"slot {number}")
                self._slots[number] = slot
                slot.add_done_callback(functools.partial(self._left, number))

    def _left(self, number: int, _: asyncio.Task[None]) -> None:
        del self._slots[number]

    async def _slot(self, number: int) -> None:
        """Run one job after the other."""
        in_a_row = 0
        while not self._stopping.is_set() and number < self._in_force.live.concurrency:
            if not self._ready:
                await self._rest()
                in_a_row = 0
                continue
            lease = self._ready.popleft()
            if len(self._ready) < self._pace.low:
                self._hungry.set()
            if self._ready and self._idle:
                self._wake(1)
            try:
                passage = self._attempts.admit(lease)
            except Exception as error:  # noqa: BLE001  one job must not end the slot
                self._settled_as(self._attempts.broken(lease, error))
                continue
            if isinstance(passage, Blocked):
                self._hold_back(lease, passage)
            else:
                self._settled_as(await self._attempts.run(lease, passage))
            in_a_row += 1
            if in_a_row >= _TURN:
                in_a_row = 0
                await asyncio.sleep(0)
        # One too many was woken for a job all the same: another is to take it.
        self._wake(len(self._ready))

    async def _rest(self) -> None:
        self._hungry.set()
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._idle.append(woken)
        await woken

    def _wake(self, count: int) -> None:
        """Wake up to so many of the slots that rest."""
        while count > 0 and self._idle:
            woken = self._idle.popleft()
            if not woken.done():
                woken.set_result(None)
                count -= 1

    def _hold_back(self, lease: Lease, blocked: Blocked) -> None:
        """A job that may not pass now waits in its lane, or in the queue."""
        if blocked.parks:
            blocked.lane.parked.append(lease)
        else:
            self._settled_as(self._attempts.postponed(lease, blocked, lease.done))

    def _settled_as(self, settlement: Settlement) -> None:
        self._unsettled.append(settlement)
        self._pace.ended += 1
        self._ended.set()

    async def _drain(self, seconds: float) -> None:
        """Give back what has not started, and let what runs finish."""
        self._lanes.unpark()
        while self._ready:
            lease = self._ready.popleft()
            self._settled_as(Settlement(lease=lease, settling=Settling.RELEASED, done=lease.done))
        # A turn of the loop, for the slots that rest to end.
        await asyncio.sleep(0)
        if self._slots:
            logger.info("finishing what runs", action="draining", running=len(self._slots))
            await asyncio.wait(self._slots.values(), timeout=seconds)

    async def _settled(self, settler: asyncio.Task[None], seconds: float) -> None:
        """Wait until all is settled, but no longer: a queue may also not answer at all."""
        await until_first(settled=asyncio.wait((settler,)), over=self._clock.sleep(seconds))
        if not settler.done():
            # They are leased again at the next start, and delivered again: at least once.
            logger.error("given up", action="settling_abandoned", jobs=self._held)
            settler.cancel()

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait for something, or for the stop."""
        await until_first(idle=waiting, stop=self._stopping.wait())

    async def _settle_all(self) -> None:
        """Store what jobs came to, in batches, until stopped and nothing is left."""
        while not (self._drained and not self._unsettled):
            await self._ended.wait()
            self._ended.clear()
            if self._pace.fast and len(self._unsettled) < _WORTH_SETTLING and not self._stopping.is_set():
                await self._clock.sleep(_GATHERING_SECONDS)
            batch, self._unsettled = self._unsettled, []
            if batch:
                settled = await self._settle(batch)
                self._held -= len(batch)
                self._monitor.settled(settled)

    async def _settle(self, batch: list[Settlement]) -> list[Settlement]:
        """Store them. Returns those that hold."""
        while True:
            try:
                lost = {(lease.holder, lease.seq) for lease in await self._queue.settle(batch)}
            except QueueUnavailableError as error:
                logger.error("nothing can be settled", action="queue_unavailable", why=str(error))  # noqa: TRY400
                await self._clock.sleep(_UNAVAILABLE_PAUSE_SECONDS)
            else:
                if lost:
                    logger.warning("jobs ended that others have now", action="lease_lost", jobs=len(lost))
                    return [one for one in batch if (one.lease.holder, one.lease.seq) not in lost]
                return batch


class _Pace:
    """How fast jobs end, and so how many are to be claimed ahead."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since = clock.monotonic()
        self._per_second = 0.0
        self._claim_seconds = 0.0
        self.ended = 0
        self.low = 0
        """With fewer that are ready, it is time to claim."""

    @property
    def fast(self) -> bool:
        """Whether many jobs end each second."""
        return self._per_second >= _FAST_PER_SECOND

    def claimed(self, seconds: float) -> None:
        """A claim took so long."""
        self._claim_seconds += _MEAN_WEIGHT * (seconds - self._claim_seconds)

    def ahead(self, concurrency: int) -> int:
        """How many are to be ready."""
        now = self._clock.monotonic()
        if now - self._since >= _AHEAD_SECONDS:
            self._per_second = self.ended / (now - self._since)
            self._since, self.ended = now, 0
        # With less than a claim takes the slots run dry; then fewer end, fewer are claimed ahead, and so on downwards.
        seconds = min(max(_AHEAD_SECONDS, _AHEAD_CLAIMS * self._claim_seconds), _MOST_AHEAD_SECONDS)
        ahead = max(concurrency, min(_MOST_AHEAD, round(self._per_second * seconds)))
        self.low = (ahead + 1) // 2
        return ahead
