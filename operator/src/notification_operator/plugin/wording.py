"""How times, numbers and verdicts are written for people. Used by `status`, `top` and `logs`."""

from __future__ import annotations

from datetime import UTC, datetime


def span(seconds: float) -> str:
    """A time as kubectl writes it: 12s, 5m, 3h, 2d."""
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * length:
            return f"{int(seconds // length)}{unit}"
    return f"{int(seconds)}s"


def age(since: str, now: datetime) -> str:
    """How long ago a time of the API was; empty for none."""
    return span(max(0.0, (now - datetime.fromisoformat(since)).total_seconds())) if since else ""


def now() -> datetime:
    """The time."""
    return datetime.now(UTC)


def rate(per_second: float) -> str:
    """A rate, as exact as it matters."""
    return f"{per_second:.0f}" if per_second >= 100 or per_second == 0 else f"{per_second:.1f}"
