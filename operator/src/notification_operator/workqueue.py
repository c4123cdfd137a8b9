"""A queue of pipelines to reconcile: each waits once, is worked on once at a time, and fails ever more slowly.

`handlers` and the watches put keys in; `reconcile` is called with them. As in controller-runtime's queue, a key that is
added while it is worked on is worked on again afterwards, and what somebody has just changed goes before what is looked
at in its turn: who applies a pipeline while a thousand others are gone through doesn't wait for all of them. Rollouts
are followed by the workers that have nothing else to do.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import IntEnum
from typing import NamedTuple

import structlog

from notification_operator.errors import OperatorError
from notification_operator.metrics import OperatorMetrics, ReconcileResult

_FIRST_BACKOFF = 0.2  # seconds
_LONGEST_BACKOFF = 60.0
_LONGEST_WAIT = 60.0  # seconds after which a key goes first, whatever it waits for

logger = structlog.get_logger(__name__)


class Key(NamedTuple):
    """A pipeline's name."""

    namespace: str
    name: str


class Urgency(IntEnum):
    """What a key waits for; the least goes first."""

    CHANGED = 0
    """Somebody changed the pipeline, or something that is made of it."""
    IN_TURN = 1
    """It was listed at the start, is looked at every so often, or failed before."""
    ROLLOUT = 2
    """Its dispatchers come or go, and its status is to say so."""


class _Waiting(NamedTuple):
    """A key in the queue, in the order in which they are taken."""

    urgency: Urgency
    number: int
    since: float
    key: Key


class RetryLater(OperatorError):  # noqa: N818  not an error: a request
    """Raised by the work to be called again, with back-off: something it needs is not there yet."""


Work = Callable[[Key], Awaitable[None]]


class WorkQueue:
    """Keys that wait, keys that are worked on, and how often each failed in a row."""

    def __init__(self, metrics: OperatorMetrics) -> None:
        self._metrics = metrics
        self._order: list[_Waiting] = []
        self._numbers = itertools.count()
        # Those of `_order` that count, the oldest first: what became more urgent stands in there twice.
        self._queued: dict[Key, _Waiting] = {}
        metrics.queue_age.set_function(self._oldest_age)
        self._running: set[Key] = set()
        self._again: dict[Key, Urgency] = {}
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._moved = asyncio.Event()
        self._calm = asyncio.Event()
        self._calm.set()

    def add(self, key: Key, urgency: Urgency = Urgency.CHANGED) -> None:
        """Have the key worked on soon."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._running:
            self._again[key] = min(urgency, self._again.get(key, urgency))
            return
        known = self._queued.get(key)
        if known is not None and known.urgency <= urgency:
            return
        since = time.monotonic() if known is None else known.since
        waiting = _Waiting(urgency, next(self._numbers), since, key)
        self._queued[key] = waiting
        heapq.heappush(self._order, waiting)
        self._note_change()

    def add_after(self, key: Key, seconds: float, urgency: Urgency) -> None:
        """Have the key worked on later; whatever comes earlier wins."""
        if key in self._queued or key in self._again:
            return
        loop = asyncio.get_running_loop()
        if timer := self._timers.get(key):
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key, urgency)

    async def calm(self) -> None:
        """Wait until nothing waits but rollouts."""
        await self._calm.wait()

    async def run(self, work: Work, workers: int) -> None:
        """Work on keys, `workers` of them at once, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                while (key := self._next(workers)) is not None:
                    self._running.add(key)
                    group.create_task(self._work_on(work, key), name=f"reconcile {key.namespace}/{key.name}")
                self._moved.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LONGEST_WAIT if self._queued else None):
                        await self._moved.wait()

    def close(self) -> None:
        """Forget every key: whoever leads next begins with all of them."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._queued.clear()
        self._order.clear()
        self._note_change()

    def _oldest_age(self) -> float:
        """Seconds."""
        return time.monotonic() - next(iter(self._queued.values())).since if self._queued else 0.0

    def _due(self, key: Key, urgency: Urgency) -> None:
        self._timers.pop(key, None)
        self.add(key, urgency)

    def _note_change(self) -> None:
        """Something was queued, or no longer is."""
        if self._queued and self._first().urgency is not Urgency.ROLLOUT:
            self._calm.clear()
        else:
            self._calm.set()
        self._metrics.queue_depth.set(len(self._queued))
        self._moved.set()

    def _next(self, workers: int) -> Key | None:
        """The most urgent key, or the one that has waited too long; None while there is none that may be begun."""
        if not self._queued or len(self._running) >= workers:
            return None
        waiting = next(iter(self._queued.values()))
        if time.monotonic() - waiting.since <= _LONGEST_WAIT:
            waiting = self._first()
            # What is pressing is to be done soon, and not beside many others.
            if waiting.urgency is Urgency.ROLLOUT and len(self._running) >= max(1, workers // 2):
                return None
        del self._queued[waiting.key]
        self._note_change()
        return waiting.key

    def _first(self) -> _Waiting:
        while self._queued.get(self._order[0].key) is not self._order[0]:
            heapq.heappop(self._order)
        return self._order[0]

    async def _work_on(self, work: Work, key: Key) -> None:
        try:
            await self._attempt(work, key)
        finally:
            self._running.discard(key)
            if (urgency := self._again.pop(key, None)) is not None:
                self.add(key, urgency)
            self._moved.set()

    async def _attempt(self, work: Work, key: Key) -> None:
        started = asyncio.get_running_loop().time()
        result = ReconcileResult.SUCCESS
        log = logger.bind(namespace=key.namespace, pipeline=key.name)
        try:
            await work(key)
        except OperatorError as error:
            result = ReconcileResult.RETRY
            log.warning("reconcile", action="reconcile_retry", why=str(error))
        except Exception:  # a defect in one reconciliation must not end all of them
            result = ReconcileResult.ERROR
            log.exception("reconcile", action="reconcile_error")
        self._metrics.reconciled(result, asyncio.get_running_loop().time() - started)
        if result == ReconcileResult.SUCCESS:
            self._failures.pop(key, None)
            return
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        self.add_after(key, _backoff(failures), Urgency.IN_TURN)


def _backoff(failures: int) -> float:
    """Seconds until the next attempt: doubled with each failure, capped, jittered."""
    longest = min(_FIRST_BACKOFF * 2.0 ** min(failures - 1, 16), _LONGEST_BACKOFF)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads load, guards nothing
