"""The fence at work: what leaves the process while it leads, and what doesn't while it doesn't."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials, Identity
from notification_operator.errors import NotLeadingError
from notification_operator.fence import Fence
from notification_operator.kinds import SERVICE
from notification_operator.metrics import OperatorMetrics

MANIFEST: dict[str, Any] = {"apiVersion": "v1", "kind": "Service", "metadata": {"namespace": "n", "name": "a"}}


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """An API server that accepts a connection, and reads it when the test does."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(5)
        yield listening


@asynccontextmanager
async def connected(listener: socket.socket, fence: Fence) -> AsyncIterator[Cluster]:
    identity = Identity(f"http://127.0.0.1:{listener.getsockname()[1]}")
    metrics = OperatorMetrics(CollectorRegistry())
    async with Cluster(Credentials(identity), metrics, fence) as cluster:
        yield cluster


async def test_who_does_not_lead_writes_nothing_and_reads(listener: socket.socket) -> None:
    async with connected(listener, Fence(time.monotonic)) as cluster:
        with pytest.raises(NotLeadingError):
            await cluster.apply(MANIFEST)
        with pytest.raises(NotLeadingError):
            await cluster.delete(SERVICE, "n", "a", "uid")
        reading = asyncio.create_task(cluster.get(SERVICE, "n", "a"))
        connection, _ = await asyncio.to_thread(listener.accept)
        with connection:
            assert (await asyncio.to_thread(connection.recv, 10_000)).startswith(b"GET /api/v1/namespaces/n/services/a")
            connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 2\r\n\r\n{}")
        assert await reading is None


async def test_a_write_says_how_long_it_may_last(listener: socket.socket) -> None:
    fence = Fence(time.monotonic)
    fence.open(time.monotonic() + 5)
    async with connected(listener, fence) as cluster:
        writing = asyncio.create_task(cluster.apply(MANIFEST))
        connection, _ = await asyncio.to_thread(listener.accept)
        with connection:
            line = (await asyncio.to_thread(connection.recv, 10_000)).split(b"\r\n")[0].decode()
            limit = next(part for part in line.replace(" ", "&").split("&") if part.startswith("timeout="))
            assert 3000 < int(limit.removeprefix("timeout=").removesuffix("ms")) <= 5000
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        assert await writing == b"{}"


async def test_a_write_that_is_not_answered_in_time_is_given_up(listener: socket.socket) -> None:
    fence = Fence(time.monotonic)
    fence.open(time.monotonic() + 0.3)
    started = time.monotonic()
    async with connected(listener, fence) as cluster:
        with pytest.raises(NotLeadingError):
            await cluster.apply(MANIFEST)
        assert time.monotonic() - started < 2
        await asyncio.wait_for(fence.idle(), 1)


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="Linux alone takes a write back")
async def test_a_write_that_was_given_up_is_not_delivered_when_the_server_comes_back(listener: socket.socket) -> None:
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    fence = Fence(time.monotonic)
    fence.open(time.monotonic() + 0.3)
    async with connected(listener, fence) as cluster:
        size = 900_000  # more than the other side takes unread, less than aiohttp warns of
        with pytest.raises(NotLeadingError):
            await cluster.apply({**MANIFEST, "data": "x" * size})
        connection, _ = await asyncio.to_thread(listener.accept)
        await asyncio.sleep(2.5)  # what is waited for happens in the kernel
        with connection:
            connection.settimeout(5)
            assert await asyncio.to_thread(received, connection) < size


def received(connection: socket.socket) -> int:
    """How much can still be read, until the connection is found to be dead."""
    total = 0
    with pytest.raises(ConnectionResetError):  # noqa: PT012  it may come with any of them
        while chunk := connection.recv(1 << 16):
            total += len(chunk)
    return total
