"""A load on three pipelines that makes every state happen, and the counts which it must leave behind.

`bookings` sees everything at once: a backlog, retries, failures of several kinds, an open circuit, duplicates, invalid
notifications, evictions, slow deliveries, a rejected change of its settings. `lessons`, in another namespace, has a
little of it. `quiet` dies.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp import web

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import Alert
from notification_operator.spec.alert_rules import AlertName
from tests.controller.pipelines import parsed
from tests.dispatcher.dispatcher_process import DispatcherProcess
from tests.metrics import Scrape
from tests.observability.product import Product
from tests.pod import free_port
from tests.receivers import Receivers
from tests.serving import served

CAPACITY = 60
WORKERS = 8
LATENCY_MS = 250
BACKLOG = 10
FAILURES = 5
_NEVER = "720h"

PROCESSED = {"booking-created": 20, "lesson-completed": 8}
FAILED = {"instructor-rated": ("http_4xx", 6), "refund-requested": ("http_5xx", 4), "invoice-sent": ("connection", 3)}
DUPLICATES = 5
INVALID = 3
UNKNOWN = 2
SPARED = 12
"""Jobs whose first attempt fails, and whose second one isn't due for days: ten open the circuit."""
SCHEDULED = 3
HELD = 80
"""Some are being delivered all the time, by every worker that there is; those behind them fill the queue."""
LESSONS = 7


class Destinations:
    """A server with a path for each way in which deliveries end."""

    def __init__(self) -> None:
        self._released = asyncio.Event()
        self._server = ""

    def url(self, mood: str) -> str:
        """Where deliveries end in this way."""
        return f"{self._server}/{mood}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen, and let everything go in the end."""
        application = web.Application()
        application.add_routes([web.post("/{mood}", self._answer)])
        async with served(application) as self._server:
            try:
                yield
            finally:
                self.release()

    def release(self) -> None:
        """Let what is held go, and hold nothing any more."""
        self._released.set()

    async def _answer(self, request: web.Request) -> web.Response:
        mood = request.match_info["mood"]
        if mood == "holds":
            await self._released.wait()
        if mood == "slow":
            await asyncio.sleep(1.5 * LATENCY_MS / 1000)
        return web.Response(status={"refuses": 410, "breaks": 503, "down": 503}.get(mood, 204))


JOB_TYPES: list[dict[str, Any]] = [
    {"name": "booking-created", "channels": ["takes"]},
    {"name": "lesson-completed", "channels": ["slow"], "concurrency": 1},
    {"name": "instructor-rated", "channels": ["refuses"]},
    {"name": "refund-requested", "channels": ["breaks"], "retry": {"maxAttempts": 2, "initialBackoff": "10ms"}},
    {"name": "invoice-sent", "channels": ["gone"], "retry": {"maxAttempts": 1}},
    {"name": "voucher-issued", "channels": ["down"], "retry": {"initialBackoff": _NEVER, "maxBackoff": _NEVER}},
    {"name": "newsletter-sent", "channels": ["holds"], "timeout": "1h"},
]
AT_ONCE = {
    name.value: {"for": "0s"}
    for name in (AlertName.BACKLOG_GROWTH, AlertName.HIGH_WAIT, AlertName.HIGH_DURATION, AlertName.DISPATCHER_DOWN)
}
MONITORING = {
    "serviceMonitor": {"interval": "1s", "scrapeTimeout": "1s"},
    "prometheusRule": {"slo": {"minEvents": 10}},
}


class Products(NamedTuple):
    """The three pipelines."""

    bookings: Product
    lessons: Product
    quiet: Product


def products(destinations: Destinations, slack_url: str) -> Products:
    """The pipelines that deliver to these."""
    slack = {"webhookSecretRef": {"name": "slack", "key": "url"}, "allowPrivateAddresses": True}
    alerts: dict[str, Any] = {"slack": slack, "rules": AT_ONCE}
    takes, *others = (
        _webhook(mood, destinations.url(mood)) for mood in ("takes", "slow", "refuses", "breaks", "down", "holds")
    )
    bookings = parsed(
        "bookings",
        "shop",
        channels=[takes, *others, _webhook("gone", f"http://127.0.0.1:{free_port()}/")],
        jobTypes=JOB_TYPES,
        workers={"concurrency": WORKERS},
        unknownJobTypes="Reject",
        queue={"capacity": CAPACITY},
        alerts={
            **alerts,
            "failureThreshold": FAILURES,
            "failureWindow": "1m",
            "backlogThreshold": BACKLOG,
            "latencyThreshold": f"{LATENCY_MS}ms",
        },
        monitoring=MONITORING,
    )
    common: dict[str, Any] = {"channels": [takes], "alerts": alerts, "monitoring": MONITORING}
    lessons = parsed("lessons", "school", jobTypes=[{"name": "lesson-completed"}], **common)
    quiet = parsed("quiet", "shop", **common)
    return Products(*(Product(pipeline, slack_url) for pipeline in (bookings, lessons, quiet)))


def _webhook(name: str, url: str) -> dict[str, Any]:
    # None is limited by its channel: who waits for a limit comes and goes, and so would the depth.
    return {"name": name, "webhook": {"url": url, "allowPrivateAddresses": True}, "concurrency": WORKERS}


@dataclass(frozen=True)
class Running:
    """The pipelines' dispatchers."""

    products: Products
    processes: Sequence[DispatcherProcess]
    folder: Path

    @property
    def scrapes(self) -> list[dict[str, Any]]:
        """How they are scraped."""
        return [
            product.scrape_config(process.url.removeprefix("http://"))
            for product, process in zip(self.products, self.processes, strict=True)
        ]


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    """The three, idle."""
    async with AsyncExitStack() as stack:
        slack = await stack.enter_async_context(Receivers())
        destinations = Destinations()
        await stack.enter_async_context(destinations.listening())
        made = products(destinations, slack.slack_url("alerts"))
        given = Running(made, [product.dispatcher(folder / product.pipeline.name) for product in made], folder)
        for process in given.processes:
            await process.start()
            stack.push_async_callback(process.end, signal.SIGKILL)
        yield given


async def load(given: Running) -> Scrape:
    """Make it all happen. Returns the metrics of `bookings` when it has."""
    bookings, lessons, quiet = given.processes
    await quiet.end(signal.SIGKILL)
    await lessons.post(list(_items("lesson-completed", LESSONS)))
    await lessons.until(names.JOBS_TOTAL, LESSONS, result="processed")

    await _change_settings(bookings, given.products.bookings, given.folder / "bookings")
    await _end_jobs(bookings)
    await _open_a_circuit(bookings)
    await _fill_the_queue(bookings)
    for alert in set(Alert) - {Alert.TEST}:
        await bookings.until(names.ALERTS_TOTAL, 1, alert=alert, outcome="sent")
    return await Scrape.of(bookings.url)


async def _change_settings(dispatcher: DispatcherProcess, product: Product, folder: Path) -> None:
    """One change is refused, the next is taken up."""
    product.configure(folder, NOTIFICATION_ALERT_COOLDOWN_MS=b"soon")
    await dispatcher.until(names.CONFIG_RELOADS_TOTAL, 1, result="rejected")
    product.configure(folder, NOTIFICATION_ALERT_COOLDOWN_MS=b"600000")
    await dispatcher.until(names.CONFIG_RELOADS_TOTAL, 1, result="applied")


async def _end_jobs(dispatcher: DispatcherProcess) -> None:
    """Jobs of every end but eviction, and items that never become jobs."""
    delivered = [item for name, number in PROCESSED.items() for item in _items(name, number)]
    failing = [item for name, (_, number) in FAILED.items() for item in _items(name, number)]
    invalid = [{"type": "booking-created", "payload": "not an object"}] * INVALID
    unknown = list(_items("newly-invented", UNKNOWN))
    await dispatcher.post([*delivered, *failing, *invalid, *unknown])
    await dispatcher.post(delivered[:DUPLICATES])
    await dispatcher.until(names.JOBS_TOTAL, sum(number for _, number in FAILED.values()), result="failed")
    await dispatcher.until(names.JOBS_TOTAL, sum(PROCESSED.values()), result="processed")


async def _open_a_circuit(dispatcher: DispatcherProcess) -> None:
    await dispatcher.post(list(_items("voucher-issued", SPARED - 2)))
    await dispatcher.until(names.CIRCUIT_OPEN, 1, channel="down")
    # These two wait for it; then each is let through to probe, and fails.
    await dispatcher.post(list(_items("voucher-issued", 2)))
    await dispatcher.until(names.RETRIES_TOTAL, SPARED, job_type="voucher-issued")


async def _fill_the_queue(dispatcher: DispatcherProcess) -> None:
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    await dispatcher.post(list(_items("booking-created", SCHEDULED, deliverAt=later)))
    await dispatcher.post(list(_items("newsletter-sent", HELD)))
    await dispatcher.until(names.ACTIVE_JOBS, WORKERS)


_numbers = count()


def _items(job_type: str, number: int, **fields: str) -> Iterator[dict[str, Any]]:
    for _ in range(number):
        yield {"type": job_type, "id": f"{job_type}-{next(_numbers)}", "payload": {"student": "Ada"}, **fields}
