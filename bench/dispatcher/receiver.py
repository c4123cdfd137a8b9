"""A destination for webhooks that answers 200 and counts: fast enough not to be what is measured.

`webhooks` runs it as a process: `python -m bench.dispatcher.receiver PORT MAILBOX`. `GET /hold` holds the answers back,
`GET /open?N` gives them and begins to count: after N requests the mailbox is told how long they took, and how long
each had waited since the time in its body. Only what is posted to /jobs counts; everything is answered.
"""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import datetime
from typing import cast

import uvloop

from bench.dispatcher.http_answers import split
from bench.dispatcher.record import post, rss_mib, waited

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_JOBS = b"post /jobs "
"""Alerts and the bare client post elsewhere."""
_TIMESTAMP = b'"timestamp":"'


class Receiver:
    """What all connections share."""

    def __init__(self, mailbox: str) -> None:
        self._mailbox = mailbox
        self._expected = 0
        self._first = 0.0
        self._got: list[tuple[float, bytes]] = []
        self.holding = False
        self.held: list[tuple[asyncio.Transport, bytes]] = []

    def told(self, path: str) -> None:
        """An order of the bench."""
        what, _, number = path.partition("?")
        self.holding = what == "/hold"
        if what == "/open":
            self._expected, self._got, self._first = int(number), [], time.time()
            held, self.held = self.held, []
            for transport, body in held:
                transport.write(_OK)
                self.got(body)

    def got(self, body: bytes) -> None:
        """One notification."""
        self._got.append((time.time(), body))
        if len(self._got) == self._expected:
            got, self._got = self._got, []
            message = {"jobs": len(got), "seconds": got[-1][0] - self._first, "rss_mib": rss_mib("self")}
            post(self._mailbox, {**message, **waited([_wait_ms(*one) for one in got])})


class _Connection(asyncio.Protocol):
    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are asyncio's by behaviour, not by class.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (message := split(self._buffer)) is not None:
            head, body, self._buffer = message
            if head.startswith(b"get "):
                self._receiver.told(head.split(b" ", 2)[1].decode())
                self._transport.write(_OK)
            elif self._receiver.holding and head.startswith(_JOBS):
                self._receiver.held.append((self._transport, body))
            else:
                self._transport.write(_OK)
                if head.startswith(_JOBS):
                    self._receiver.got(body)


def _wait_ms(at: float, body: bytes) -> float:
    start = body.index(_TIMESTAMP) + len(_TIMESTAMP)
    sent = datetime.fromisoformat(body[start : body.index(b'"', start)].decode()).timestamp()
    return (at - sent) * 1000


async def _main(port: int, mailbox: str) -> None:
    receiver = Receiver(mailbox)
    server = await asyncio.get_running_loop().create_server(lambda: _Connection(receiver), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_main(int(sys.argv[1]), sys.argv[2]))
