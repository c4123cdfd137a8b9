"""The wall clock is set while the dispatcher works, by an hour and by a day: no stampede, and nothing stands still.

libfaketime gives the process a wall clock of its own, which the test sets; its monotonic clock is the machine's. The
test measures with the machine's monotonic clock too.
"""

from __future__ import annotations

import asyncio
import functools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from notification_dispatcher import metric_names as names
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.ledger import SEED
from tests.faults.timing import Arrivals, Stream
from tests.faults.wall_clock import WallClock, tidied_up
from tests.metrics import Scrape

HOUR = 3600
DAY = 24 * HOUR
PAUSE = 4
"""Seconds that a destination asks for with Retry-After."""
WINDOW = 10.0
"""Seconds for which a key is remembered."""
PROMPTLY = 2.0
PLACES = 8
"""Of the receiver that can be stopped."""
SETTINGS = {
    "NOTIFICATION_LOG_LEVEL": "info",
    "NOTIFICATION_DEDUP_WINDOW_MS": str(round(WINDOW * 1000)),
    "NOTIFICATION_RETRY_INITIAL_BACKOFF_MS": "1000",
}


class Desk:
    """A dispatcher with a clock of its own, and what it delivers to."""

    def __init__(self, process: DispatcherProcess, clock: WallClock, receiver: Arrivals, slow: Arrivals) -> None:
        self.process = process
        self.clock = clock
        self.receiver = receiver
        self.slow = slow
        """A second receiver, which can be stopped."""
        self.types = {"fresh", "uneven", "slow", *LATER}
        """Those whose times are checked."""

    async def post(self, job_type: str, *ids: str, **more: Any) -> list[str]:
        """Post jobs; the status of each."""
        answer = await self.process.post([{"type": job_type, "id": one, "payload": {}, **more} for one in ids])
        assert answer.status_code == 202, answer.text
        return [one["status"] for one in answer.json()["results"]]

    async def check_promptly(self, name: str) -> None:
        """A new job is delivered at once."""
        assert await self.post("fresh", name) == ["queued"]
        await self.receiver.until_all("fresh", [name], PROMPTLY)

    def came(self, deliveries: int) -> bool:
        """Whether so many came to those who ask for a pause."""
        return sum(map(self.receiver.count, LATER)) >= deliveries

    def pauses(self) -> list[float]:
        """How long each job that was told to come later stayed away."""
        return [
            times[1] - times[0]
            for channel, jobs in self.receiver.times.items()
            if channel.startswith("later")
            for times in jobs.values()
            if len(times) > 1
        ]

    async def check_back_offs(self, deliveries: int) -> None:
        """Those who were told to come later do, after as long as they were told; up to a second of jitter is added."""
        await self.receiver.until(functools.partial(self.came, deliveries), PAUSE + 1 + PROMPTLY)
        assert min(self.pauses()) >= PAUSE
        assert max(self.pauses()) <= PAUSE + 1 + PROMPTLY

    async def check(self) -> None:
        """Whatever the clock did, nothing that is measured shows it."""
        scrape = await Scrape.of(self.process.url)
        for metric, job_type in product((names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS), self.types):
            # Nothing here takes a minute: an hour too many would be above.
            count = scrape.total(f"{metric}_count", job_type=job_type)
            assert scrape.total(f"{metric}_bucket", job_type=job_type, le="60000.0") == count, (metric, job_type)
        assert scrape.total(names.OLDEST_JOB_AGE_SECONDS) < 60
        assert scrape.total(names.DEAD_JOBS) == 0
        assert "bug" not in self.actions

    @property
    def actions(self) -> set[str]:
        """What was logged."""
        return {line["action"] for line in self.process.lines() if "action" in line}

    def check_noticed(self) -> None:
        """Each jump was logged, once."""
        noticed = [line["by_ms"] / 1000 for line in self.process.lines() if line.get("action") == "clock_set"]
        assert noticed == pytest.approx(self.clock.jumps, abs=0.5)


LATER = [f"later-{number}" for number in range(5)]
"""So many destinations that ask for a pause: none has enough failures for its circuit to open."""


def later(job: str, time: int) -> web.Response:
    """Each job comes too early at first, but for those that are welcome."""
    if job.startswith("welcome"):
        return web.Response(status=204)
    return web.Response(status=503, headers={"Retry-After": str(PAUSE)}) if time == 1 else web.Response(status=204)


@asynccontextmanager
async def desk(folder: Path, **settings: str) -> AsyncIterator[Desk]:
    """Everything for one test."""
    clock = WallClock(folder)
    async with Arrivals().listening() as receiver, Arrivals().listening() as slow:
        receiver.answers |= dict.fromkeys(LATER, later)
        channels = list(map(receiver.channel, ("fresh", "timed", "uneven", *LATER)))
        channels.append(slow.channel("slow", concurrency=PLACES))
        types = [{"name": one["name"], "channels": [one["name"]]} for one in channels]
        routing = {"channels": channels, "jobTypes": types}
        async with dispatcher(folder, routing, **SETTINGS, **clock.variables, **settings) as process:
            with tidied_up(process.process.pid):
                yield Desk(process, clock, receiver, slow)
                assert await process.end() == 0


@pytest.mark.parametrize(
    ("first", "second"), [(HOUR, -HOUR), (-HOUR, 2 * HOUR), (DAY, -DAY)], ids=["an-hour-on", "an-hour-back", "a-day-on"]
)
async def test_everything_that_waits_keeps_its_time(tmp_path: Path, first: int, second: int) -> None:
    async with desk(tmp_path) as it:
        it.slow.open.clear()
        in_flight = [f"slow-{number}" for number in range(PLACES)]
        await it.post("slow", *in_flight)
        await it.post("timed", "in half an hour", deliverAt=it.clock.after(HOUR / 2))
        await it.post("timed", "in two days", deliverAt=it.clock.after(2 * DAY))
        began = time.monotonic()
        await it.check_promptly("once")
        for channel in LATER:
            await it.post(channel, *(f"{channel}-{number}" for number in range(8)))
        await it.slow.until_all("slow", in_flight, PROMPTLY)
        await it.process.until(names.RETRIES_TOTAL, 40)

        it.clock.jump(first)
        await it.check_promptly("after the first")
        assert await it.post("fresh", "once") == ["deduplicated"]
        if first > 0:
            # What was meant for a time of day is due when the clock says so.
            await it.receiver.until_all("timed", ["in half an hour"], PROMPTLY)
        it.slow.open.set()
        await it.process.until(names.ACTIVE_JOBS, 0)

        it.clock.jump(second)
        await it.check_promptly("after the second")
        await it.receiver.until_all("timed", ["in half an hour"], PROMPTLY)
        assert await it.post("fresh", "once") == ["deduplicated"]
        assert time.monotonic() - began < WINDOW, "the machine was too slow for this test"

        await it.check_back_offs(80)
        await asyncio.sleep(began + WINDOW + 0.5 - time.monotonic())
        assert await it.post("fresh", "once") == ["queued"]
        await it.receiver.until(lambda: len(it.receiver.times["fresh"]["once"]) == 2, PROMPTLY)
        scrape = await it.process.until(names.JOBS_TOTAL, PLACES + 40 + 1 + 4, result="processed")
        assert scrape.total(names.QUEUE_DEPTH) == scrape.total(names.SCHEDULED_JOBS) == 1
        assert it.receiver.times["timed"].keys() == {"in half an hour"}
        assert [len(times) for times in it.slow.times["slow"].values()] == [1] * PLACES
        await it.check()
        it.check_noticed()


@pytest.mark.parametrize("jump", [HOUR, -HOUR, DAY])
async def test_one_that_is_idle_notices_by_itself(tmp_path: Path, jump: int) -> None:
    """Nobody posts anything: what waits comes in its time all the same."""
    async with desk(tmp_path) as it:
        await it.post("timed", "in half an hour", deliverAt=it.clock.after(HOUR / 2))
        await it.post("later-0", "one")
        await it.process.until(names.RETRIES_TOTAL, 1)
        it.clock.jump(jump)
        await it.receiver.until(lambda: it.receiver.count("later-0") == 2, PAUSE + 1 + PROMPTLY)
        assert PAUSE <= it.pauses()[0] <= PAUSE + 1 + PROMPTLY
        if jump > 0:
            # It looks at its clock every five seconds.
            await it.receiver.until_all("timed", ["in half an hour"], 5 + PROMPTLY)
        await it.process.until(names.QUEUE_DEPTH, 0 if jump > 0 else 1)
        await it.check()
        it.check_noticed()


async def test_refused_while_it_is_set_a_job_keeps_its_back_off(tmp_path: Path) -> None:
    """Between an attempt's end and its storing, the clock is set: no job comes back at once, or an hour late."""
    rounds = 6
    async with desk(tmp_path) as it:
        for number in range(rounds):
            names_of = {channel: [f"{channel}-{number}-{n}" for n in range(8)] for channel in LATER}
            before = sum(map(it.receiver.count, LATER))
            batch = [{"type": channel, "id": job, "payload": {}} for channel in LATER for job in names_of[channel]]
            await it.process.post(batch)
            # Some were answered, the next arrive, and none is stored for long.
            await it.receiver.until(functools.partial(it.came, before + 20), PROMPTLY)
            it.clock.jump(HOUR if number % 2 else -HOUR)
            await it.process.until(names.RETRIES_TOTAL, 40 * (number + 1))
            # One that is taken, so that no circuit opens.
            for channel in LATER:
                await it.post(channel, f"welcome-{channel}-{number}")
                await it.receiver.until_all(channel, [f"welcome-{channel}-{number}"], PROMPTLY)
        await it.check_back_offs((2 * 40 + len(LATER)) * rounds)
        await it.check()
        assert "alert_firing" not in it.actions
        it.check_noticed()


@pytest.mark.parametrize("jump", [HOUR, -HOUR, DAY])
async def test_jobs_that_are_claimed_and_not_started_have_not_waited_longer(tmp_path: Path, jump: int) -> None:
    async with desk(tmp_path) as it:
        it.slow.open.clear()
        jobs = [f"slow-{number}" for number in range(40)]
        await it.post("slow", *jobs)
        await it.slow.until(lambda: it.slow.count("slow") == PLACES, PROMPTLY)
        began = time.monotonic()
        it.clock.jump(jump)
        await it.check_promptly("beside them")
        waited_ms = (time.monotonic() - began) * 1000
        it.slow.open.set()
        await it.slow.until_all("slow", jobs, 5)
        scrape = await it.process.until(names.JOBS_TOTAL, len(jobs) + 1, result="processed")
        # And no hour too few: those that were held back have waited as long as this test has.
        told = scrape.total(f"{names.JOB_WAIT_DURATION_MS}_sum", job_type="slow")
        assert told >= (len(jobs) - PLACES) * waited_ms
        await it.check()
        assert "alert_firing" not in it.actions


async def test_a_job_whose_time_was_jumped_over_has_not_waited_since(tmp_path: Path) -> None:
    async with desk(tmp_path) as it:
        it.types = {"timed"}
        await it.post("timed", "in half an hour", deliverAt=it.clock.after(HOUR / 2))
        it.clock.jump(HOUR)
        await it.check_promptly("after it")
        await it.receiver.until_all("timed", ["in half an hour"], PROMPTLY)
        await it.process.until(names.JOBS_TOTAL, 2, result="processed")
        await it.check()
        assert "alert_firing" not in it.actions


async def test_set_again_and_again_under_load(tmp_path: Path) -> None:
    """Whatever runs at that moment: nothing is left for an hour later, or comes an hour early."""
    dice = random.Random(SEED)
    async with desk(tmp_path, NOTIFICATION_RETRY_MAX_ATTEMPTS="100") as it:
        it.receiver.answers["uneven"] = lambda job, time: web.Response(
            status=503 if time < 3 and int(job.rpartition("-")[2]) % 3 == 0 else 204
        )
        stream = Stream(it.process.url, "uneven", 150)
        sending = asyncio.create_task(stream.run(6))
        while not sending.done():
            await asyncio.sleep(dice.uniform(0.05, 0.2))
            it.clock.jump(dice.choice([HOUR, -HOUR, DAY, -DAY]))
        await sending
        assert stream.statuses.keys() == {202}
        await it.check_promptly("after it all")
        told = f"FAULT_SEED={SEED}: {len(it.clock.jumps)} jumps"
        scrape = await it.process.until(names.QUEUE_DEPTH, 0)
        assert it.receiver.times["uneven"].keys() == stream.posted.keys(), told
        assert scrape.total(names.JOBS_TOTAL, result="failed") == 0, told
        await it.check()
        assert "alert_firing" not in it.actions
