"""Slack answers 429 for a while, or nothing at all: no job notices, and once it is back, no alert was lost.

A minute is made shorter here, as Retry-After and the limits allow; FAULT_SECONDS lengthens each measurement.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import pytest
from aiohttp import web

from notification_dispatcher import metric_names as names
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.timing import Arrivals, Stream, p99_ms
from tests.metrics import Scrape
from tests.serving import served

SECONDS = max(3.0, float(os.environ.get("FAULT_SECONDS", "0")) / 10)
RETRY_AFTER = 2
THRESHOLD = 5
LATENCY_MS = 400
CAPACITY = 300
ROOM_MS = 25.0
"""Half as much again as before is allowed, or as this: see FLOOR_MS in test_isolation."""
SETTINGS = {
    "NOTIFICATION_LOG_LEVEL": "info",
    "NOTIFICATION_WORKER_CONCURRENCY": "16",
    "NOTIFICATION_QUEUE_CAPACITY": str(CAPACITY),
    "NOTIFICATION_QUEUE_OVERFLOW": "reject",
    "NOTIFICATION_ALERT_FAILURE_THRESHOLD": str(THRESHOLD),
    "NOTIFICATION_ALERT_BACKLOG_THRESHOLD": "50",
    "NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS": str(LATENCY_MS),
    "NOTIFICATION_ALERT_COOLDOWN_MS": "120000",
    "NOTIFICATION_ALERT_ALLOW_PRIVATE_ADDRESSES": "true",
}


class Slack:
    """An incoming webhook that has better and worse days."""

    def __init__(self) -> None:
        self.url = ""
        self.day = "good"
        """`good`, `quota` (429) or `hang`."""
        self.taken: list[dict[str, Any]] = []
        self.refused: list[float] = []
        """Monotonic seconds at which something came that was not taken."""
        self._came = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Be there while the block runs."""
        application = web.Application()
        application.router.add_post("/hook", self._take)
        async with served(application, shutdown_timeout=0.1) as server:
            self.url = f"{server}/hook"
            yield self

    async def until(self, enough: Callable[[], bool], seconds: float) -> None:
        """Wait for messages. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(enough)

    @property
    def titles(self) -> list[str]:
        """What was taken: `[FIRING] High wait` and so on."""
        return [body["text"].partition(" \N{EN DASH} ")[0] for body in self.taken]

    async def _take(self, request: web.Request) -> web.Response:
        body, day = await request.json(), self.day
        if day == "good":
            self.taken.append(body)
        else:
            self.refused.append(time.monotonic())
        async with self._came:
            self._came.notify_all()
        if day == "hang":
            # Also when the day gets better: this one is not answered any more.
            await asyncio.Event().wait()
        if day == "quota":
            return web.Response(status=429, headers={"Retry-After": str(RETRY_AFTER)})
        return web.Response(text="ok")


class Desk:
    """A dispatcher, what it delivers to, and its Slack."""

    def __init__(self, process: DispatcherProcess, receiver: Arrivals, slack: Slack) -> None:
        self.process = process
        self.receiver = receiver
        self.slack = slack
        self.good = 0
        self.strict = 0

    async def fail(self, count: int) -> None:
        """Post jobs that fail for good."""
        first, self.strict = self.strict, self.strict + count
        jobs = [{"type": "strict", "id": f"strict-{first + n}", "payload": {}} for n in range(count)]
        assert (await self.process.post(jobs)).status_code == 202
        await self.process.until(names.JOB_FAILURES_TOTAL, self.strict, reason="http_4xx")

    async def p99_ms(self, job_type: str, beside: str) -> float:
        """Of jobs at an even pace, beside a few of another type."""
        stream, other = Stream(self.process.url, job_type, 100), Stream(self.process.url, beside, 10)
        other.skip(self.strict)
        await asyncio.gather(stream.run(SECONDS), other.run(SECONDS))
        await self.receiver.until_all("good", stream.posted, 5)
        self.good += len(stream.posted)
        if beside == "strict":
            self.strict += len(other.posted)
        else:
            self.good += len(other.posted)
        return p99_ms(stream.posted, self.receiver.times["good"])

    async def too_many(self) -> None:
        """Post more than there is room for, of a type that goes slowly: a backlog, refusals and waits."""
        jobs = [{"type": "limited", "id": f"limited-{n}", "payload": {}} for n in range(CAPACITY + 100)]
        results = (await self.process.post(jobs)).json()["results"]
        queued = {one["id"] for one in results if one["status"] == "queued"}
        assert CAPACITY <= len(queued) < len(jobs)
        await self.receiver.until_all("good", queued, 10)
        self.good += len(queued)

    async def slowly(self) -> None:
        """Let one delivery take longer than the threshold."""
        self.receiver.open.clear()
        assert (await self.process.post([{"type": "a", "id": "slow", "payload": {}}])).status_code == 202
        await self.receiver.until_all("good", ["slow"], 5)
        await asyncio.sleep(1.5 * LATENCY_MS / 1000)
        self.receiver.open.set()
        self.good += 1


@asynccontextmanager
async def desk(folder: Path, **settings: str) -> AsyncIterator[Desk]:
    """Everything for one test."""
    async with Arrivals().listening() as receiver, Slack().listening() as slack:
        receiver.answers["strict"] = lambda _, __: web.Response(status=400)
        types = [
            *({"name": name, "channels": ["good"]} for name in ("a", "b", "c")),
            {"name": "limited", "channels": ["good"], "rateLimit": {"perSecond": 100, "burst": 1}},
            {"name": "strict", "channels": ["strict"]},
        ]
        routing = {"channels": [receiver.channel("good"), receiver.channel("strict")], "jobTypes": types}
        made = {**SETTINGS, "SLACK_ALERT_WEBHOOK_URL": slack.url, **settings}
        async with dispatcher(folder, routing, **made) as process:
            yield Desk(process, receiver, slack)


def check_alerts(scrape: Scrape, slack: Slack) -> None:
    """What is counted is what Slack saw."""
    assert scrape.total(names.ALERTS_TOTAL, outcome="sent") == len(slack.taken)
    assert scrape.total(names.ALERTS_TOTAL, outcome="failed") == len(slack.refused)


CONDITIONS = ["Failure spike", "Backlog growth", "High wait", "Capacity drops"]


@pytest.mark.parametrize("day", ["quota", "hang"])
async def test_jobs_do_not_notice_and_every_alert_arrives_later(tmp_path: Path, day: str) -> None:
    async with desk(tmp_path) as it:
        before = await it.p99_ms("a", beside="c")
        it.slack.day = day
        await it.fail(THRESHOLD)
        await it.slack.until(lambda: bool(it.slack.refused), 5)
        during = await it.p99_ms("b", beside="strict")
        await it.too_many()
        expected = list(CONDITIONS)
        if day == "quota":
            await it.slowly()
            expected.append("High duration")
            await it.slack.until(lambda: len(it.slack.refused) >= 4, 10)
        else:
            # The sender gives up after ten seconds, which is nobody's High Duration.
            await it.process.until(names.ALERTS_TOTAL, 1, outcome="failed")
        scrape = await it.process.until(names.JOBS_TOTAL, it.good, result="processed")
        assert it.slack.taken == [], "every job was done before Slack was back"
        print(f"p99 in ms: {before:.1f} before, {during:.1f} during {day}")  # noqa: T201  -s shows it
        assert during <= 1.5 * max(before, ROOM_MS), (before, during)
        assert scrape.total(names.ALERTS_TOTAL, outcome="suppressed", alert="failure_spike") > 0
        it.slack.day = "good"
        await it.slack.until(lambda: len(it.slack.taken) >= len(expected), 15)
        # Each condition once, however often it occurred; and nothing about alerts that could not be sent.
        assert sorted(it.slack.titles) == sorted(f"[FIRING] {one}" for one in expected)
        scrape = await it.process.until(names.ALERTS_TOTAL, len(expected), outcome="sent")
        check_alerts(scrape, it.slack)
        assert scrape.total(names.JOBS_TOTAL, result="failed") == it.strict
        pauses = [after - one for one, after in zip(it.slack.refused, it.slack.refused[1:], strict=False)]
        assert all(one >= RETRY_AFTER for one in pauses), pauses


async def test_what_was_over_before_slack_was_back_is_told_all_the_same(tmp_path: Path) -> None:
    settings = {"NOTIFICATION_ALERT_COOLDOWN_MS": "1000", "NOTIFICATION_ALERT_FAILURE_WINDOW_MS": "1000"}
    async with desk(tmp_path, **settings) as it:
        it.slack.day = "quota"
        # The first notice waits for Slack; that it is over takes its place, and brings its count along.
        await it.fail(THRESHOLD)
        await it.slack.until(lambda: bool(it.slack.refused), 5)
        await it.fail(THRESHOLD)
        await it.process.until_logged("alert_resolved")
        assert it.slack.taken == []
        it.slack.day = "good"
        await it.slack.until(lambda: bool(it.slack.taken), 10)
        (message,) = it.slack.taken
        assert it.slack.titles == ["[RESOLVED] Failure spike"]
        assert "more since the last message" in str(message)
        check_alerts(await it.process.until(names.ALERTS_TOTAL, 1, outcome="sent"), it.slack)
