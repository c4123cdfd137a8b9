"""A dispatcher without a process: the parts as `run` puts them together, a virtual clock, channels that obey."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prometheus_client import generate_latest

from notification_dispatcher import settings_source
from notification_dispatcher.app import Parts
from notification_dispatcher.channels.base import DELIVERED, Channel, Delivery, Outcome
from notification_dispatcher.channels.http import HttpClient
from notification_dispatcher.clock import Clock, VirtualClock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.job import Lease
from notification_dispatcher.messages import ItemResult
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.queues.memory import MemoryQueue
from notification_dispatcher.routes import InForce, Routes
from notification_dispatcher.run import make_parts
from tests.metrics import Scrape

CHANNELS: list[dict[str, Any]] = [
    {"name": "crm", "webhook": {"url": "https://crm.example.com/hooks"}, "concurrency": 1024},
    {"name": "team", "slack": {"webhookSecretRef": {"name": "slack", "key": "team"}}, "concurrency": 1024},
]
JOB_TYPES: list[dict[str, Any]] = [
    {"name": "booking-created", "priority": "High", "channels": ["crm"]},
    {"name": "instructor-rated", "channels": ["crm"], "retry": {"maxAttempts": 2}},
    {"name": "refund-requested", "channels": ["crm", "team"]},
]
ROUTING = {"channels": CHANNELS, "jobTypes": JOB_TYPES}

AGAIN = Delivery(Outcome.RETRY, FailureReason.HTTP_5XX, "answered 503")
REFUSED = Delivery(Outcome.FAILED, FailureReason.HTTP_4XX, "answered 410")


class FakeBoard:
    """A board in memory, on a time that the test moves."""

    def __init__(self) -> None:
        self.written = b""
        self.now_ms = 1_750_000_000_000
        self.broken = False
        self.unheard = False

    async def change(self, by: Callable[[bytes, int], bytes]) -> None:
        if self.broken:
            # As when the end of a transaction is not heard of: it was asked, and holds not.
            by(self.written, self.now_ms)
            raise QueueUnavailableError("down")
        self.written = by(self.written, self.now_ms)
        if self.unheard:
            raise QueueUnavailableError("no answer")


class SharedQueue(MemoryQueue):
    """One that others could use as well."""

    @property
    def board(self) -> FakeBoard:  # type: ignore[override]
        return self._on

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._on = FakeBoard()


class FakeChannel:
    """Answers as it is told: `script` first, then `always`. A number is a time to take, an exception is raised."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.script: list[Delivery | Exception | float] = []
        self.always: Delivery | Exception | float = DELIVERED
        self.taken: list[Lease] = []
        self.most = 0
        self._now = 0

    async def deliver(self, job: Lease) -> Delivery:
        self.taken.append(job)
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._answer(self.script.pop(0) if self.script else self.always)
        finally:
            self._now -= 1

    async def _answer(self, answer: Delivery | Exception | float) -> Delivery:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Delivery):
            return answer
        await self._clock.sleep(answer)
        return DELIVERED


@dataclass
class Rig:
    """The parts, and hands to move them."""

    parts: Parts
    clock: VirtualClock
    crm: FakeChannel
    team: FakeChannel
    running: list[asyncio.Task[None]] = field(default_factory=list)

    async def take(self, *items: Mapping[str, Any]) -> list[ItemResult]:
        """Post items."""
        return (await self.parts.intake.take(json.dumps({"notifications": items}).encode())).results

    async def put(self, *ids: str, job_type: str = "booking-created") -> None:
        """Post jobs that are queued."""
        results = await self.take(*({"type": job_type, "id": name, "payload": {}} for name in ids))
        assert {result.status for result in results} == {"queued"}

    def start(self, drain_seconds: float = 5) -> asyncio.Task[None]:
        """Let the worker run."""
        task = asyncio.create_task(self.parts.worker.run(drain_seconds), name="worker")
        self.running.append(task)
        return task

    async def settle(self) -> None:
        """Let everything happen that can without time passing."""
        for _ in range(100):
            await asyncio.sleep(0)

    async def pass_time(self, seconds: float, step: float = 1.0) -> None:
        """Let time pass, and everything happen that it brings."""
        await self.settle()
        while seconds > 0:
            self.clock.advance(min(step, seconds))
            seconds -= step
            await self.settle()

    def scrape(self) -> Scrape:
        """The metrics."""
        return Scrape(generate_latest(self.parts.metrics.registry).decode())


@asynccontextmanager
async def rigged(
    folder: Path,
    routing: Mapping[str, Any] = ROUTING,
    make_queue: Callable[[Clock], JobQueue] = MemoryQueue,
    /,
    **variables: str,
) -> AsyncIterator[Rig]:
    """A rig with these settings, by variable."""
    (folder / "pipeline.json").write_text(json.dumps(routing))
    settings = settings_source.read({"NOTIFICATION_CONFIG_DIR": str(folder), **variables})
    clock = VirtualClock()
    crm, team = FakeChannel(clock), FakeChannel(clock)
    names = {channel.name for channel in settings.live.routing.channels}
    channels: dict[str, Channel] = {name: channel for name, channel in (("crm", crm), ("team", team)) if name in names}
    async with HttpClient(clock) as client:
        in_force = InForce(settings, Routes(settings.live), channels)
        rig = Rig(make_parts(in_force, make_queue(clock), client, clock), clock, crm, team)
        try:
            yield rig
        finally:
            rig.parts.worker.stop()
            for task in rig.running:
                task.cancel()
            ended = asyncio.gather(*rig.running, return_exceptions=True)
            while not ended.done():
                await rig.pass_time(1)
