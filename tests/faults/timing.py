"""Both ends of the pipeline by the clock: when each job was posted, what was answered, and when it arrived.

Senders are open loops: they post at their pace whatever becomes of what they posted, as callers do who know nothing of
each other. Both ends read the monotonic clock of the test's own process.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Self

import aiohttp
from aiohttp import web

from tests.serving import served

Answer = Callable[[str, int], web.Response]
"""What a receiver answers to a job, of which this is the so manieth delivery."""


def taken(_job: str, _time: int) -> web.Response:
    """The answer of a receiver that works."""
    return web.Response(status=204)


class Arrivals:
    """A receiver with a path for each channel, that notes when each delivery came."""

    def __init__(self) -> None:
        self.times: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        """Channel → job → monotonic seconds of each delivery, whatever it was answered."""
        self.answers: dict[str, Answer] = {}
        """How a channel answers, where it doesn't just take everything."""
        self.open = asyncio.Event()
        """As long as it isn't set, nothing is answered."""
        self.open.set()
        self._url = ""
        self._came = asyncio.Condition()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Take deliveries while the block runs."""
        application = web.Application()
        application.router.add_post("/{channel}", self._take)
        async with served(application, backlog=1024, shutdown_timeout=0.1) as server:
            self._url = f"{server}/"
            yield self

    def channel(self, name: str, **more: Any) -> dict[str, Any]:
        """A channel that leads here."""
        return webhook(name, self._url + name, **more)

    def count(self, channel: str) -> int:
        """How many deliveries came through a channel."""
        return sum(map(len, self.times[channel].values()))

    async def until(self, enough: Callable[[], bool], seconds: float) -> None:
        """Wait for deliveries. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self._came:
            await self._came.wait_for(enough)

    async def until_all(self, channel: str, jobs: Iterable[str], seconds: float) -> None:
        """Wait until each of these jobs came through a channel. Raises TimeoutError."""
        wanted = set(jobs)
        await self.until(lambda: wanted <= self.times[channel].keys(), seconds)

    async def _take(self, request: web.Request) -> web.Response:
        now, channel = time.monotonic(), request.match_info["channel"]
        job = (await request.json())["id"]
        times = self.times[channel][job]
        times.append(now)
        async with self._came:
            self._came.notify_all()
        await self.open.wait()
        return self.answers.get(channel, taken)(job, len(times))


class Stream:
    """Jobs of one type at an even pace."""

    def __init__(self, url: str, job_type: str, per_second: float, batch: int = 1) -> None:
        self._url = url
        self._type = job_type
        self._pause = batch / per_second
        self._batch = batch
        self._first = 0
        self.payload: dict[str, Any] = {}
        self.repeats = False
        """Whether each batch ends with its first job once more."""
        self.posted: dict[str, float] = {}
        """Job → monotonic seconds at which it was posted."""
        self.statuses: Counter[int] = Counter()
        """Of the answers; 0 where none came."""
        self.answers: list[tuple[int, Any, list[dict[str, Any]]]] = []
        """Status, headers and results of each 429."""
        self.results: Counter[tuple[str, str]] = Counter()
        """Status and reason of each item that was answered for."""
        self.queued: set[str] = set()

    async def run(self, seconds: float) -> None:
        """Post for so long, and wait for the answers."""
        connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(total=20)
        async with (
            aiohttp.ClientSession(self._url, connector=connector, timeout=timeout) as session,
            asyncio.TaskGroup() as group,
        ):
            began = time.monotonic()
            for turn in range(math.ceil(seconds / self._pause)):
                # By the clock and not by the last turn: a late one is made up for.
                await asyncio.sleep(max(0.0, began + turn * self._pause - time.monotonic()))
                group.create_task(self._post(session, self._next()))

    def skip(self, count: int) -> None:
        """Number the jobs from here: those before were posted by somebody else."""
        self._first = count

    def _next(self) -> list[dict[str, Any]]:
        """A batch of new jobs."""
        first, now = self._first + len(self.posted), time.monotonic()
        ids = [f"{self._type}-{number}" for number in range(first, first + self._batch)]
        self.posted |= dict.fromkeys(ids, now)
        if self.repeats:
            ids.append(ids[0])
        return [{"type": self._type, "id": one, "payload": self.payload} for one in ids]

    async def _post(self, session: aiohttp.ClientSession, batch: list[dict[str, Any]]) -> None:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with session.post("/api/notifications", json={"notifications": batch}) as answer:
                self.statuses[answer.status] += 1
                if answer.status not in {202, 429}:
                    return
                results = (await answer.json(content_type=None))["results"]
                if answer.status != 202:
                    self.answers.append((answer.status, answer.headers, results))
                for one in results:
                    self.results[one["status"], one.get("reason", "")] += 1
                    if one["status"] == "queued":
                        self.queued.add(one["id"])
                return
        self.statuses[0] += 1


def webhook(name: str, url: str, **more: Any) -> dict[str, Any]:
    """A channel of the pipeline file."""
    return {"name": name, "webhook": {"url": url, "allowPrivateAddresses": True}, **more}


def p99_ms(posted: dict[str, float], arrived: dict[str, list[float]]) -> float:
    """The 99th percentile of the time from being posted to arriving; a job that didn't counts as infinitely late."""
    waits = [(arrived[job][0] - at) * 1000 if job in arrived else math.inf for job, at in posted.items()]
    # Of the infinite, quantiles would make "not a number": so the smallest value that 99 % do not exceed.
    return sorted(waits)[math.ceil(len(waits) * 0.99) - 1]


def median(values: Iterable[float]) -> float:
    """The middle of some measurements: what one noisy second did doesn't count."""
    return statistics.median(values)
