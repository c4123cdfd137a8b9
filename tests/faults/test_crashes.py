"""Nothing acknowledged is lost, wherever the process ends: by SIGKILL at every point, at any time, and by SIGTERM.

The load and the moments follow a seed; FAULT_SEED repeats a run, and a failure names it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from notification_dispatcher import metric_names as names
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.launcher import POINTS, POISON
from tests.faults.ledger import CONCURRENCY, IN_FLIGHT, JOB_TYPE, SEED, SETTINGS, Ledger, Receiver, Sender, sending
from tests.metrics import Scrape

LAUNCHER = (sys.executable, "-m", "tests.faults.launcher", "run")


class Load:
    """A dispatcher, its receiver and its senders, with everything noted."""

    def __init__(self, process: DispatcherProcess, ledger: Ledger, receiver: Receiver, dice: random.Random) -> None:
        self.process = process
        self.ledger = ledger
        self.receiver = receiver
        self.senders = [Sender(ledger, process.url, f"s{number}", random.Random(dice.random())) for number in range(4)]

    def sending(self, per_second: float) -> AbstractAsyncContextManager[None]:
        """Let every sender send while the block runs."""
        return sending(self.senders, per_second)

    async def drained(self) -> Scrape:
        """Wait until nothing waits or runs any more, at two looks: between two states, a job may be in neither."""
        idle = 0
        async with asyncio.timeout(30):
            while True:
                scrape = await Scrape.of(self.process.url)
                left = sum(map(scrape.total, (names.QUEUE_DEPTH, names.SCHEDULED_JOBS, names.ACTIVE_JOBS)))
                idle = 0 if left else idle + 1
                if idle == 2:
                    return scrape
                await asyncio.sleep(0.05)


@asynccontextmanager
async def load(folder: Path, dice: random.Random) -> AsyncIterator[Load]:
    """Everything for one run."""
    ledger = Ledger()
    async with Receiver(ledger, random.Random(dice.random())).listening() as receiver:
        routing = {"channels": [receiver.channel()]}
        async with dispatcher(folder, routing, command=LAUNCHER, **SETTINGS) as process:
            yield Load(process, ledger, receiver, dice)


async def died(process: DispatcherProcess) -> None:
    """Wait until the process has killed itself."""
    async with asyncio.timeout(20):
        assert await process.process.wait() == -signal.SIGKILL


@pytest.mark.parametrize("point", POINTS)
async def test_killed_at_each_point(tmp_path: Path, point: str) -> None:
    dice = random.Random(f"{SEED} {point}")
    async with load(tmp_path, dice) as run:
        await run.process.end(signal.SIGKILL)
        moments = [1, 2, dice.randint(3, 60)]
        async with run.sending(300):
            for moment in moments:
                # It may get there while it starts: then it is never ready.
                await run.process.launch(KILL_AT=f"{point}:{moment}")
                await died(run.process)
            await run.process.start()
            await run.process.until_status("/readyz", 200)
        await run.drained()
        assert run.ledger.acknowledged
        run.ledger.check(crashes=len(moments) + 1)


@pytest.mark.timeout(900)
async def test_killed_two_hundred_times(tmp_path: Path) -> None:
    # Two dispatchers, each with a queue, senders and a receiver of its own: half the time for as many crashes.
    async with asyncio.TaskGroup() as group:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            group.create_task(_killed(tmp_path / name, random.Random(f"{SEED} {name}"), crashes=100), name=name)


async def _killed(folder: Path, dice: random.Random, crashes: int) -> None:
    async with load(folder, dice) as run:
        await run.process.end(signal.SIGKILL)
        async with run.sending(200):
            for _ in range(crashes):
                await run.process.launch()
                # From the moment that it starts, so that some are killed before they are ready.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(dice.uniform(0.4, 1.4)):
                        await run.process.process.wait()
                assert run.process.process.returncode is None, run.process.log.read_text()[-2000:]
                await run.process.end(signal.SIGKILL)
            await run.process.start()
        scrape = await run.drained()
        assert scrape.total(names.DEAD_JOBS) == 0
        assert len(run.ledger.acknowledged) > 500
        run.ledger.check(crashes)


async def test_ended_by_sigterm_under_load_it_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    async with load(tmp_path, dice) as run:
        async with run.sending(400):
            for _ in range(10):
                await asyncio.sleep(dice.uniform(0.2, 0.6))
                # The grace period is that of the drain and the last flushes; `end` waits no longer than 20 s.
                assert await run.process.end(signal.SIGTERM) == 0
                await run.process.start()
        await run.drained()
        assert len(run.ledger.acknowledged) > 500
        run.ledger.check(crashes=0)


async def test_a_job_that_takes_the_process_down_ends_in_the_dead_letters(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    attempts = 3
    async with load(tmp_path, dice) as run:
        await run.process.end(signal.SIGKILL)
        settings = {"KILL_AT": f"{POISON}:1", "NOTIFICATION_RETRY_MAX_ATTEMPTS": str(attempts)}
        await run.process.launch(**settings)
        await run.process.until_status("/readyz", 200)
        batch = [{"type": JOB_TYPE, "id": one, "payload": {}} for one in (POISON, *(f"good-{n}" for n in range(50)))]
        with contextlib.suppress(Exception):
            await run.process.post(batch)
        crashes = 1
        await died(run.process)
        for _ in range(attempts - 1):
            await run.process.launch(**settings)
            await died(run.process)
            crashes += 1
        await run.process.launch(**settings)
        await run.process.until_status("/readyz", 200)
        scrape = await run.drained()
        assert scrape.total(names.DEAD_JOBS) == 1
        assert scrape.total(names.JOB_FAILURES_TOTAL, reason="interrupted") == 1
        assert run.process.process.returncode is None
        assert set(run.ledger.delivered) == {f"good-{n}" for n in range(50)}
        assert run.ledger.duplicates <= IN_FLIGHT * crashes


async def test_the_ledger_sees_a_loss(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    async with load(tmp_path, dice) as run:
        await run.process.end(signal.SIGKILL)
        # In memory, an acknowledged job is gone with the process.
        await run.process.launch(NOTIFICATION_QUEUE_ENGINE="memory")
        await run.process.until_status("/readyz", 200)
        run.receiver.hanging.clear()
        async with run.sending(200):
            await run.process.until(names.ACTIVE_JOBS, CONCURRENCY)
            await run.process.end(signal.SIGKILL)
            await run.process.start()
        run.receiver.hanging.set()
        await run.drained()
        assert run.ledger.lost
