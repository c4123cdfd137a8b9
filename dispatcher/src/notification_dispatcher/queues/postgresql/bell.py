"""LISTEN and NOTIFY: a dispatcher that lets jobs in, or gives some back, wakes the others. `engine` rings and keeps it.

It makes things quick, and nothing depends on it: a ring may be missed, and each dispatcher looks for itself whenever
its heart beats.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.queues.postgresql.links import Links

if TYPE_CHECKING:
    from notification_dispatcher.queues.postgresql.links import Link

_LEAST_SECONDS = 0.02
"""Between two rings: a notification locks the whole database for a moment, and the first has woken everybody."""


class Bell:
    """Rings through one of the pool's connections, and hears others on one of its own."""

    def __init__(self, links: Links, ear: Links, channel: str, clock: Clock, heard: Callable[[], None]) -> None:
        self._links = links
        self._ear = ear
        self._channel = channel
        self._clock = clock
        self._heard = heard
        self._ringing: asyncio.Task[None] | None = None
        self._again = False
        ear.begin = self._listen

    async def listen(self) -> None:
        """Listen, unless it does. Raises QueueUnavailableError."""
        async with self._ear.link() as link:
            await link.execute("SELECT 1")

    def ring(self, member: int) -> None:
        """Wake the others, soon."""
        self._again = True
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring(member), name="queue-bell")

    async def ring_now(self, member: int) -> None:
        """Wake the others. Raises QueueUnavailableError."""
        async with self._links.link() as link:
            await link.execute("SELECT pg_notify($1, $2)", self._channel, str(member))

    async def close(self) -> None:
        """Neither ring nor listen any more."""
        if self._ringing is not None:
            self._ringing.cancel()
            await asyncio.gather(self._ringing, return_exceptions=True)
        await self._ear.close()

    async def _listen(self, link: Link) -> None:
        await link.add_listener(self._channel, self._take)
        # What was rung meanwhile, nobody heard.
        self._heard()

    async def _ring(self, member: int) -> None:
        while self._again:
            self._again = False
            try:
                await self.ring_now(member)
            except QueueUnavailableError:
                return
            await self._clock.sleep(_LEAST_SECONDS)

    def _take(self, *_: Any) -> None:
        self._heard()
