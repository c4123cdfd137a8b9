"""Counts of what happened lately, by reason. `alerts` uses it.

A sliding window whose memory doesn't grow with the number: it keeps time in slices, so its far end is exact to one
slice, and nothing is forgotten too early.
"""

from __future__ import annotations

from collections import Counter, deque

from notification_dispatcher.clock import Clock

_SLICES = 100

WrittenWindow = tuple[float, list[tuple[float, dict[str, int]]]]
"""A window that can be stored: when its latest slice began, and all slices."""


class SlidingWindow:
    """Occurrences on the monotonic clock."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._slices: deque[tuple[float, Counter[str]]] = deque()
        """When a slice's latest occurrence was, oldest first, and how many there were of each reason."""
        self._begun = 0.0
        self._total = 0

    def written(self) -> WrittenWindow:
        """All of it."""
        return self._begun, [(at, dict(counts)) for at, counts in self._slices]

    def go_on_from(self, written: WrittenWindow) -> None:
        """Remember this, and nothing else. What is later than now is of a clock that was set back: it was now."""
        now = self._clock.monotonic()
        begun, slices = written
        self._begun = min(begun, now)
        self._slices = deque((min(at, now), Counter(counts)) for at, counts in slices)
        self._total = sum(counts.total() for _, counts in self._slices)

    def add(self, reason: str, window_ms: int) -> int:
        """It happened now. Returns how often it did within so many milliseconds."""
        now = self._clock.monotonic()
        if not self._slices or now - self._begun > window_ms / 1000 / _SLICES:
            self._begun = now
            self._slices.append((now, Counter()))
        counts = self._slices[-1][1]
        counts[reason] += 1
        self._slices[-1] = (now, counts)
        self._total += 1
        return self.total(window_ms)

    def total(self, window_ms: int) -> int:
        """How often, within so many milliseconds."""
        oldest = self._clock.monotonic() - window_ms / 1000
        while self._slices and self._slices[0][0] <= oldest:
            self._total -= self._slices.popleft()[1].total()
        return self._total

    def top(self, window_ms: int, most: int = 3) -> tuple[tuple[str, int], ...]:
        """The most frequent reasons."""
        self.total(window_ms)
        found: Counter[str] = Counter()
        for _, counts in self._slices:
            found.update(counts)
        return tuple(found.most_common(most))
