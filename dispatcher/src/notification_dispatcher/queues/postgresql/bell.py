"""LISTEN and NOTIFY: a dispatcher that takes jobs in wakes the others. `engine` rings it and keeps it.

A ring may be missed, while the connection is being made again for one: each dispatcher looks for itself now and then.
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
    """One connection that listens, and rings on the others."""

    def __init__(self, links: Links, schema: str, clock: Clock, heard: Callable[[], None]) -> None:
        self._links = links
        self._channel = schema
        self._clock = clock
        self._heard = heard
        self._listening: Link | None = None
        self._ringing: asyncio.Task[None] | None = None
        self._again = False

    async def listen(self) -> None:
        """Listen, unless it does. Raises QueueUnavailableError."""
        if self._listening is not None and await self._links.answers(self._listening):
            return
        self._listening = await self._links.listen(self._channel, self._take)
        # What was rung meanwhile, nobody heard.
        self._heard()

    def ring(self, member: int) -> None:
        """Wake the others, soon."""
        self._again = True
        if self._ringing is None or self._ringing.done():
            self._ringing = asyncio.create_task(self._ring(member), name="queue-bell")

    async def close(self) -> None:
        """Neither ring nor listen any more."""
        if self._ringing is not None:
            self._ringing.cancel()
            await asyncio.gather(self._ringing, return_exceptions=True)
        if self._listening is not None:
            self._listening.terminate()

    async def _ring(self, member: int) -> None:
        while self._again:
            self._again = False
            try:
                async with self._links.link() as link:
                    await link.execute("SELECT pg_notify($1, $2)", self._channel, str(member))
            except QueueUnavailableError:
                return
            await self._clock.sleep(_LEAST_SECONDS)

    def _take(self, *_: Any) -> None:
        self._heard()
