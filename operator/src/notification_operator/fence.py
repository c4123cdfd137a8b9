"""The fence around the cluster: no write leaves this process unless it leads at that very moment.

`leader` opens it with each renewal of the lease, up to a time; `cluster` passes through it with each write. A process
that was stopped, or whose event loop hung, finds it closed when it wakes, whatever its tasks were about to do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf

from notification_operator.errors import NotLeadingError


class Fence:
    """Until when writes may go out, and how many are on their way."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._until = -inf
        self._writes = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def left(self) -> float:
        """Seconds for which writes may still go out; none are left when it isn't above zero."""
        return self._until - self._monotonic()

    def open(self, until: float = inf) -> None:
        """Let writes out until this time of the monotonic clock."""
        self._until = until

    def close(self) -> None:
        """Let no further write out."""
        self._until = -inf

    @contextmanager
    def write(self) -> Iterator[float]:
        """For the time of one write. Gives the seconds within which it must be over; raises NotLeadingError."""
        left = self.left
        if left <= 0:
            raise NotLeadingError("this operator does not lead: nothing was written")
        self._writes += 1
        self._idle.clear()
        try:
            yield left
        finally:
            self._writes -= 1
            if not self._writes:
                self._idle.set()

    async def idle(self) -> None:
        """Wait until no write is on its way."""
        await self._idle.wait()
