"""A rate limit that tells each job when its turn is. `lanes` asks.

The generic cell rate algorithm, with reservations: a job that has to wait is told its own time once, and finds its
place kept when it comes back, so that a long line of them neither stampedes nor asks again and again.
Source: ITU-T I.371, annex A; it is a token bucket that needs no timer.
"""

from __future__ import annotations

import math

_KEPT_SECONDS = 5.0
"""A place that is not taken in time is lost: else those of an outage would all be taken at once when it ends."""
_LATE_SECONDS = 0.5
"""A job that is not back by then may have gone to another dispatcher, as those of a shared queue do, and one that
another had sent away takes its place: they share the places of all, and none goes unused while there is one to take
it. Up to then it may be on its way, and would find itself at the end of the line: where that may be endless, its place
is nobody else's."""

_MOST_RESERVED = 100_000


class RateLimit:
    """So many a second on average, so many at once. Times are monotonic seconds."""

    def __init__(self, per_second: float, burst: int, longest: float = math.inf) -> None:
        """`longest`: how far ahead a turn may be, in seconds; infinite where all who have one come back here."""
        self._longest = longest
        self.per_second = per_second
        self.burst = burst
        self._interval = 1 / per_second
        self._next = 0.0
        """When the next one would be on time at an even pace (the theoretical arrival time)."""
        self._reserved: dict[str, float] = {}
        """Turns, in their order."""
        self._taken: dict[str, float] = {}
        """When places were taken over, in that order."""

    def reserve(self, name: str, now: float) -> float | None:
        """When this one's turn is; now or earlier: it may start. Asked again, it answers the same.

        None: the line is too long, and it may ask again when that is `through`.
        """
        self._forget(now)
        turn = self._reserved.get(name, self._taken.get(name))
        if turn is not None:
            return turn
        if self._longest < math.inf and self._take_over(name, now):
            return now
        turn = self.through(now)
        if turn > now and (len(self._reserved) >= _MOST_RESERVED or turn > now + self._longest):
            return None
        self._next = max(self._next, now) + self._interval
        self._reserved[name] = turn
        return turn

    def through(self, now: float) -> float:
        """When all that have a turn will have started, if they come in time."""
        return max(now, self._next - self._interval * (self.burst - 1))

    def start(self, name: str) -> None:
        """It starts: its place is used."""
        self._reserved.pop(name, None)
        self._taken.pop(name, None)

    def _take_over(self, name: str, now: float) -> bool:
        """Give it the first place in line, if whoever has that is late."""
        first = next(iter(self._reserved), None)
        if first is None or self._reserved[first] > now - _LATE_SECONDS:
            return False
        del self._reserved[first]
        self._taken[name] = now
        return True

    def _forget(self, now: float) -> None:
        """Drop the places that are lost: they are the first."""
        for places in (self._reserved, self._taken):
            while places and places[first := next(iter(places))] <= now - _KEPT_SECONDS:
                del places[first]
