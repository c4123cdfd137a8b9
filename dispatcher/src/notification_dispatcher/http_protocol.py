"""The server's side of a connection, with a bound on what comes before a request's body. `run` serves with it.

uvicorn waits for ever for the rest of a request's head, and keeps all of it: whoever can connect could fill the memory
or hold every connection, before any token was asked for. Bodies have bounds of their own (`http_exchange`).
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""A request's line and headers must arrive within this time."""
HEAD_BYTES = 65_536

_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: application/problem+json\r\n"
    b'Content-Length: 89\r\nConnection: close\r\n\r\n{"type":"about:blank","title":"Request Header Fields Too Large",'
    b'"status":431,"detail":""}'
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_bytes = 0
        self._head_until: float | None = None
        """When the head must be complete, in the event loop's time; None: it is, or the next has not begun."""
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is as good as one that says it slowly."""
        super().connection_made(transport)
        self._begin_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        super().connection_lost(exc)
        if self._watch is not None:
            self._watch.cancel()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to no complete head yet."""
        if self._head_until is not None:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._head_until is not None and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._begin_head()

    def on_headers_complete(self) -> None:
        """What follows is the body."""
        self._head_until = None
        super().on_headers_complete()

    def _begin_head(self) -> None:
        self._head_bytes = 0
        self._head_until = self.loop.time() + HEAD_SECONDS
        # One timer for many requests: it looks now and then whether one is late.
        if self._watch is None:
            self._watch = self.loop.call_at(self._head_until, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._head_until is None:
            return
        if self.loop.time() < self._head_until:
            self._watch = self.loop.call_at(self._head_until, self._look)
        else:
            self.transport.close()
