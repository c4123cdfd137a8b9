"""Notices that stay on the board of a pipeline's dispatchers until Slack has them. `fleet_alerts` keeps them there.

One dispatcher at a time has a notice to send, and says so again while it tries; once it says nothing for a while,
another takes its place. So nothing is lost with whoever was to send it. If it ends before it has said that it sent one,
that one comes twice.
"""

from __future__ import annotations

from typing import Protocol

import msgspec

from notification_dispatcher.job import new_id
from notification_dispatcher.metric_names import Alert
from notification_dispatcher.notices import Notice, instead_of

_TAKEN_SECONDS = 30.0


class Sender(Protocol):
    """Who sends a dispatcher's notices."""

    def replace(self, notice: Notice) -> None:
        """Take a notice to be sent, in place of an older one of the same alert. Never waits."""

    def drop(self, alert: Alert) -> None:
        """Another sends it: have nothing to do with it any more."""

    def waits(self, alert: Alert) -> bool:
        """Whether a notice of this alert is still to be sent."""

    def suppressed(self, alert: Alert, times: int) -> None:
        """Count those that the cooldown keeps back."""


class KeptNotice(msgspec.Struct):
    """A notice on the board."""

    id: str
    notice: Notice
    by: str
    """The dispatcher that is to send it."""
    until: float
    """Others leave it to that one until then, in seconds of the board's clock."""


class FleetNotices:
    """The board's notices, as one dispatcher sees them."""

    def __init__(self, me: str, sender: Sender) -> None:
        self.kept: dict[Alert, KeptNotice] = {}
        self.leaving = False
        self._me = me
        self._sender = sender
        self._passed_on: dict[Alert, KeptNotice] = {}
        """Those that the sender was given, as they were on the board when it was last heard of."""

    def go_on_from(self, kept: dict[Alert, KeptNotice], now: float) -> None:
        """Remember these; but what was sent is over, and what nobody sends any more is to be sent from here."""
        self.kept = {alert: one for alert, one in kept.items() if not self._sent(alert, one)}
        for one in self.kept.values():
            # Not after a time that is long to come, if the clock was set back.
            one.until = min(one.until, now + _TAKEN_SECONDS)
            mine = one.by == self._me
            if one.until - now <= (_TAKEN_SECONDS / 2 if mine else 0) or (mine and self.leaving):
                self._take(one, now)

    def add(self, notice: Notice, now: float) -> None:
        """Keep one more. Whoever was to send the one before it sends this one instead."""
        before = self.kept.get(notice.alert)
        if before is None:
            self.kept[notice.alert] = added = KeptNotice(new_id(), notice, self._me, now)
            self._take(added, now)
        else:
            before.id, before.notice = new_id(), instead_of(before.notice, notice)

    def pass_on(self, now: float) -> None:
        """What is on the board holds: give the sender what it has not got, and take from it what is another's."""
        mine = {alert: one for alert, one in self.kept.items() if one.by == self._me}
        for alert in self._passed_on.keys() - mine.keys():
            # What is gone before its time, a program that knows no notices has erased: nobody else sends it.
            if alert in self.kept or self._passed_on[alert].until <= now:
                self._sender.drop(alert)
        for alert, one in mine.items():
            if not self._has(alert, one):
                self._sender.replace(one.notice)
        self._passed_on = mine

    def _sent(self, alert: Alert, one: KeptNotice) -> bool:
        return one.by == self._me and self._has(alert, one) and not self._sender.waits(alert)

    def _has(self, alert: Alert, one: KeptNotice) -> bool:
        """Whether it is what the sender was given."""
        given = self._passed_on.get(alert)
        return given is not None and given.id == one.id

    def _take(self, one: KeptNotice, now: float) -> None:
        """Send it from here; or let another, if this one ends."""
        one.by, one.until = ("", now) if self.leaving else (self._me, now + _TAKEN_SECONDS)
