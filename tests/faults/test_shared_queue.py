"""Nothing acknowledged is lost by a fleet on one PostgreSQL, whichever of its processes is killed, the server too.

FAULT_SECONDS says for how long each fleet is broken; FAULT_SEED repeats a run's load and moments.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from tests.contract.shared import new_schema
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.ledger import SEED, SETTINGS, Ledger, Receiver, Sender
from tests.postgres import PostgresServer, postgres_server

SECONDS = float(os.environ.get("FAULT_SECONDS", "15"))
_DRAINED_SECONDS = 120.0


class Fleet:
    """Dispatchers on one schema, a caller for each, and what they deliver to."""

    def __init__(self, server: PostgresServer, schema: str, processes: list[DispatcherProcess], ledger: Ledger) -> None:
        self.server = server
        self.processes = processes
        self.ledger = ledger
        self.senders = [
            Sender(ledger, process.url, f"s{number}", random.Random(SEED + number))
            for number, process in enumerate(processes)
        ]
        self._schema = schema

    @asynccontextmanager
    async def sending(self, per_second: float) -> AsyncIterator[None]:
        """Let every caller send while the block runs."""
        async with asyncio.TaskGroup() as group:
            for sender in self.senders:
                group.create_task(sender.run(per_second / len(self.senders)))
            try:
                yield
            finally:
                for sender in self.senders:
                    sender.stop()

    async def drained(self) -> None:
        """Wait until the table is empty: nothing waits, runs, or is dead."""
        await self.server.until(f'SELECT count(*) FROM "{self._schema}".job', 0, _DRAINED_SECONDS)  # noqa: S608


@asynccontextmanager
async def fleet(server: PostgresServer, folder: Path, size: int) -> AsyncIterator[Fleet]:
    """So many dispatchers, ready."""
    ledger, schema = Ledger(), new_schema()
    variables = {
        **SETTINGS,
        "NOTIFICATION_QUEUE_ENGINE": "postgresql",
        "NOTIFICATION_QUEUE_DSN": server.dsn,
        "NOTIFICATION_QUEUE_SCHEMA": schema,
    }
    async with Receiver(ledger, random.Random(SEED)).listening() as receiver, AsyncExitStack() as stack:
        routing = {"channels": [receiver.channel()]}
        processes = []
        for number in range(size):
            own = folder / str(number)
            own.mkdir()
            processes.append(await stack.enter_async_context(dispatcher(own, routing, **variables)))
        yield Fleet(server, schema, processes, ledger)


@pytest.mark.parametrize("size", [1, 2, 8])
async def test_dispatchers_are_killed_at_random(postgres: PostgresServer, tmp_path: Path, size: int) -> None:
    dice = random.Random(f"{SEED} {size}")
    crashes = 0
    async with fleet(postgres, tmp_path, size) as run:
        until = time.monotonic() + SECONDS
        async with run.sending(200):
            while time.monotonic() < until:
                victim = dice.choice(run.processes)
                if dice.random() < 0.7:
                    # As a rule it works when it ends; now and then it has only begun.
                    await victim.until_status("/readyz", 200)
                await asyncio.sleep(dice.uniform(0.2, 1.5))
                await victim.end(signal.SIGKILL)
                crashes += 1
                await victim.launch()
            for process in run.processes:
                await process.until_status("/readyz", 200)
        await run.drained()
        assert len(run.ledger.acknowledged) > 50
        run.ledger.check(crashes)


async def test_the_server_is_killed_under_load(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    crashes = 3
    with postgres_server() as server:
        async with fleet(server, tmp_path, 2) as run:
            async with run.sending(200):
                for _ in range(crashes):
                    await asyncio.sleep(dice.uniform(1, 3))
                    await asyncio.to_thread(server.kill)
                    for process in run.processes:
                        await process.until_status("/readyz", 503)
                    await asyncio.to_thread(server.start)
                    for process in run.processes:
                        await process.until_status("/readyz", 200)
            await run.drained()
        assert all(sender.answers[503] for sender in run.senders)
        assert len(run.ledger.acknowledged) > 100
        # Each of the two may have ended as much that could not be settled in time.
        run.ledger.check(crashes * len(run.processes))
