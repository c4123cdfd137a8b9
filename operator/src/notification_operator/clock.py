"""Time as a port: the time of day for what is written down, the monotonic clock for what is measured and waited for.

`status` and `lease` stamp with it, `leader` waits on it, and tests bring their own.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from typing import Protocol

# Linux' monotonic clock stands still while a machine is suspended, and its lease runs out all the same.
_MONOTONIC = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Clock(Protocol):
    """What time it is, and waiting for a later one."""

    def now_rfc3339(self) -> str:
        """Now, in UTC, to the second: `2026-01-31T12:00:00Z`."""

    def now_micro(self) -> str:
        """Now, in UTC, as the API's MicroTime: `2026-01-31T12:00:00.000000Z`."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, those of a suspended machine included. It never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return when so many seconds have passed."""


class SystemClock:
    """The machine's own clocks."""

    def now_rfc3339(self) -> str:
        """Now, in UTC, to the second."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def now_micro(self) -> str:
        """Now, in UTC, to the microsecond."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def monotonic(self) -> float:
        """Seconds since the machine's start."""
        return time.clock_gettime(_MONOTONIC)

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)
