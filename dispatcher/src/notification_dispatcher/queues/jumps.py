"""Notices when the wall clock was set, so that an engine can move along what it measured from it. Engines use it.

What is stored is in the wall clock's time, which outlives the process; what workers measure and wait for is in the
monotonic clock's, which nobody sets. A `Moment` leads from one to the other.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import structlog

from notification_dispatcher.clock import Clock

logger = structlog.get_logger(__name__)

_LEAST_MS = 1_000
"""Smaller corrections are the clock's own business: NTP slews both clocks alike."""


class Moment(NamedTuple):
    """Both clocks at the same time."""

    wall_ms: int
    monotonic: float

    def to_wall_ms(self, monotonic: float) -> int:
        """When a time that is still to come is, on the wall clock; now, if it has passed."""
        # Not early, but for what the arithmetic adds.
        return self.wall_ms + max(0, math.ceil((monotonic - self.monotonic) * 1000 - 1e-3))

    def to_monotonic(self, wall_ms: int) -> float:
        """When a stored time was, or will be, in monotonic seconds."""
        return self.monotonic - (self.wall_ms - wall_ms) / 1000

    def later(self, monotonic: float) -> Moment:
        """A later moment, by the clock that nobody sets."""
        return Moment(self.to_wall_ms(monotonic), monotonic)


class ClockJumps:
    """The distance between the wall clock and the monotonic one, and how it changes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._distance_ms = _distance(self._read())

    def now(self) -> tuple[Moment, int]:
        """The time, and by how many milliseconds the wall clock was set since the last call; nearly always 0."""
        now = self._read()
        moved = _distance(now) - self._distance_ms
        if abs(moved) < _LEAST_MS:
            return now, 0
        logger.warning("the clock was set", action="clock_set", by_ms=moved)
        self._distance_ms += moved
        return now, moved

    def again(self, moved_ms: int) -> None:
        """It could not be acted upon: say it at the next call once more."""
        self._distance_ms -= moved_ms

    def _read(self) -> Moment:
        return Moment(self._clock.wall_ms(), self._clock.monotonic())


def _distance(moment: Moment) -> int:
    return moment.wall_ms - round(moment.monotonic * 1000)
