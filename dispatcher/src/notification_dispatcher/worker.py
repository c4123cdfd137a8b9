"""Runs jobs: claims what is due, delivers it through its channels, and settles what came of it. `run` starts it.

One loop claims as many jobs as may run now, each runs as a task of its own, and what they come to is settled in
batches. Nothing that one job does ends the loop; only a stop does, and then what can't finish in time goes back.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Coroutine
from typing import Any

import structlog

from notification_dispatcher.channels.base import Delivery, Outcome
from notification_dispatcher.channels.http import timed_out
from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.job import Lease, Settlement, Settling
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.routes import InForce, Route

logger = structlog.get_logger(__name__)

_UNAVAILABLE_PAUSE_SECONDS = 1.0


class Worker:
    """All deliveries of this process."""

    def __init__(self, queue: JobQueue, monitor: Monitor, clock: Clock, in_force: InForce) -> None:
        self._queue = queue
        self._monitor = monitor
        self._clock = clock
        self._in_force = in_force
        self._dice = random.Random()  # noqa: S311  jitter, not cryptography
        self._running: set[asyncio.Task[None]] = set()
        self._unsettled: list[Settlement] = []
        self._settling = 0
        self._ended = asyncio.Event()
        self._stopping = asyncio.Event()

    @property
    def active(self) -> int:
        """Jobs that this process holds: they execute, or what came of them is being stored."""
        return len(self._running) + len(self._unsettled) + self._settling

    def stop(self) -> None:
        """Claim no more. `run` returns when what runs has ended, or was given back."""
        self._stopping.set()
        self._ended.set()

    async def run(self, drain_seconds: float) -> None:
        """Work until `stop`; then what runs gets so many seconds to finish."""
        settler = asyncio.create_task(self._settle_all(), name="settler")
        try:
            await self._claim_all()
            if self._running:
                logger.info("finishing what runs", action="draining", running=len(self._running))
                await asyncio.wait(self._running, timeout=drain_seconds)
        finally:
            await self._give_back()
            self._stopping.set()
            self._ended.set()
            await settler

    async def _claim_all(self) -> None:
        while not self._stopping.is_set():
            free = self._in_force.live.concurrency - len(self._running)
            if free <= 0:
                await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)
                continue
            try:
                leases = await self._queue.claim(free)
            except QueueUnavailableError as error:
                logger.error("nothing can be claimed", action="queue_unavailable", why=str(error))  # noqa: TRY400
                await self._unless_stopped(self._clock.sleep(_UNAVAILABLE_PAUSE_SECONDS))
                continue
            for lease in leases:
                task = asyncio.create_task(self._run(lease), name=f"job {lease.id}")
                self._running.add(task)
                task.add_done_callback(self._running.discard)
            if not leases:
                await self._unless_stopped(self._queue.wait_for_work())

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, None]) -> None:
        """Wait for something, or for the stop."""
        tasks = (asyncio.create_task(waiting, name="idle"), asyncio.create_task(self._stopping.wait(), name="stop"))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _give_back(self) -> None:
        late = list(self._running)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    async def _settle_all(self) -> None:
        """Store what jobs came to, in batches, until stopped and nothing is left."""
        while not (self._stopping.is_set() and not self._running and not self._unsettled):
            await self._ended.wait()
            self._ended.clear()
            batch, self._unsettled = self._unsettled, []
            if not batch:
                # Told to stop while jobs run: whoever ends last wakes this again.
                await asyncio.sleep(0)
                continue
            self._settling = len(batch)
            await self._settle(batch)
            self._settling = 0
            self._monitor.settled(batch)

    async def _settle(self, batch: list[Settlement]) -> None:
        while True:
            try:
                await self._queue.settle(batch)
            except QueueUnavailableError as error:
                logger.error("nothing can be settled", action="queue_unavailable", why=str(error))  # noqa: TRY400
                if self._stopping.is_set():
                    # They are leased again at the next start, and delivered again: at least once.
                    logger.error("given up", action="settling_abandoned", jobs=len(batch))  # noqa: TRY400
                    return
                await self._clock.sleep(_UNAVAILABLE_PAUSE_SECONDS)
            else:
                return

    async def _run(self, lease: Lease) -> None:
        """One attempt at one job."""
        settlement = Settlement(lease=lease, settling=Settling.RELEASED, done=lease.done)
        try:
            settlement = await self._attempt(lease)
        except Exception as error:  # noqa: BLE001  one job must not end the loop, nor run in circles
            bug = _bug(error, lease)
            settlement = self._judge(lease, self._in_force.routes.of(lease.type), {"dispatcher": bug})
        finally:
            # Also when it was cancelled: then the job goes back as it was.
            self._unsettled.append(settlement)
            self._ended.set()

    async def _attempt(self, lease: Lease) -> Settlement:
        route = self._in_force.routes.of(lease.type)
        if lease.crashes >= route.retry.max_attempts:
            return _failed(lease, lease.done, FailureReason.INTERRUPTED, "the process ended during the last attempt")
        self._monitor.started(lease, max(0, self._clock.wall_ms() - lease.due_ms))
        began = self._clock.monotonic()
        try:
            return await self._deliver(lease, route)
        finally:
            self._monitor.ran(lease, (self._clock.monotonic() - began) * 1000)

    async def _deliver(self, lease: Lease, route: Route) -> Settlement:
        wanted = lease.channels or route.channels
        if not wanted:
            return _failed(lease, lease.done, FailureReason.NO_CHANNEL, "the pipeline has no channel for it")
        todo = [name for name in wanted if name not in lease.done]
        if len(todo) == 1:
            deliveries = [await self._try(todo[0], lease, route.timeout)]
        else:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._try(name, lease, route.timeout), name=name) for name in todo]
            deliveries = [task.result() for task in tasks]
        return self._judge(lease, route, dict(zip(todo, deliveries, strict=True)))

    async def _try(self, name: str, lease: Lease, seconds: float) -> Delivery:
        """One channel. Whatever it does comes back as a delivery."""
        channel = self._in_force.channels.get(name)
        if channel is None:
            return Delivery(Outcome.FAILED, FailureReason.NO_CHANNEL, f"there is no channel {name} any more")
        try:
            async with asyncio.timeout(seconds):
                delivery = await channel.deliver(lease)
        except TimeoutError:
            delivery = timed_out(seconds)
        except Exception as error:  # noqa: BLE001  a channel's fault is no other's
            delivery = _bug(error, lease)
        self._monitor.attempted(name, delivery.outcome)
        return delivery

    def _judge(self, lease: Lease, route: Route, deliveries: dict[str, Delivery]) -> Settlement:
        """What becomes of a job, from what its channels did."""
        done = dict(lease.done)
        again = []
        for name, one in deliveries.items():
            if one.outcome is Outcome.RETRY:
                again.append((name, one))
            else:
                done[name] = "" if one.reason is None else one.reason.value
        if again:
            asked = max((one.retry_after_ms for _, one in again if one.retry_after_ms is not None), default=None)
            pause = route.retry.pause_ms(lease.attempt, asked, self._dice)
            name, first = again[0]
            reason, detail = first.reason or FailureReason.UNKNOWN, f"{name}: {first.detail}"
            if pause is None:
                return _failed(lease, done, reason, detail)
            due = self._clock.wall_ms() + pause
            return Settlement(
                lease=lease, settling=Settling.RETRY, done=done, due_ms=due, reason=reason.value, detail=detail
            )
        refused = next((name for name, reason in done.items() if reason), None)
        if refused is None:
            return Settlement(lease=lease, settling=Settling.PROCESSED)
        detail = deliveries[refused].detail if refused in deliveries else "an earlier attempt failed for good"
        return _failed(lease, done, FailureReason(done[refused]), f"{refused}: {detail}")


def _failed(lease: Lease, done: dict[str, str], reason: FailureReason, detail: str) -> Settlement:
    logger.info("job failed", action="job_failed", job=lease.id, type=lease.type, reason=reason.value, why=detail)
    return Settlement(lease=lease, settling=Settling.FAILED, done=done, reason=reason.value, detail=detail)


def _bug(error: Exception, lease: Lease) -> Delivery:
    kind = type(error).__name__
    # The message may hold what a log must not: where it happened says enough.
    where = traceback.format_tb(error.__traceback__)[-1].strip()
    logger.error("an error in the dispatcher", action="bug", job=lease.id, type=lease.type, kind=kind, where=where)
    return Delivery(Outcome.RETRY, FailureReason.UNKNOWN, f"an error in the dispatcher: {kind}")
