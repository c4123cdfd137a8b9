"""celery: prefork with one process, results ignored."""

from __future__ import annotations

import os
from typing import Any

from celery import Celery

from bench.dispatcher.peers.feeding import PAYLOAD, feed_one_by_one
from bench.dispatcher.record import Record

app = Celery("bench", broker=os.environ["BENCH_REDIS"])
app.conf.update(task_ignore_result=True, broker_connection_retry_on_startup=True)
record = Record(os.environ["BENCH_MAILBOX"])


@app.task(name="job")
def job(total: int, sent: float, _payload: dict[str, Any]) -> None:
    """Nothing."""
    record.started(total, sent)


def feed_all(count: int, rate: float) -> float:
    """Send so many."""
    return feed_one_by_one(lambda total, sent: job.delay(total, sent, PAYLOAD), count, rate)
