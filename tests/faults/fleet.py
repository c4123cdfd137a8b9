"""Dispatchers on one PostgreSQL, with the ledger at both their ends: for the tests that break some of it."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path

from tests.contract.shared import new_schema
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.ledger import SEED, SETTINGS, Ledger, Receiver, Sender, sending
from tests.metrics import Scrape
from tests.postgres import PostgresServer

_ARRIVED_SECONDS = 60.0
_DRAINED_SECONDS = 120.0


class Fleet:
    """Dispatchers on one schema, a caller for each, and what they deliver to."""

    def __init__(
        self, server: PostgresServer, schema: str, processes: list[DispatcherProcess], receiver: Receiver
    ) -> None:
        self.server = server
        self.processes = processes
        self.receiver = receiver
        self.ledger = ledger = receiver.ledger
        self.senders = [
            Sender(ledger, process.url, f"s{number}", random.Random(SEED + number))
            for number, process in enumerate(processes)
        ]
        self._schema = schema

    def sending(self, per_second: float) -> AbstractAsyncContextManager[None]:
        """Let every caller send while the block runs."""
        return sending(self.senders, per_second)

    @property
    def answers(self) -> Counter[int]:
        """The statuses that the callers were answered."""
        return sum((sender.answers for sender in self.senders), start=Counter())

    async def until_delivered(self, count: int) -> None:
        """Wait until so many jobs have arrived."""
        async with asyncio.timeout(_ARRIVED_SECONDS):
            while len(self.ledger.delivered) < count:  # noqa: ASYNC110  the receiver's count
                await asyncio.sleep(0.05)

    async def total(self, name: str, **labels: str) -> float:
        """A metric's sum over all of them."""
        return sum([(await Scrape.of(process.url)).total(name, **labels) for process in self.processes])

    async def all_beat(self, times: int) -> None:
        """Wait until each heart has beaten so many times more."""
        beats = f'SELECT min(beats) FROM "{self._schema}".member'  # noqa: S608
        async with self.server.administrator() as link:
            least = await link.fetchval(beats) + times
        await self.server.until(f"SELECT ({beats}) >= {least}", value=True)

    async def drained(self) -> None:
        """Wait until the table is empty: nothing waits, runs, or is dead."""
        await self.server.until(f'SELECT count(*) FROM "{self._schema}".job', 0, _DRAINED_SECONDS)  # noqa: S608


@asynccontextmanager
async def fleet(
    server: PostgresServer, folder: Path, size: int, dsns: Sequence[str] = (), **more: str
) -> AsyncIterator[Fleet]:
    """So many dispatchers, ready; each with a way of its own to the server, where `dsns` has some."""
    ledger, schema = Ledger(), new_schema()
    variables = {
        **SETTINGS,
        "NOTIFICATION_QUEUE_ENGINE": "postgresql",
        "NOTIFICATION_QUEUE_SCHEMA": schema,
        **more,
    }
    async with Receiver(ledger, random.Random(SEED)).listening() as receiver, AsyncExitStack() as stack:
        routing = {"channels": [receiver.channel()]}
        processes = []
        for number, dsn in zip(range(size), itertools.cycle(dsns or [server.dsn]), strict=False):
            own = folder / str(number)
            own.mkdir()
            variables["NOTIFICATION_QUEUE_DSN"] = dsn
            processes.append(await stack.enter_async_context(dispatcher(own, routing, **variables)))
        yield Fleet(server, schema, processes, receiver)
