"""Sends alerts to Slack, in a queue of its own: Slack can be down, slow or answer 429 without touching a job.

At most one message a second; Retry-After is obeyed; while it waits, only the latest notice of each alert is kept, so
what is pending never grows. `run` lets it run; `alerts` and the API's test give it notices.
"""

from __future__ import annotations

import asyncio

import msgspec
import structlog

from notification_dispatcher.channels.base import Delivery, Outcome
from notification_dispatcher.channels.http import HttpClient, Request, timed_out
from notification_dispatcher.clock import Clock
from notification_dispatcher.metric_names import Alert, AlertOutcome, FailureReason
from notification_dispatcher.metrics import Metrics
from notification_dispatcher.notices import Notice, Occurrence, Status, instead_of, message_of
from notification_dispatcher.routes import InForce

logger = structlog.get_logger(__name__)

_INTERVAL_SECONDS = 1.0
_TIMEOUT_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 60.0


class SlackAlerts:
    """The queue of notices, and the one who sends them."""

    def __init__(self, client: HttpClient, clock: Clock, in_force: InForce, metrics: Metrics) -> None:
        self._client = client
        self._clock = clock
        self._in_force = in_force
        self._metrics = metrics
        self._pending: dict[Alert, Notice] = {}
        self._arrived = asyncio.Event()
        self._turn = asyncio.Lock()
        self._failures = 0
        self._next_at = 0.0

    def send(self, notice: Notice) -> None:
        """Take a notice. An older one of the same alert that still waits is replaced."""
        older = self._pending.get(notice.alert)
        self.replace(notice if older is None else instead_of(older, notice))

    def replace(self, notice: Notice) -> None:
        """Take a notice which says all that an older one of the same alert did."""
        if self._in_force.live.alert_url is None:
            return
        self.drop(notice.alert)
        self._pending[notice.alert] = notice
        self._arrived.set()

    def drop(self, alert: Alert) -> None:
        """Another dispatcher sends it."""
        self._pending.pop(alert, None)

    def waits(self, alert: Alert) -> bool:
        """Whether a notice of this alert is still to be sent."""
        return alert in self._pending

    def suppressed(self, alert: Alert, times: int) -> None:
        """Count those that the cooldown keeps back."""
        self._metrics.alert(alert, AlertOutcome.SUPPRESSED, times)

    async def run(self) -> None:
        """Send what arrives, for ever."""
        while True:
            await self._arrived.wait()
            await self._send_next()
            await self._clock.sleep(self._pause())

    async def flush(self) -> None:
        """Send what is pending before the process ends, unless Slack has asked to be left alone."""
        try:
            while self._pending and self._pause() <= _INTERVAL_SECONDS:
                await self._clock.sleep(self._pause())
                await self._send_next()
        finally:
            for alert in self._pending:
                logger.warning("alert not sent before the end", action="alert_left", alert=alert.value)

    async def test(self, depth: int, active: int) -> Delivery | None:
        """Send a test alert now, and say what came of it; None where no webhook is configured."""
        url = self._in_force.live.alert_url
        if url is None:
            return None
        occurrence = Occurrence(value="this is a test")
        delivery = await self._post(url, Notice(Alert.TEST, Status.TEST, occurrence, depth, active))
        self._count(Alert.TEST, delivery)
        return delivery

    async def _send_next(self) -> None:
        """Send one notice, and note when the next may be sent."""
        url = self._in_force.live.alert_url
        if url is None or not self._pending:
            # The webhook was taken away while they waited.
            self._pending.clear()
            self._arrived.clear()
            return
        alert, notice = next(iter(self._pending.items()))
        delivery = await self._post(url, notice)
        self._count(alert, delivery)
        if delivery.outcome is not Outcome.RETRY and self._pending.get(alert) is notice:
            del self._pending[alert]
        if not self._pending:
            self._arrived.clear()
        self._next_at = self._clock.monotonic() + self._interval(delivery)

    async def _post(self, url: str, notice: Notice) -> Delivery:
        body = msgspec.json.encode(message_of(notice, self._in_force.settings))
        headers = {"Content-Type": "application/json"}
        request = Request(url, body, headers, self._in_force.live.alert_allow_private)
        async with self._turn:
            try:
                async with asyncio.timeout(_TIMEOUT_SECONDS):
                    return await self._client.post(request)
            except TimeoutError:
                return timed_out(_TIMEOUT_SECONDS)

    def _count(self, alert: Alert, delivery: Delivery) -> None:
        if delivery.outcome is Outcome.DELIVERED:
            self._metrics.alert(alert, AlertOutcome.SENT)
            logger.info("alert sent", action="alert_sent", alert=alert.value)
            return
        self._metrics.alert(alert, AlertOutcome.FAILED)
        logger.warning(
            "alert not sent",
            action="alert_not_sent",
            alert=alert.value,
            reason=(delivery.reason or FailureReason.UNKNOWN).value,
            why=delivery.detail,
            again=delivery.outcome is Outcome.RETRY,
        )

    def _pause(self) -> float:
        """Seconds until the next may be sent."""
        return max(0.0, self._next_at - self._clock.monotonic())

    def _interval(self, delivery: Delivery) -> float:
        if delivery.outcome is not Outcome.RETRY:
            self._failures = 0
            return _INTERVAL_SECONDS
        self._failures += 1
        if delivery.retry_after_ms is not None:
            return max(_INTERVAL_SECONDS, delivery.retry_after_ms / 1000)
        return min(_INTERVAL_SECONDS * 2.0 ** min(self._failures, 10), _LONGEST_PAUSE_SECONDS)
