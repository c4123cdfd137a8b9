"""A queue of pipelines to reconcile: each waits once, is worked on once at a time, and fails ever more slowly.

`handlers` and the watches put keys in; `reconcile` is called with them. As in controller-runtime's queue, a key that is
added while it is worked on is worked on again afterwards.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from notification_operator.errors import OperatorError
from notification_operator.metrics import OperatorMetrics, ReconcileResult

_FIRST_BACKOFF = 0.2  # seconds
_LONGEST_BACKOFF = 60.0

logger = structlog.get_logger(__name__)


class Key(NamedTuple):
    """A pipeline's name."""

    namespace: str
    name: str


class RetryLater(OperatorError):  # noqa: N818  not an error: a request
    """Raised by the work to be called again, with back-off: something it needs is not there yet."""


Work = Callable[[Key], Awaitable[None]]


class WorkQueue:
    """Keys that wait, keys that are worked on, and how often each failed in a row."""

    def __init__(self, metrics: OperatorMetrics) -> None:
        self._metrics = metrics
        self._waiting: asyncio.Queue[Key] = asyncio.Queue()
        self._queued: dict[Key, float] = {}
        metrics.queue_age.set_function(self._oldest_age)
        self._running: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def add(self, key: Key) -> None:
        """Have the key worked on soon."""
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if key in self._running:
            self._again.add(key)
        elif key not in self._queued:
            self._queued[key] = time.monotonic()
            self._waiting.put_nowait(key)
        self._metrics.queue_depth.set(len(self._queued))

    def add_after(self, key: Key, seconds: float) -> None:
        """Have the key worked on later; whatever comes earlier wins."""
        if key in self._queued or key in self._again:
            return
        loop = asyncio.get_running_loop()
        if timer := self._timers.get(key):
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self._due, key)

    async def run(self, work: Work, workers: int) -> None:
        """Work on keys, `workers` of them at once, until cancelled."""
        async with asyncio.TaskGroup() as group:
            for number in range(workers):
                group.create_task(self._worker(work), name=f"reconcile-{number}")

    def close(self) -> None:
        """Forget every key: whoever leads next begins with all of them."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._queued.clear()
        self._metrics.queue_depth.set(0)

    def _oldest_age(self) -> float:
        """Seconds. Keys are worked on in the order in which they came."""
        return time.monotonic() - next(iter(self._queued.values())) if self._queued else 0.0

    def _due(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)

    async def _worker(self, work: Work) -> None:
        while True:
            key = await self._waiting.get()
            self._queued.pop(key, None)
            self._running.add(key)
            self._metrics.queue_depth.set(len(self._queued))
            try:
                await self._attempt(work, key)
            finally:
                self._running.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

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
        self.add_after(key, _backoff(failures))


def _backoff(failures: int) -> float:
    """Seconds until the next attempt: doubled with each failure, capped, jittered."""
    longest = min(_FIRST_BACKOFF * 2.0 ** min(failures - 1, 16), _LONGEST_BACKOFF)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads load, guards nothing
