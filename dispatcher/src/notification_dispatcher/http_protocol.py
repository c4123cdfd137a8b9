"""The server's side of a connection, with a bound on what comes before a request's body. `run` serves with it.

uvicorn waits for ever for the rest of a request's head, and keeps all of it, and what comes behind a body: whoever can
connect could fill the memory or hold every connection, before any token was asked for. Bodies that a handler reads have
bounds of their own (`http_exchange`); those that none reads are dropped, and waited for as a head is.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
"""A request's line and headers must arrive within this time, and so must what nobody reads."""
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
        self._in_head = True
        self._head_bytes = 0
        self._unanswered = 0
        self._until: float | None = None
        """When what is awaited must be there, in the event loop's time; None: nothing is, or a handler awaits it."""
        self._watch: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A connection that says nothing is as good as one that says it slowly."""
        super().connection_made(transport)
        self._await()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        super().connection_lost(exc)
        if self._watch is not None:
            self._watch.cancel()

    def data_received(self, data: bytes) -> None:
        """Count what belongs to no complete head yet, and wait no longer than for a head for what nobody reads."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES and not self.transport.is_closing():
            self.transport.write(_TOO_LARGE)
            self.transport.close()
        elif self._until is None and not self._unanswered:
            # The rest of a body that was answered already, or a blank line: uvicorn's own limit is off since it came.
            self._await()

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        self._await()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header. What stands behind a body in pieces is none that anybody reads, and may have no end."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """What follows is the body."""
        self._in_head, self._until = False, None
        self._unanswered += 1
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        """A request may be answered before all of it has come."""
        self._unanswered -= 1
        super().on_response_complete()
        if self._until is None and self.cycle.more_body:
            self._await()

    def _await(self) -> None:
        self._until = self.loop.time() + HEAD_SECONDS
        # One timer for many requests: it looks now and then whether one is late.
        if self._watch is None:
            self._watch = self.loop.call_at(self._until, self._look)

    def _look(self) -> None:
        self._watch = None
        if self._until is None or self.transport.is_closing():
            return
        if self._unanswered:
            # The request before it: its answer comes first.
            self._await()
        elif self.loop.time() < self._until:
            self._watch = self.loop.call_at(self._until, self._look)
        else:
            self.transport.close()
