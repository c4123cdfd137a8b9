"""One attempt at one job: delivers it through the channels that let it pass, and judges what becomes of it.

`worker` runs it in a slot. Nothing that a job or a channel does gets past here.
"""

from __future__ import annotations

import asyncio
import random
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from notification_dispatcher import tracing
from notification_dispatcher.channels.base import Delivery, Outcome
from notification_dispatcher.channels.http import timed_out
from notification_dispatcher.clock import Clock
from notification_dispatcher.deadlines import Deadline, Deadlines
from notification_dispatcher.job import Lease, Settlement, Settling
from notification_dispatcher.lanes import Blocked, Lane, Lanes
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.queues.base import SUSPICIOUS_CRASHES
from notification_dispatcher.routes import InForce, Route

logger = structlog.get_logger(__name__)

_FEWEST_CRASHES = SUSPICIOUS_CRASHES + 1
"""However few attempts a job has: before, it may have been another's fault; then it ran as the only suspect."""


@dataclass(slots=True)
class Passage:
    """What a job was let through."""

    route: Route
    guards: Sequence[Lane]
    channels: dict[str, Lane | None]
    """Their lanes, as long as a place is taken there; None where there is no such channel."""
    began: float = 0.0
    """Monotonic seconds."""
    later: Blocked | None = None
    """Other channels of the job have no place for it yet."""


@dataclass(frozen=True, slots=True)
class Attempts:
    """Runs attempts."""

    monitor: Monitor
    clock: Clock
    in_force: InForce
    lanes: Lanes
    dice: random.Random
    _deadlines: dict[float, Deadlines] = field(default_factory=dict)
    """By their length."""

    def admit(self, lease: Lease) -> Passage | Blocked:
        """Ask the lanes for a way through."""
        now = self.clock.monotonic()
        way = self.lanes.way(lease)
        for guard in way.guards:
            if blocked := guard.blocks(lease.id, now):
                return blocked
        passage = Passage(way.route, way.guards, {}, now)
        for name, lane in way.channels:
            if lane is None or (blocked := lane.blocks(lease.id, now)) is None:
                passage.channels[name] = lane
            elif passage.later is None or blocked.until < passage.later.until:
                passage.later = blocked
        if passage.later is not None and not passage.channels:
            return passage.later
        for guard in way.guards:
            guard.start(lease.id, now)
        for lane in passage.channels.values():
            if lane is not None:
                lane.start(lease.id, now)
        return passage

    async def run(self, lease: Lease, passage: Passage) -> Settlement:
        """One attempt. It is over when this returns, also when it is cancelled: then the job goes back as it is."""
        done = lease.done.copy()
        try:
            if refused := self._refused(lease, passage, done):
                return refused
            self.monitor.started(lease, max(0.0, (passage.began - lease.eligible_at) * 1000))
            try:
                if len(passage.channels) == 1:
                    # The usual case, without a task of its own.
                    (name,) = passage.channels
                    deliveries = {name: await self._try(name, lease, passage, done)}
                else:
                    deliveries = await self._try_all(lease, passage, done)
            finally:
                self.monitor.ran(lease, (self.clock.monotonic() - passage.began) * 1000)
            return self._judge(lease, passage, done, deliveries)
        except asyncio.CancelledError:
            return Settlement(lease=lease, settling=Settling.RELEASED, done=done)
        except Exception as error:  # noqa: BLE001  one job must not end the loop, nor run in circles
            return self._broken(lease, passage, done, error)
        finally:
            for lane in passage.guards:
                self.lanes.free(lane, passage.began, self.clock.monotonic())
            for name in passage.channels:
                self._leave(name, passage, None)

    def _refused(self, lease: Lease, passage: Passage, done: dict[str, str]) -> Settlement | None:
        """The end of a job that is not to be attempted at all."""
        if lease.crashes >= _FEWEST_CRASHES and lease.crashes >= passage.route.retry.max_attempts:
            return self._failed(lease, done, FailureReason.INTERRUPTED, "the process ended each time that it ran")
        if not (lease.channels or passage.route.channels):
            return self._failed(lease, done, FailureReason.NO_CHANNEL, "the pipeline has no channel for it")
        return None

    async def _try_all(self, lease: Lease, passage: Passage, done: dict[str, str]) -> dict[str, Delivery]:
        """Several channels, side by side."""
        async with asyncio.TaskGroup() as group:
            tasks = {
                name: group.create_task(self._try(name, lease, passage, done), name=name) for name in passage.channels
            }
        return {name: task.result() for name, task in tasks.items()}

    async def _try(self, name: str, lease: Lease, passage: Passage, done: dict[str, str]) -> Delivery:
        """One channel. Whatever it does comes back as a delivery; what is final is noted in `done` at once."""
        delivery = None
        try:
            channel = self.in_force.channels.get(name)
            with self._limit(passage.route.timeout):
                if channel is None:
                    delivery = Delivery(
                        Outcome.FAILED, FailureReason.NO_CHANNEL, f"there is no channel {name} any more"
                    )
                elif lease.trace:
                    delivery = await tracing.deliver(channel, name, lease)
                else:
                    delivery = await channel.deliver(lease)
        except TimeoutError:
            delivery = timed_out(passage.route.timeout)
        except Exception as error:  # noqa: BLE001  a channel's fault is no other's
            # The destination has no part in it.
            self._leave(name, passage, None)
            delivery = _bug(error, lease)
        finally:
            self._leave(name, passage, delivery)
        if delivery.outcome is not Outcome.RETRY:
            done[name] = "" if delivery.reason is None else delivery.reason.value
        self.monitor.attempted(name, delivery.outcome)
        return delivery

    def _leave(self, name: str, passage: Passage, delivery: Delivery | None) -> None:
        """Give a channel's place back, unless that was done. No delivery: it was broken off, or not even tried."""
        if lane := passage.channels[name]:
            passage.channels[name] = None
            now = self.clock.monotonic()
            self.lanes.delivered(name, lane, delivery, now)
            self.lanes.free(lane, passage.began, now)

    def _limit(self, seconds: float) -> Deadline:
        deadlines = self._deadlines.get(seconds)
        if deadlines is None:
            deadlines = self._deadlines[seconds] = Deadlines(seconds)
        return deadlines.limit()

    def broken(self, lease: Lease, error: Exception) -> Settlement:
        """What becomes of a job that could not even be asked where it wants to go."""
        route = self.in_force.routes.of(lease.type)
        passage = Passage(route, [], dict.fromkeys(lease.channels or route.channels))
        return self._broken(lease, passage, dict(lease.done), error)

    def _broken(self, lease: Lease, passage: Passage, done: dict[str, str], error: Exception) -> Settlement:
        bug = _bug(error, lease)
        return self._judge(lease, passage, done, {name: bug for name in passage.channels if name not in done})

    def _judge(
        self, lease: Lease, passage: Passage, done: dict[str, str], deliveries: dict[str, Delivery]
    ) -> Settlement:
        """What becomes of a job, from what its channels did."""
        again = {name: one for name, one in deliveries.items() if one.outcome is Outcome.RETRY}
        if again:
            asked = max((one.retry_after_ms for one in again.values() if one.retry_after_ms is not None), default=None)
            pause = passage.route.retry.pause_ms(lease.attempt, asked, self.dice)
            if pause is not None:
                name, first = next(iter(again.items()))
                return Settlement(
                    lease=lease,
                    settling=Settling.RETRY,
                    done=done,
                    again_at=self.clock.monotonic() + pause / 1000,
                    reason=_reason(first).value,
                    detail=f"{name}: {first.detail}",
                )
            done |= {name: _reason(one).value for name, one in again.items()}
        if passage.later is not None:
            return self.postponed(lease, passage.later, done)
        refused = next((name for name, reason in done.items() if reason), None)
        if refused is None:
            return Settlement(lease=lease, settling=Settling.PROCESSED)
        detail = deliveries[refused].detail if refused in deliveries else "an earlier attempt failed for good"
        return self._failed(lease, done, FailureReason(done[refused]), f"{refused}: {detail}")

    def postponed(self, lease: Lease, blocked: Blocked, done: dict[str, str]) -> Settlement:
        """A job that goes back until its turn comes."""
        self.monitor.postponed(blocked.reason)
        return Settlement(lease=lease, settling=Settling.POSTPONED, done=done, again_at=blocked.until)

    def _failed(self, lease: Lease, done: dict[str, str], reason: FailureReason, detail: str) -> Settlement:
        """The end of a job that no attempt helps. Each channel that did not get it is noted, for who looks later."""
        for name in lease.channels or self.in_force.routes.of(lease.type).channels:
            done.setdefault(name, reason.value)
        logger.info("job failed", action="job_failed", job=lease.id, type=lease.type, reason=reason.value, why=detail)
        return Settlement(lease=lease, settling=Settling.FAILED, done=done, reason=reason.value, detail=detail)


def _reason(delivery: Delivery) -> FailureReason:
    return delivery.reason or FailureReason.UNKNOWN


def _bug(error: Exception, lease: Lease) -> Delivery:
    kind = type(error).__name__
    # The message may hold what a log must not: where it happened says enough.
    where = traceback.format_tb(error.__traceback__)[-1].strip()
    logger.error("an error in the dispatcher", action="bug", job=lease.id, type=lease.type, kind=kind, where=where)
    return Delivery(Outcome.RETRY, FailureReason.UNKNOWN, f"an error in the dispatcher: {kind}")
