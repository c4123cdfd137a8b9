"""What is stored moves along when the database's clock is set: once, however many dispatchers notice. `engine` asks it
for the time.

Each notices by its own monotonic clock. How far everything was moved so far is written down beside it, and so whoever
comes second finds that there is nothing left to do.
"""

from __future__ import annotations

import asyncio

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.queues.jumps import ClockJumps, Moment
from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.links import Links

_LEAST_MS = 1000
_SECONDS = 600.0


class Moving:
    """The time, once everything is where it belongs at that time."""

    def __init__(self, links: Links, clock: Clock) -> None:
        self._links = links
        self._clock = clock
        self._jumps = ClockJumps(clock)
        self._seen_ms = 0
        self._turn = asyncio.Lock()

    async def start(self) -> None:
        """Begin with the clock as it is now."""
        async with self._links.link() as link:
            self._seen_ms = int(await link.fetchval(statements.MOVED_SO_FAR))
        self._jumps = ClockJumps(self._clock)

    async def now(self) -> tuple[Moment, bool]:
        """The time, and whether anything was moved. Raises QueueUnavailableError when it had to be and could not."""
        async with self._turn:
            now, moved_ms = self._jumps.now()
            if not moved_ms:
                return now, False
            try:
                await self._move(moved_ms, now.wall_ms)
            except QueueUnavailableError:
                self._jumps.again(moved_ms)
                raise
            # Not what the clock says now: it may have been set again.
            return now.later(self._clock.monotonic()), True

    async def _move(self, by_ms: int, now_ms: int) -> None:
        async with self._links.link() as link, link.transaction():
            # Whoever writes to it has ended, and holds nothing that this waits for later.
            await link.execute("LOCK TABLE job IN SHARE ROW EXCLUSIVE MODE")
            total = int(await link.fetchval(statements.MOVED_SO_FAR))
            left = by_ms - (total - self._seen_ms)
            if abs(left) >= _LEAST_MS:
                await link.execute(statements.MOVE, left, now_ms, timeout=_SECONDS)
                for statement in statements.MOVE_OTHERS:
                    await link.execute(statement, left, timeout=_SECONDS)
                total += left
        self._seen_ms = total
