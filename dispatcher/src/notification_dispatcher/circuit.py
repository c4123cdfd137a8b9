"""A circuit breaker: spares a destination that is down, and the jobs their attempts. `lanes` has one for each channel.

Closed, everything passes. After so many failures in a row it opens: nothing passes for a while. Then a single delivery
is let through to probe; it closes the circuit, or opens it for twice as long. Source: Nygard, Release It!, 2007.
"""

from __future__ import annotations

import random

from notification_dispatcher.channels.base import Delivery, Outcome
from notification_dispatcher.metric_names import FailureReason

_FAILURES = 10
_FIRST_SECONDS = 1.0
_LONGEST_SECONDS = 60.0
_LONGEST_PAUSE_SECONDS = 300.0
_PROBE_SECONDS = 0.25
_LONGEST_PROBE_SECONDS = 5.0
"""When those who came while a probe was under way ask again: the longer it is, the later."""

_DOWN = {
    FailureReason.TIMEOUT,
    FailureReason.CONNECTION,
    FailureReason.TLS,
    FailureReason.HTTP_5XX,
    FailureReason.UNKNOWN,
}
"""What says that the destination is in trouble, or no more than that it failed, as Apprise does. A refusal does not: it
answered."""


class Circuit:
    """One destination's. Times are monotonic seconds."""

    def __init__(self, dice: random.Random) -> None:
        self._dice = dice
        self._failures = 0
        self._backoff = _FIRST_SECONDS
        self._blocked_until = 0.0
        self._probing = False
        self._probed = 0.0
        self.open = False

    def wait(self, now: float) -> float:
        """Seconds until it is worth asking again; 0: go."""
        if now < self._blocked_until:
            return self._blocked_until - now
        if not self._probing:
            return 0.0
        return min(max(_PROBE_SECONDS, now - self._probed), _LONGEST_PROBE_SECONDS)

    def start(self, now: float) -> None:
        """A delivery begins. While the circuit is open, it is the probe."""
        self._probing, self._probed = self.open, now

    def abandoned(self) -> None:
        """A delivery was broken off, and says nothing."""
        self._probing = False

    def ended(self, delivery: Delivery, now: float) -> None:
        """A delivery came to this."""
        if delivery.outcome is Outcome.RETRY and delivery.reason in _DOWN:
            self._failures += 1
            # While it is open, those that were under way when it opened do not count.
            if self._probing if self.open else self._failures >= _FAILURES:
                self._trip(now)
        elif delivery.reason is not FailureReason.NOT_CONFIGURED:
            self._failures, self._backoff, self.open = 0, _FIRST_SECONDS, False
            if delivery.outcome is Outcome.RETRY and delivery.retry_after_ms:
                # It asks for a pause, and means everybody.
                pause = min(delivery.retry_after_ms / 1000, _LONGEST_PAUSE_SECONDS)
                self._blocked_until = max(self._blocked_until, now + pause)
        self._probing = False

    def _trip(self, now: float) -> None:
        self.open = True
        # Up to a quarter more, so that the replicas do not probe in step.
        self._blocked_until = now + self._backoff * (1 + self._dice.random() / 4)
        self._backoff = min(2 * self._backoff, _LONGEST_SECONDS)
