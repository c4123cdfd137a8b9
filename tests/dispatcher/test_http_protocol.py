"""Clients that are slow, or never come to the point: each costs little, and not for long."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notification_dispatcher import http_protocol
from notification_dispatcher.run import _listen, _make_server
from notification_dispatcher.settings import Fixed
from tests.dispatcher.rig import rigged

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: dispatcher\r\n"
SECONDS = 0.3


@pytest.fixture
async def port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[int]:
    """A dispatcher's port."""
    monkeypatch.setattr(http_protocol, "HEAD_SECONDS", SECONDS)
    async with rigged(tmp_path) as rig:
        server = _make_server(rig.parts)
        with _listen(Fixed(port=0)) as listener:
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            yield listener.getsockname()[1]
            server.should_exit = True
            await serving


async def send(port: int, *parts: bytes, pause: float = 0.0) -> tuple[bytes, float]:
    """Send these, with pauses; what came back before the server closed the connection, and after how many seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began = time.monotonic()
    answer = b""
    # A server that closes while more arrives resets the connection.
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)
        async with asyncio.timeout(10):
            answer = await reader.read()
    writer.close()
    return answer, time.monotonic() - began


async def test_a_connection_that_says_nothing_is_closed(port: int) -> None:
    answer, seconds = await send(port)
    assert answer == b""
    assert seconds >= SECONDS


async def test_headers_that_drip_are_not_waited_for(port: int) -> None:
    answer, seconds = await send(port, HEALTH, *[b"X-Drip: 1\r\n"] * 10, pause=SECONDS / 4)
    assert answer == b""
    assert SECONDS <= seconds < 5


async def test_endless_headers_are_refused(port: int) -> None:
    answer, _ = await send(port, HEALTH, *[b"X-Filler: %s\r\n" % (b"x" * 8000)] * 9, pause=0.01)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert f"Content-Length: {len(body)}".encode() in head


async def test_many_requests_on_one_connection_are_nobodys_fault(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    async with asyncio.timeout(10):
        for _ in range(12):
            writer.write(HEALTH + b"\r\n")
            assert b"200 OK" in await reader.readuntil(b"ok\n")
            await asyncio.sleep(SECONDS / 4)
        # The second half of a head, late but in time.
        writer.write(HEALTH)
        await asyncio.sleep(SECONDS / 4)
        writer.write(b"\r\n")
        assert b"200 OK" in await reader.readuntil(b"ok\n")
    writer.close()
