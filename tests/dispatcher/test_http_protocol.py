"""Clients that are slow, or never come to the point: each costs little, and not for long."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.responses import Response

from notification_dispatcher import app, http_protocol
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


BODY = b"POST /api/notifications HTTP/1.1\r\nHost: d\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "parts",
    [
        [HEALTH + b"\r\n", b"\r\n"],
        [HEALTH + b"Content-Length: 1000\r\n\r\n", b"x"],
        [HEALTH + b"Content-Length: 1000\r\n\r\n"],
        [b"GET /nowhere HTTP/1.1\r\nHost: d\r\nContent-Length: 9\r\n\r\n", *[b"x"] * 3],
        [BODY.replace(b"json", b"xml") + b"Content-Length: 1000\r\n\r\n", b"{"],
    ],
    ids=["a blank line", "a body for a GET", "no body for a GET", "no such path", "refused at once"],
)
async def test_what_is_answered_already_is_not_waited_for(port: int, parts: list[bytes]) -> None:
    answer, seconds = await send(port, *parts, pause=0.05)
    assert answer.startswith(b"HTTP/1.1 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    assert SECONDS <= seconds < 4, "uvicorn's own limit is five seconds"


async def test_what_stands_behind_a_body_is_not_kept(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(BODY + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    for _ in range(100):
        writer.write(b"X-Trailer: %s\r\n" % (b"x" * 8000))
    await writer.drain()
    (connection,) = [one for one in gc.get_objects() if isinstance(one, http_protocol.BoundedProtocol)]
    writer.write(b"X-Last: 1\r\n\r\n")
    async with asyncio.timeout(10):
        assert b" 400 " in await reader.readline()
    assert {name for name, _ in connection.headers} == {b"host", b"content-type", b"transfer-encoding"}
    writer.close()


@pytest.fixture
def slow_document(monkeypatch: pytest.MonkeyPatch) -> None:
    """One path takes longer than a head may."""

    async def slowly(*_: Any) -> Response:
        await asyncio.sleep(2 * SECONDS)
        return Response("the document")

    monkeypatch.setattr(app._Api, "get_openapi", slowly)


async def test_the_answer_before_comes_first(slow_document: None, port: int) -> None:
    # The second request's head is never completed.
    answer, _ = await send(port, HEALTH.replace(b"healthz", b"openapi.json") + b"\r\n" + HEALTH)
    assert answer.endswith(b"the document")


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
