"""Time as a port: the wall clock for what is stored and shown, the monotonic one for what is measured and waited for.

Everything that reads the time or waits takes a `Clock`; `VirtualClock` lets tests move it.
"""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime
from functools import lru_cache
from typing import Protocol


class Clock(Protocol):
    """What time it is, and waiting for a later one."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC. It can jump."""

    def monotonic(self) -> float:
        """Seconds from an arbitrary start. It never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Return when so many monotonic seconds have passed."""


class SystemClock:
    """The machine's clocks."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds since the machine's start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep on the event loop."""
        await asyncio.sleep(seconds)


class VirtualClock:
    """A clock that stands still until it is told otherwise. Whoever sleeps on it is woken by `advance`."""

    def __init__(self, wall_ms: int = 1_750_000_000_000) -> None:
        self._wall_ms = wall_ms
        self._monotonic = 0.0
        self._sleepers: list[tuple[float, asyncio.Future[None]]] = []

    def wall_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return self._wall_ms

    def monotonic(self) -> float:
        """Seconds since it was made."""
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        """Wait until somebody lets so much time pass."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleepers.append((self._monotonic + seconds, woken))
        await woken

    def advance(self, seconds: float) -> None:
        """Let time pass, on both clocks."""
        self._wall_ms += round(seconds * 1000)
        self._monotonic += seconds
        due = [woken for deadline, woken in self._sleepers if deadline <= self._monotonic]
        self._sleepers = [(deadline, woken) for deadline, woken in self._sleepers if woken not in due]
        for woken in due:
            if not woken.done():
                woken.set_result(None)

    def jump(self, seconds: float) -> None:
        """Set the wall clock, as an administrator or NTP would; no time passes."""
        self._wall_ms += round(seconds * 1000)


def rfc3339(milliseconds: int) -> str:
    """A wall clock's time as people and programs read it: `2026-01-31T12:00:00.000Z`."""
    seconds, rest = divmod(milliseconds, 1000)
    return f"{_to_the_second(seconds)}.{rest:03d}Z"


@lru_cache(maxsize=256)
def _to_the_second(seconds: int) -> str:
    # Many that are shown are of the same second, and this is most of the work.
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")
