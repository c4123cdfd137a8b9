"""taskiq: RedisStreamBroker, the one of its two that acknowledges; uvloop, which it takes when it is there."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import uvloop
from taskiq_redis import RedisStreamBroker

from bench.dispatcher.peers.feeding import PAYLOAD, feed
from bench.dispatcher.record import Record

broker = RedisStreamBroker(os.environ["BENCH_REDIS"])
record = Record(os.environ["BENCH_MAILBOX"])


@broker.task
async def job(total: int, sent: float, _payload: dict[str, Any]) -> None:
    """Nothing."""
    record.started(total, sent)


async def _feed_all(count: int, rate: float) -> float:
    await broker.startup()
    try:
        return await feed(lambda total, sent: job.kiq(total, sent, PAYLOAD), count, rate)
    finally:
        await broker.shutdown()


def feed_all(count: int, rate: float) -> float:
    """Send so many."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_feed_all(count, rate))
