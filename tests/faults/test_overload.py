"""Ten times what can be delivered, under a cap on memory: it stays bounded, says no, and every job is accounted for.

FAULT_SECONDS lengthens the load.
"""

from __future__ import annotations

import asyncio
import os
import random
import resource
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import aiohttp
import httpx
import pytest

from notification_dispatcher import metric_names as names
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.ledger import JOB_TYPE, Ledger, Receiver
from tests.faults.timing import Stream
from tests.metrics import Scrape

SECONDS = max(30.0, float(os.environ.get("FAULT_SECONDS", "0")))
PLACES = 16
DELIVERY_SECONDS = 0.05
PER_SECOND = 12 * PLACES / DELIVERY_SECONDS
"""Twelve times what the receiver can take in the best case, for ten times what it takes."""
BATCH = 50
CAPACITY = 2000
PAYLOAD = {"text": "x" * 2000}
MARGIN = 64 * 2**20
"""Above what the process takes at rest. The load brings three times as many bytes: whoever keeps them hits the cap."""
SETTINGS = {
    "NOTIFICATION_WORKER_CONCURRENCY": str(PLACES),
    "NOTIFICATION_QUEUE_CAPACITY": str(CAPACITY),
    "NOTIFICATION_LOG_LEVEL": "warning",
}


class Watch:
    """Looks at a process once a second: its memory, its queue, and how fast its probes are answered."""

    def __init__(self, process: DispatcherProcess) -> None:
        self._process = process
        self.rss: list[float] = []
        """MiB."""
        self.depths: list[float] = []
        self.probes: list[tuple[int, float]] = []
        """Status and seconds."""

    async def run(self) -> None:
        """Look, for ever; a look that fails is noted as a probe that does."""
        while True:
            began = time.monotonic()
            try:
                await self._look()
            except (aiohttp.ClientError, httpx.HTTPError, OSError, KeyError):
                self.probes.append((0, time.monotonic() - began))
            await asyncio.sleep(1)

    async def _look(self) -> None:
        self.rss.append(kib(self._process, "VmRSS") / 1024)
        async with aiohttp.ClientSession(self._process.url) as session:
            for path in ("/readyz", "/healthz"):
                began = time.monotonic()
                async with session.get(path) as answer:
                    self.probes.append((answer.status, time.monotonic() - began))
        self.depths.append((await Scrape.of(self._process.url)).total(names.QUEUE_DEPTH))

    def told(self) -> str:
        """The curve."""
        return "RSS in MiB: " + " ".join(f"{one:.0f}" for one in self.rss)


def flat(rss: Sequence[float]) -> bool:
    """Whether the last third of the time needed no more than the middle one, but for 10 % or 5 MiB."""
    third = len(rss) // 3
    middle, last = statistics.mean(rss[third : 2 * third]), statistics.mean(rss[2 * third :])
    return last <= max(1.1 * middle, middle + 5)


def kib(process: DispatcherProcess, field: str) -> int:
    """A size from the process's status."""
    for line in Path(f"/proc/{process.process.pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1])
    raise KeyError(field)


def cap(process: DispatcherProcess) -> None:
    """From now on, it gets no more than a little above what it has."""
    most = kib(process, "VmSize") * 1024 + MARGIN
    resource.prlimit(process.process.pid, resource.RLIMIT_AS, (most, most))
    limits = Path(f"/proc/{process.process.pid}/limits").read_text()
    assert f"Max address space {most} {most} bytes" in " ".join(limits.split())


def stream(process: DispatcherProcess) -> Stream:
    """The load."""
    made = Stream(process.url, JOB_TYPE, PER_SECOND, BATCH)
    made.payload, made.repeats = PAYLOAD, True
    return made


async def watched(process: DispatcherProcess, load: Stream, seconds: float) -> Watch:
    """Let the load run, and look at the process."""
    watch = Watch(process)
    looking = asyncio.create_task(watch.run(), name="watch")
    try:
        await load.run(seconds)
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
    return watch


async def at_rest(process: DispatcherProcess) -> Scrape:
    """The numbers, once nothing changes any more: a scrape in the middle of things sees them half counted."""
    before = await Scrape.of(process.url)
    async with asyncio.timeout(10):
        while True:
            await asyncio.sleep(0.1)
            after = await Scrape.of(process.url)
            if books(after) == books(before) and after.total(names.ACTIVE_JOBS) in {0, PLACES}:
                return after
            before = after


def books(scrape: Scrape) -> Mapping[str, float]:
    """What the identity is about."""
    found = {one.value: scrape.total(names.JOBS_TOTAL, result=one) for one in names.Result}
    return {
        **found,
        "evicted": scrape.total(names.JOBS_DROPPED_TOTAL, reason="capacity"),
        "rejected": scrape.total(names.JOBS_DROPPED_TOTAL, reason="rejected"),
        "depth": scrape.total(names.QUEUE_DEPTH),
        "active": scrape.total(names.ACTIVE_JOBS),
    }


def check_books(scrape: Scrape, load: Stream) -> None:
    """The two identities, and both ends agree on them."""
    book = books(scrape)
    ended = book["processed"] + book["failed"] + book["evicted"]
    assert book["queued"] == ended + book["depth"] + book["active"], book
    assert book["dropped"] == book["evicted"] + book["rejected"], book
    assert load.results.total() == book["queued"] + book["deduplicated"] + book["rejected"], (book, load.results)
    assert load.results["queued", ""] == book["queued"]
    assert load.results["deduplicated", ""] == book["deduplicated"] > 0
    assert load.results["dropped", "rejected"] == book["rejected"]


def check_load(watch: Watch, load: Stream, delivered: int) -> None:
    """It was an overload, and bounded."""
    assert len(load.posted) >= 10 * delivered, f"only {len(load.posted)} posted, and {delivered} delivered"
    assert len(watch.rss) > SECONDS / 2
    assert flat(watch.rss), watch.told()
    # Those that are claimed and not started wait on top of it: no more than end in half a second.
    assert max(watch.depths) <= CAPACITY + PLACES + PLACES / DELIVERY_SECONDS / 2
    assert {status for status, _ in watch.probes} == {200}
    assert max(seconds for _, seconds in watch.probes) < 1
    # Each post was answered, and with one of these two.
    assert load.statuses.keys() <= {202, 429}, load.statuses


def check_refusals(load: Stream) -> None:
    """A refusal says so for each item, and when to come again."""
    assert load.answers
    for status, headers, results in load.answers:
        assert status == 429
        assert int(headers["Retry-After"]) >= 1
        assert len(results) == BATCH + 1
        assert {(one["status"], one["reason"]) for one in results} == {("dropped", "rejected")}


@pytest.mark.parametrize("overflow", ["reject", "evict-oldest"])
async def test_ten_times_too_much_for_long(tmp_path: Path, overflow: str) -> None:
    ledger = Ledger()
    async with Receiver(ledger, random.Random()).listening() as receiver:
        receiver.moody, receiver.seconds = False, DELIVERY_SECONDS
        routing = {"channels": [receiver.channel()]}
        async with dispatcher(tmp_path, routing, NOTIFICATION_QUEUE_OVERFLOW=overflow, **SETTINGS) as process:
            cap(process)
            load = stream(process)
            watch = await watched(process, load, SECONDS)
            print(watch.told())  # noqa: T201  -s shows it
            check_load(watch, load, ledger.delivered.total())
            # In the middle of the work, held still: something waits, and something runs.
            receiver.hanging.clear()
            scrape = await at_rest(process)
            assert scrape.total(names.QUEUE_DEPTH) > 0
            assert scrape.total(names.ACTIVE_JOBS) == PLACES
            check_books(scrape, load)
            receiver.hanging.set()
            for metric in (names.QUEUE_DEPTH, names.SCHEDULED_JOBS, names.ACTIVE_JOBS):
                await process.until(metric, 0)
            scrape = await at_rest(process)
            check_books(scrape, load)
        ledger.attempted, ledger.acknowledged = set(load.posted), load.queued
        check_ledger(ledger, scrape)
        if overflow == "reject":
            check_refusals(load)
        else:
            assert scrape.total(names.JOBS_DROPPED_TOTAL, reason="capacity") > 0
            assert load.statuses.keys() == {202}


def check_ledger(ledger: Ledger, scrape: Scrape) -> None:
    """Each accepted job was delivered once, but for those that were evicted."""
    assert ledger.duplicates == 0
    assert ledger.delivered.keys() <= ledger.acknowledged, "something was delivered that was refused"
    assert scrape.total(names.JOBS_TOTAL, result="failed") == 0
    assert len(ledger.lost) == scrape.total(names.JOBS_DROPPED_TOTAL, reason="capacity")


async def test_the_cap_ends_whoever_keeps_it_all(tmp_path: Path) -> None:
    """The same load and the same cap, on a queue in memory without a bound: the test above can fail."""
    async with Receiver(Ledger(), random.Random()).listening() as receiver:
        receiver.moody, receiver.seconds = False, DELIVERY_SECONDS
        routing = {"channels": [receiver.channel()]}
        settings = SETTINGS | {"NOTIFICATION_QUEUE_ENGINE": "memory", "NOTIFICATION_QUEUE_CAPACITY": "10000000"}
        async with dispatcher(tmp_path, routing, **settings) as process:
            cap(process)
            load = stream(process)
            watch = await watched(process, load, 10)
            print(watch.told(), load.statuses)  # noqa: T201  -s shows it
            assert load.statuses.keys() - {202, 429}, load.statuses
            # It grew until the cap stopped it.
            assert not flat([one for one in watch.rss if one < max(watch.rss) - 2]), watch.told()
