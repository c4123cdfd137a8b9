"""A rate limit that tells each job when its turn is. `lanes` asks.

The generic cell rate algorithm, with reservations: a job that has to wait is told its own time once, and finds its
place kept when it comes back, so that a long line of them neither stampedes nor asks again and again.
Source: ITU-T I.371, annex A; it is a token bucket that needs no timer.
"""

from __future__ import annotations

_KEPT_SECONDS = 5.0
"""A place that is not taken in time is lost: else those of an outage would all be taken at once when it ends."""

_MOST_RESERVED = 100_000


class RateLimit:
    """So many a second on average, so many at once. Times are monotonic seconds."""

    def __init__(self, per_second: float, burst: int) -> None:
        self.per_second = per_second
        self.burst = burst
        self._interval = 1 / per_second
        self._next = 0.0
        """When the next one would be on time at an even pace (the theoretical arrival time)."""
        self._reserved: dict[str, float] = {}

    def reserve(self, name: str, now: float) -> float:
        """When this one's turn is; now or earlier: it may start. Asked again, it answers the same."""
        turn = self._reserved.get(name)
        if turn is not None and turn > now - _KEPT_SECONDS:
            return turn
        even = max(self._next, now)
        turn = max(now, even - self._interval * (self.burst - 1))
        if turn > now and len(self._reserved) >= _MOST_RESERVED:
            # Too many to remember: it asks again when those ahead are through.
            return even
        self._next = even + self._interval
        self._reserved.pop(name, None)
        self._reserved[name] = turn
        self._forget(now)
        return turn

    def start(self, name: str) -> None:
        """It starts: its place is used."""
        self._reserved.pop(name, None)

    def _forget(self, now: float) -> None:
        """Drop the first in line if their places are lost. They stand in the order of their turns."""
        while self._reserved:
            name = next(iter(self._reserved))
            if self._reserved[name] > now - _KEPT_SECONDS:
                return
            del self._reserved[name]
