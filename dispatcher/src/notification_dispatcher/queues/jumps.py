"""Notices when the wall clock was set, so that an engine can move along what it measured from it. Engines use it."""

from __future__ import annotations

from notification_dispatcher.clock import Clock

_LEAST_MS = 1_000
"""Smaller corrections are the clock's own business: NTP slews both clocks alike."""


class ClockJumps:
    """The distance between the wall clock and the monotonic one, and how it changes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._distance_ms = self._distance()

    def moved_ms(self) -> int:
        """By how much the wall clock was set since the last call, in milliseconds; nearly always 0."""
        moved = self._distance() - self._distance_ms
        if abs(moved) < _LEAST_MS:
            return 0
        self._distance_ms += moved
        return moved

    def again(self, moved_ms: int) -> None:
        """It could not be acted upon: say it at the next call once more."""
        self._distance_ms -= moved_ms

    def _distance(self) -> int:
        return self._clock.wall_ms() - round(self._clock.monotonic() * 1000)
