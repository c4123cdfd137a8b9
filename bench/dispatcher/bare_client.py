"""The bare aiohttp client: posts the same webhooks as the dispatcher does, and nothing else. Prints JSON.

`webhooks` runs it: `python -m bench.dispatcher.bare_client PORT COUNT CONCURRENCY`. No queue, no retry, no metrics,
bodies made beforehand: as fast as deliveries with this client can be.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Iterator

import aiohttp
import uvloop


def _bodies(count: int) -> list[tuple[str, bytes]]:
    payload = {"student": "Ada Lovelace", "lesson": 1, "starts": "2026-11-24T10:00:00Z", "room": "3b"}
    made = []
    for number in range(count):
        body = {"id": f"bare-{number}", "type": "booking-created", "attempt": 1, "payload": payload}
        made.append((f"bare-{number}", json.dumps(body).encode()))
    return made


async def _post_all(session: aiohttp.ClientSession, url: str, todo: Iterator[tuple[str, bytes]]) -> None:
    for job_id, body in todo:
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": job_id,
            "webhook-id": job_id,
            "webhook-timestamp": str(int(time.time())),
        }
        async with session.post(url, data=body, headers=headers) as answer:
            await answer.read()
            answer.raise_for_status()


async def _main(port: int, count: int, concurrency: int) -> None:
    url = f"http://127.0.0.1:{port}/bare"
    todo = iter(_bodies(count))
    connector = aiohttp.TCPConnector(limit=1024)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as session:
        began, used = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(_post_all(session, url, todo))
        seconds = time.perf_counter() - began
        sys.stdout.write(json.dumps({"jobs": count, "seconds": seconds, "cpu_seconds": time.process_time() - used}))


if __name__ == "__main__":
    uvloop.run(_main(*map(int, sys.argv[1:])))
