"""The time of the database, which every dispatcher on it shares. `engine` observes it; whoever needs a time reads it.

Between two looks it is told from the monotonic clock, so that reading it costs nothing, and so that a dispatcher whose
own wall clock is wrong does no harm.
"""

from __future__ import annotations

from typing import Protocol

from notification_dispatcher.clock import Clock


class SharedClock(Clock, Protocol):
    """A clock whose wall clock is another machine's."""

    def observe(self, wall_ms: int, asked: float, answered: float) -> None:
        """The other's wall clock said so, at some time between these two, in monotonic seconds."""

    def to_local_ms(self, wall_ms: int) -> int:
        """A time of the other's wall clock on this machine's."""


class DatabaseClock:
    """The database's wall clock, and this process's monotonic one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._distance_ms: float | None = None
        """From the monotonic clock to the wall clock."""

    def wall_ms(self) -> int:
        """Milliseconds since 1970; until the database was asked, those of this machine."""
        if self._distance_ms is None:
            return self._clock.wall_ms()
        return int(self._distance_ms + self._clock.monotonic() * 1000)

    def monotonic(self) -> float:
        """Seconds of this machine's monotonic clock."""
        return self._clock.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Sleep by this machine's monotonic clock."""
        await self._clock.sleep(seconds)

    def observe(self, wall_ms: int, asked: float, answered: float) -> None:
        """Correct the distance as far as must be: an answer that took long says little, and changes little."""
        least, most = wall_ms - answered * 1000, wall_ms + 1 - asked * 1000
        if self._distance_ms is None:
            self._distance_ms = (least + most) / 2
        self._distance_ms = min(max(self._distance_ms, least), most)

    def to_local_ms(self, wall_ms: int) -> int:
        """A time of the database's on the wall clock of this machine."""
        return wall_ms - self.wall_ms() + self._clock.wall_ms()
