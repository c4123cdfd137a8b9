"""saq: its queue on Redis, 100 jobs at once."""

from __future__ import annotations

import asyncio
import os
from typing import Any

from saq import Queue

from bench.dispatcher.peers.feeding import PAYLOAD, feed
from bench.dispatcher.record import Record

queue = Queue.from_url(os.environ["BENCH_REDIS"])
record = Record(os.environ["BENCH_MAILBOX"])


async def job(_context: dict[str, Any], *, total: int, sent: float, payload: dict[str, Any]) -> None:  # noqa: ARG001
    """Nothing."""
    record.started(total, sent)


settings = {"queue": queue, "functions": [job], "concurrency": 100}


async def _feed_all(count: int, rate: float) -> float:
    await queue.connect()
    try:
        return await feed(
            lambda total, sent: queue.enqueue("job", total=total, sent=sent, payload=PAYLOAD), count, rate
        )
    finally:
        await queue.disconnect()


def feed_all(count: int, rate: float) -> float:
    """Send so many."""
    return asyncio.run(_feed_all(count, rate))
