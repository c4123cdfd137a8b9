"""What an engine does by itself, each in a task of its own, so that none waits for another: `engine` starts them.

A chore that fails is tried again, later and later. What fails the same way again is not logged again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import structlog

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueError, QueueUnavailableError
from notification_dispatcher.waiting import until_first

logger = structlog.get_logger(__name__)

_FINISHING_SECONDS = 0.5


class Chore(NamedTuple):
    """Something that is done again and again."""

    name: str
    step: Callable[[], Awaitable[None]]
    """Does it once. It may raise."""
    seconds: float
    """Between two times."""
    longest: float
    """Between two times when it fails."""


class Chores:
    """The tasks."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, chore: Chore) -> None:
        """Do it from now on."""
        self._tasks.append(asyncio.create_task(self._repeat(chore), name=f"queue-{chore.name}"))

    async def close(self) -> None:
        """Let each finish what it does; what takes too long is cut off."""
        self._stopping.set()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=_FINISHING_SECONDS)
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _repeat(self, chore: Chore) -> None:
        failures, said = 0, ""
        while not self._stopping.is_set():
            try:
                await chore.step()
            except QueueError as error:
                failures += 1
                if str(error) != said:
                    said = str(error)
                    log = logger.warning if isinstance(error, QueueUnavailableError) else logger.error
                    log(said, action="queue_chore_failed", chore=chore.name)
            except Exception:
                failures += 1
                logger.exception("a bug", action="queue_chore_failed", chore=chore.name)
            else:
                if failures:
                    logger.info("it works again", action="queue_chore_works", chore=chore.name, failures=failures)
                failures, said = 0, ""
            pause = min(chore.longest, chore.seconds * 2.0 ** min(failures, 10))
            await until_first(pause=self._clock.sleep(pause), stop=self._stopping.wait())
