"""Sends jobs to a peer and prints how long that took: `python -m bench.dispatcher.peers.feeding NAME JOBS RATE`.

Rate 0 is as fast as it goes, so many at once as `peers` says where the client is asynchronous, else one after the
other. Each job carries what ours do, the time it was sent, and how many there are.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import sys
import time
from collections.abc import Awaitable, Callable

AT_ONCE = 50

PAYLOAD = {"student": "Ada Lovelace", "lesson": 1, "starts": "2026-11-24T10:00:00Z", "room": "3b"}


async def feed(send: Callable[[int, float], Awaitable[object]], count: int, rate: float) -> float:
    """Send through an asynchronous client. Returns seconds."""
    began = time.time()
    todo = iter(range(count))

    async def send_some() -> None:
        for number in todo:
            if rate:
                await asyncio.sleep(began + number / rate - time.time())
            await send(count, time.time())

    await asyncio.gather(*(send_some() for _ in range(AT_ONCE)))
    return time.time() - began


def feed_one_by_one(send: Callable[[int, float], object], count: int, rate: float) -> float:
    """Send through a client that blocks. Returns seconds."""
    began = time.time()
    for number in range(count):
        if rate:
            time.sleep(max(0.0, began + number / rate - time.time()))
        send(count, time.time())
    return time.time() - began


if __name__ == "__main__":
    module = importlib.import_module(f"bench.dispatcher.peers.{sys.argv[1]}_app")
    jobs = int(sys.argv[2])
    sys.stdout.write(json.dumps({"jobs": jobs, "seconds": module.feed_all(jobs, float(sys.argv[3]))}))
