"""dramatiq: RedisBroker, its default middleware."""

from __future__ import annotations

import os
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.dispatcher.peers.feeding import PAYLOAD, feed_one_by_one
from bench.dispatcher.record import Record

broker = RedisBroker(url=os.environ["BENCH_REDIS"])
dramatiq.set_broker(broker)
record = Record(os.environ["BENCH_MAILBOX"])


@dramatiq.actor
def job(total: int, sent: float, _payload: dict[str, Any]) -> None:
    """Nothing."""
    record.started(total, sent)


def feed_all(count: int, rate: float) -> float:
    """Send so many."""
    return feed_one_by_one(lambda total, sent: job.send(total, sent, PAYLOAD), count, rate)
