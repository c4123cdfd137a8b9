"""Both ends of the pipeline, outside the dispatcher: what was sent, what was acknowledged, what arrived.

The accounting is that of Jepsen's queue checker (https://github.com/jepsen-io/jepsen, `checker/total-queue`): with
attempted A, acknowledged E and delivered D, lost = E - D and unexpected = D - A, and both must be empty once everything
was drained. Deliveries beyond the first are duplicates: at least once allows those that ran when a process ended.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
from aiohttp import web

from tests.serving import served

JOB_TYPE = "booking-created"
SEED = int(os.environ.get("FAULT_SEED", "20260611"))
"""Repeats a run's load and moments. A failure names it."""


CONCURRENCY = 16
IN_FLIGHT = 2 * CONCURRENCY
"""What may be delivered twice after a crash: what ran, and as many again that had ended and were not yet stored."""
SETTINGS = {
    "NOTIFICATION_WORKER_CONCURRENCY": str(CONCURRENCY),
    "NOTIFICATION_QUEUE_CAPACITY": "1000000",
    "NOTIFICATION_RETRY_MAX_ATTEMPTS": "100",
    "NOTIFICATION_RETRY_INITIAL_BACKOFF_MS": "10",
    "NOTIFICATION_RETRY_MAX_BACKOFF_MS": "200",
    "NOTIFICATION_LOG_LEVEL": "warning",
}
"""A dispatcher's, while it is killed again and again."""


class Ledger:
    """What is known of every job at both ends."""

    def __init__(self) -> None:
        self.attempted: set[str] = set()
        self.acknowledged: set[str] = set()
        self.delivered: Counter[str] = Counter()

    @property
    def lost(self) -> set[str]:
        """Acknowledged, and never delivered."""
        return self.acknowledged - self.delivered.keys()

    @property
    def unexpected(self) -> set[str]:
        """Delivered, and never sent."""
        return self.delivered.keys() - self.attempted

    @property
    def duplicates(self) -> int:
        """Deliveries beyond the first."""
        return self.delivered.total() - len(self.delivered)

    def check(self, crashes: int) -> None:
        """The books balance, after so many crashes."""
        told = f"FAULT_SEED={SEED}: {len(self.acknowledged)} acknowledged, {self.duplicates} duplicates"
        assert self.lost == set(), told
        assert self.unexpected == set(), told
        assert self.duplicates <= IN_FLIGHT * crashes, told


class Receiver:
    """The far end: takes deliveries, some of them slowly, some only at the second time."""

    def __init__(self, ledger: Ledger, dice: random.Random) -> None:
        self.url = ""
        self.seconds = 0.0
        """So long every delivery takes."""
        self.moody = True
        """Whether some are refused at first, and some take longer."""
        self.hanging = asyncio.Event()
        """As long as it isn't set, nothing is answered."""
        self.hanging.set()
        self.status = 204
        self.last: bytes = b""
        """The body that came last."""
        self.ledger = ledger
        self._dice = dice
        self._refused: set[str] = set()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Receiver]:
        """Take deliveries while the block runs."""
        application = web.Application()
        application.router.add_post("/{name:.*}", self._take)
        async with served(application, backlog=1024, shutdown_timeout=0.1) as server:
            self.url = f"{server}/"
            yield self

    def channel(self, name: str = "crm") -> dict[str, Any]:
        """The channel that leads here."""
        return {"name": name, "webhook": {"url": self.url + name, "allowPrivateAddresses": True}}

    async def _take(self, request: web.Request) -> web.Response:
        self.last = await request.read()
        await self.hanging.wait()
        if self.seconds:
            await asyncio.sleep(self.seconds)
        if self.status >= 300:
            return web.Response(status=self.status, headers={"Retry-After": "1"})
        job = (await request.json()).get("id", "")
        if self.moody and job not in self._refused and self._dice.random() < 0.05:
            self._refused.add(job)
            return web.Response(status=500)
        if self.moody and self._dice.random() < 0.05:
            await asyncio.sleep(0.02)
        self.ledger.delivered[job] += 1
        return web.Response(status=204)


class Sender:
    """The near end: posts batches as a caller would, and again when it was not told what became of one."""

    def __init__(self, ledger: Ledger, url: str, name: str, dice: random.Random) -> None:
        self._ledger = ledger
        self._url = url
        self._name = name
        self._dice = dice
        self._stopping = False
        self.answers: Counter[int] = Counter()
        """The statuses of the answers; 0 where none came."""

    def stop(self) -> None:
        """Send no more. `run` returns when what was sent last was answered, or can't be."""
        self._stopping = True

    async def run(self, per_second: float) -> None:
        """Post about so many jobs a second until `stop`."""
        number = 0
        async with httpx.AsyncClient(base_url=self._url, trust_env=False, timeout=10) as client:
            while not self._stopping:
                size = self._dice.randint(1, 10)
                ids = [f"{self._name}-{number + one}" for one in range(size)]
                number += size
                while not await self.post(client, ids) and not self._stopping:  # noqa: ASYNC110  as callers retry
                    await asyncio.sleep(self._dice.uniform(0.01, 0.05))
                await asyncio.sleep(size / per_second)

    async def post(self, client: httpx.AsyncClient, ids: list[str]) -> bool:
        """Post one batch; whether it was acknowledged."""
        self._ledger.attempted.update(ids)
        batch = [{"type": JOB_TYPE, "id": one, "payload": {"of": self._name}} for one in ids]
        try:
            answer = await client.post("/api/notifications", json={"notifications": batch})
        except httpx.TransportError:
            self.answers[0] += 1
            return False
        self.answers[answer.status_code] += 1
        if answer.status_code != 202:
            return False
        taken = {"queued", "deduplicated"}
        self._ledger.acknowledged.update(one["id"] for one in answer.json()["results"] if one["status"] in taken)
        return True


@asynccontextmanager
async def sending(senders: Sequence[Sender], per_second: float) -> AsyncIterator[None]:
    """Let them send about so many jobs a second together, while the block runs."""
    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(sender.run(per_second / len(senders)))
        try:
            yield
        finally:
            for sender in senders:
                sender.stop()
