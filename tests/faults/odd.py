"""Destinations that no HTTP library would make: they hang, drip, reset, talk for ever, or speak something else."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from tests.faults.timing import webhook

_DRIP_SECONDS = 0.05

Behaviour = Callable[[asyncio.StreamWriter], Awaitable[None]]


class OddDestinations:
    """One server with a path for each of them."""

    def __init__(self) -> None:
        self.requests: Counter[str] = Counter()
        """How many deliveries each has had."""
        self.sent: Counter[str] = Counter()
        """How many bytes each could get rid of."""
        self.elsewhere = ""
        """Where `redirect` leads."""
        self._url = ""
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self._over = asyncio.Event()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Self]:
        """Misbehave while the block runs."""
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0, backlog=1024)
        self._url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        try:
            yield self
        finally:
            server.close()
            self._over.set()
            for writer in self._open.values():
                writer.transport.abort()
            await asyncio.gather(*self._open)

    def channel(self, name: str, **more: Any) -> dict[str, Any]:
        """A channel that leads to the one of this name."""
        return webhook(name, self._url + name, **more)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            # The other end may hang up at any time: that is what it should do with most of them.
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.IGNORECASE)
                await reader.readexactly(int(length[1]) if length else 0)
                name = head.split()[1].removeprefix("/")
                self.requests[name] += 1
                await self._behave(name, writer)
        finally:
            del self._open[task]
            writer.close()

    async def _behave(self, name: str, writer: asyncio.StreamWriter) -> None:
        match name:
            case "hang":
                await self._over.wait()
            case "drip":
                await self._talk(name, writer, b"HTTP/1.1 200 OK\r\nX-Drip: ", b"x", _DRIP_SECONDS)
            case "dripping-body":
                start = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n"
                await self._talk(name, writer, start, b"x", _DRIP_SECONDS)
            case "endless-body":
                await self._talk(name, writer, b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 65536)
            case "endless-headers":
                await self._talk(name, writer, b"HTTP/1.1 200 OK\r\n", b"X-Babble: x\r\n" * 1000)
            case "nonsense":
                await self._talk(name, writer, b"", b"220 mail.example ESMTP\r\n")
            case "redirect":
                # The kind that would have the job posted there.
                head = f"HTTP/1.1 307 Temporary Redirect\r\nLocation: {self.elsewhere}\r\nContent-Length: 0\r\n\r\n"
                writer.write(head.encode())
                await writer.drain()
            case "reset":
                # Closed with a linger of zero: the other end gets RST and not FIN.
                socket_: socket.socket = writer.get_extra_info("socket")
                socket_.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            case _:
                raise AssertionError(name)

    async def _talk(
        self, name: str, writer: asyncio.StreamWriter, start: bytes, more: bytes, pause: float = 0.0
    ) -> None:
        """Say something, and then the same for ever."""
        writer.write(start)
        while not self._over.is_set():
            writer.write(more)
            await writer.drain()
            self.sent[name] += len(more)
            await asyncio.sleep(pause)
