"""The time of day, as a port: `status` stamps transitions with it, and tests bring their own."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """What time it is."""

    def now_rfc3339(self) -> str:
        """Now, in UTC, to the second: `2026-01-31T12:00:00Z`."""


class SystemClock:
    """The machine's own clock."""

    def now_rfc3339(self) -> str:
        """Now, in UTC, to the second."""
        return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
