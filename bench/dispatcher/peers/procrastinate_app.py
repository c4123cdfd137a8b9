"""procrastinate: PostgreSQL, asynchronous tasks, each deleted when it is done."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from procrastinate import App, PsycopgConnector

from bench.dispatcher.peers.feeding import PAYLOAD, feed
from bench.dispatcher.record import Record

app = App(
    connector=PsycopgConnector(conninfo=os.environ["BENCH_POSTGRESQL"]), worker_defaults={"delete_jobs": "always"}
)
record = Record(os.environ["BENCH_MAILBOX"])


@app.task(name="job")
async def job(total: int, sent: float, payload: dict[str, Any]) -> None:  # noqa: ARG001
    """Nothing."""
    record.started(total, sent)


async def _feed_all(count: int, rate: float) -> float:
    async with app.open_async():
        if not await app.check_connection_async():
            # The first time: its tables are made.
            await app.schema_manager.apply_schema_async()
        return await feed(lambda total, sent: job.defer_async(total=total, sent=sent, payload=PAYLOAD), count, rate)


def feed_all(count: int, rate: float) -> float:
    """Send so many."""
    return asyncio.run(_feed_all(count, rate))
