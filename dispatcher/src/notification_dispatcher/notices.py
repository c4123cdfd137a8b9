"""An alert on its way: what is said, and its form in Slack. `alerts` makes notices, `slack_alerts` sends them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from notification_dispatcher import slack_blocks
from notification_dispatcher.metric_names import Alert
from notification_dispatcher.settings import Live, Settings

_COLOURS = {"firing": "#d5392b", "resolved": "#2f9e58", "test": "#4a7ebb"}

_TITLES = {
    Alert.FAILURE_SPIKE: "Failure spike",
    Alert.BACKLOG_GROWTH: "Backlog growth",
    Alert.HIGH_WAIT: "High wait",
    Alert.HIGH_DURATION: "High duration",
    Alert.CAPACITY_DROPS: "Capacity drops",
    Alert.TEST: "Test alert",
}


class Status(StrEnum):
    """What a notice says of its alert."""

    FIRING = "firing"
    RESOLVED = "resolved"
    TEST = "test"


@dataclass(frozen=True, slots=True)
class Occurrence:
    """What made an alert fire."""

    value: str = ""
    job_type: str = ""
    job_id: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message."""

    alert: Alert
    status: Status
    occurrence: Occurrence
    depth: int
    active: int
    reasons: tuple[tuple[str, int], ...] = ()
    suppressed: int = 0
    """Occurrences since the last message that were not told."""
    seconds: float = 0.0
    """How long it has been firing."""


def instead_of(older: Notice, newer: Notice) -> Notice:
    """The newer one, which counts the older one too: that was not sent."""
    return replace(newer, suppressed=newer.suppressed + older.suppressed + 1)


def message_of(notice: Notice, settings: Settings) -> dict[str, Any]:
    """A notice as Slack shows it."""
    live, fixed = settings.live, settings.fixed
    title = f"[{notice.status.upper()}] {_TITLES[notice.alert]} \N{EN DASH} {fixed.namespace}/{fixed.name}"
    runbook = live.runbook_url.replace("{alert}", notice.alert.value)
    blocks = [
        slack_blocks.header(title),
        slack_blocks.fields([(name, value) for name, value in _facts(notice, live) if value]),
        *slack_blocks.buttons([("Dashboard", live.dashboard_url), ("Runbook", runbook)]),
        slack_blocks.context(_footnote(notice, live)),
    ]
    text = f"{title}: {notice.occurrence.value}" if notice.occurrence.value else title
    return slack_blocks.message(text, blocks, _COLOURS[notice.status])


def _facts(notice: Notice, live: Live) -> list[tuple[str, str]]:
    occurrence = notice.occurrence
    return [
        ("Value", occurrence.value),
        ("Threshold", _threshold(notice.alert, live)),
        ("Window", _seconds(live.failure_window_ms) if notice.alert in _WINDOWED else ""),
        ("Queue depth", str(notice.depth)),
        ("Active jobs", str(notice.active)),
        ("Job type", occurrence.job_type),
        ("Example job", occurrence.job_id),
        ("Top reasons", ", ".join(f"{reason} {count}" for reason, count in notice.reasons)),
        ("Fired for", f"{notice.seconds:.0f} s" if notice.status is Status.RESOLVED else ""),
    ]


_WINDOWED = {Alert.FAILURE_SPIKE, Alert.CAPACITY_DROPS}


def _threshold(alert: Alert, live: Live) -> str:
    match alert:
        case Alert.FAILURE_SPIKE:
            return f"{live.failure_threshold} failures"
        case Alert.BACKLOG_GROWTH:
            return f"{live.backlog_threshold} jobs"
        case Alert.HIGH_WAIT | Alert.HIGH_DURATION:
            return f"{live.latency_threshold_ms:,} ms"
        case Alert.CAPACITY_DROPS:
            return f"any, at a capacity of {live.capacity}"
        case _:
            return ""


def _footnote(notice: Notice, live: Live) -> str:
    if notice.status is Status.TEST:
        return "Sent by hand, to see that alerts arrive."
    more = f"{notice.suppressed} more since the last message. " if notice.suppressed else ""
    return f"{more}At most one such message in {_seconds(live.cooldown_ms)}."


def _seconds(milliseconds: int) -> str:
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes} min" if minutes and not rest else f"{milliseconds / 1000:g} s"
