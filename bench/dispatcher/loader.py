"""Posts notifications to a dispatcher, as fast as it answers or at a rate, and prints what came of it as JSON.

`ours` runs it as a process of its own: `python -m bench.dispatcher.loader '{"port": 4000, "jobs": 1000, …}'`. Requests
are encoded beforehand. At a rate, a request's time counts from when it was due, also when no connection was free.
"""

from __future__ import annotations

import asyncio
import collections
import json
import sys
import time
from typing import Any, NamedTuple, cast

import uvloop

from bench.dispatcher.http_answers import split
from bench.dispatcher.record import waited


class Plan(NamedTuple):
    """What to post."""

    port: int
    jobs: int
    prefix: str
    """Ids are made of it: different in each run, so that nothing is a repetition."""
    batch: int = 100
    connections: int = 8
    rate: float = 0.0
    """Jobs a second; 0: as fast as they are answered."""

    def requests(self) -> list[bytes]:
        """All of them, ready to send."""
        starts = range(0, self.jobs, self.batch)
        return [self._request(range(start, min(start + self.batch, self.jobs))) for start in starts]

    def _request(self, numbers: range) -> bytes:
        items = [
            {
                "type": "booking-created",
                "id": f"{self.prefix}-{number}",
                "payload": {
                    "student": "Ada Lovelace",
                    "lesson": number,
                    "starts": "2026-11-24T10:00:00Z",
                    "room": "3b",
                },
            }
            for number in numbers
        ]
        body = json.dumps({"notifications": items}).encode()
        head = (
            f"POST /api/notifications HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class _Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._buffer = b""
        self._due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by behaviour, not by class.
        self.transport = cast(asyncio.Transport, transport)

    def post(self, request: bytes, due: float) -> None:
        self._due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answer = split(self._buffer)
        if answer is not None:
            head, body, self._buffer = answer
            self._load.answered(self, head, body, time.perf_counter() - self._due)

    def connection_lost(self, error: Exception | None) -> None:
        self._load.failed(f"the dispatcher closed a connection: {error}")


class Load:
    """All requests of a plan, over its connections."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._requests = collections.deque(plan.requests())
        self._count = len(self._requests)
        self._due: collections.deque[float] = collections.deque()
        self._idle: list[_Connection] = []
        self._times: list[float] = []
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queued = 0

    async def run(self) -> dict[str, Any]:
        """Post it all."""
        loop = asyncio.get_running_loop()
        for _ in range(self._plan.connections):
            _, connection = await loop.create_connection(lambda: _Connection(self), "127.0.0.1", self._plan.port)
            self._idle.append(connection)
        began = time.perf_counter()
        if self._plan.rate:
            pause = self._plan.batch / self._plan.rate
            for number in range(self._count):
                loop.call_later(number * pause, self._take, began + number * pause)
        else:
            for _ in range(min(self._count, len(self._idle))):
                self._take(began)
        await self._done
        seconds = time.perf_counter() - began
        return {"jobs": self._queued, "seconds": seconds, **waited([one * 1000 for one in self._times])}

    def _take(self, due: float) -> None:
        if self._idle:
            self._idle.pop().post(self._requests.popleft(), due)
        else:
            self._due.append(due)

    def answered(self, connection: _Connection, head: bytes, body: bytes, seconds: float) -> None:
        """Note an answer, and use the connection again."""
        if not head.startswith(b"http/1.1 202"):
            self.failed(f"the dispatcher answered: {head[:40].decode()} {body[:200].decode()}")
            return
        self._queued += body.count(b'"queued"')
        self._times.append(seconds)
        if len(self._times) == self._count and not self._done.done():
            self._done.set_result(None)
        elif self._plan.rate and not self._due:
            self._idle.append(connection)
        elif self._requests:
            due = self._due.popleft() if self._plan.rate else time.perf_counter()
            connection.post(self._requests.popleft(), due)

    def failed(self, why: str) -> None:
        """End with an error, unless all is done."""
        if not self._done.done():
            self._done.set_exception(ConnectionError(why))


async def _main(plan: Plan) -> None:
    result = await Load(plan).run()
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    uvloop.run(_main(Plan(**json.loads(sys.argv[1]))))
