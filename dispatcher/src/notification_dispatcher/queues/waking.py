"""Tells a worker when to look into the queue: at once after an arrival, else when the next job falls due."""

from __future__ import annotations

import asyncio

from notification_dispatcher.clock import Clock

_LONGEST_NAP = 5.0
"""Seconds. While a job is scheduled, the wall clock may be set; a look now and then costs an index lookup."""


class Waking:
    """An event with an alarm clock. Belongs to one event loop."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._event = asyncio.Event()
        self._alarm_ms: int | None = None

    def now(self) -> None:
        """There may be something to claim, or something that will be due sooner."""
        self._event.set()

    def claiming(self) -> None:
        """A claim begins: what comes from now on, it may miss."""
        self._event.clear()

    def claimed(self, *, more: bool, next_due_ms: int | None) -> None:
        """It ended. `more`: there may be more at once."""
        self._alarm_ms = next_due_ms
        if more:
            self._event.set()

    async def wait(self) -> None:
        """Return when there may be something to claim."""
        if self._event.is_set():
            return
        if self._alarm_ms is None:
            await self._event.wait()
            return
        seconds = min(max(0.0, (self._alarm_ms - self._clock.wall_ms()) / 1000), _LONGEST_NAP)
        event = asyncio.create_task(self._event.wait(), name="queue-event")
        alarm = asyncio.create_task(self._clock.sleep(seconds), name="queue-alarm")
        try:
            await asyncio.wait((event, alarm), return_when=asyncio.FIRST_COMPLETED)
        finally:
            event.cancel()
            alarm.cancel()
