"""arq: its defaults, 100 jobs at once."""

from __future__ import annotations

import asyncio
import os
from typing import Any, ClassVar

from arq import create_pool
from arq.connections import RedisSettings

from bench.dispatcher.peers.feeding import PAYLOAD, feed
from bench.dispatcher.record import Record

redis = RedisSettings.from_dsn(os.environ["BENCH_REDIS"])
record = Record(os.environ["BENCH_MAILBOX"])


async def job(_context: dict[str, Any], total: int, sent: float, _payload: dict[str, Any]) -> None:
    """Nothing."""
    record.started(total, sent)


class WorkerSettings:
    """What `arq` runs."""

    functions: ClassVar[list[Any]] = [job]
    redis_settings = redis
    max_jobs = 100


async def _feed_all(count: int, rate: float) -> float:
    pool = await create_pool(redis)
    try:
        return await feed(lambda total, sent: pool.enqueue_job("job", total, sent, PAYLOAD), count, rate)
    finally:
        await pool.aclose()


def feed_all(count: int, rate: float) -> float:
    """Send so many."""
    return asyncio.run(_feed_all(count, rate))
