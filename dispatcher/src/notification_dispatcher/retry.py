"""When a failed delivery is tried again: exponential back-off with full jitter, capped; Retry-After is obeyed.

`worker` asks. Source of full jitter: Exponential Backoff And Jitter, AWS Architecture Blog, 2015.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_RETRY_AFTER_MS = 60 * 60 * 1000
"""A receiver that asks for more is asked again after an hour all the same."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and how fast. Times in milliseconds."""

    max_attempts: int
    initial_backoff_ms: int
    max_backoff_ms: int

    def pause_ms(self, attempt: int, retry_after_ms: int | None, dice: random.Random) -> int | None:
        """Milliseconds until the next attempt after this one (1 for the first) failed; None: it was the last."""
        if attempt >= self.max_attempts:
            return None
        longest = min(self.initial_backoff_ms * 2 ** min(attempt - 1, 40), self.max_backoff_ms)
        drawn = dice.randint(0, longest)
        if retry_after_ms is None:
            return drawn
        # What the receiver asks for comes first; the jitter on top spreads those who were told the same.
        return min(retry_after_ms, LONGEST_RETRY_AFTER_MS) + min(drawn, 1000)


def parse_retry_after(value: str | None, now_ms: int) -> int | None:
    """Milliseconds that a Retry-After header asks for, in seconds or as a date. None when it says nothing usable.

    Source: RFC 9110, section 10.2.3.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(int(text[:10]) * 1000, LONGEST_RETRY_AFTER_MS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0, min(round(moment.timestamp() * 1000) - now_ms, LONGEST_RETRY_AFTER_MS))
