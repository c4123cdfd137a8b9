"""Connections to PostgreSQL: whose other end is gone without a word, and those through a pooler."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest

from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.queues.base import Verdict
from notification_dispatcher.queues.postgresql import links as links_module
from notification_dispatcher.queues.postgresql.links import Access, Links, SilentError
from tests.contract.caller import Caller
from tests.contract.shared import SharedVirtualClock, new_schema, opened, shared_queue
from tests.pgbouncer import pgbouncer
from tests.postgres import PostgresServer


class Way:
    """A way to the server that can lose what goes over it, as when a machine dies; what is opened later works."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.port = 0
        self._connections = 0
        self._lost = 0

    def lose(self) -> None:
        """Swallow, from now on, all that goes over what is open."""
        self._lost = self._connections

    @asynccontextmanager
    async def leading(self) -> AsyncIterator[None]:
        """Lead there while the block runs."""
        async with AsyncExitStack() as stack:

            async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                self._connections += 1
                number = self._connections
                there = await asyncio.open_connection("127.0.0.1", self._to)
                for one in (writer, there[1]):
                    stack.push_async_callback(one.wait_closed)
                    stack.callback(one.close)
                await asyncio.gather(self._pass_on(number, reader, there[1]), self._pass_on(number, there[0], writer))

            server = await asyncio.start_server(take, "127.0.0.1", 0)
            stack.callback(server.close)
            self.port = server.sockets[0].getsockname()[1]
            yield

    async def _pass_on(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while what := await reader.read(65536):
            if number > self._lost:
                writer.write(what)
        writer.close()


@pytest.fixture
async def way(postgres: PostgresServer) -> AsyncIterator[Way]:
    way = Way(postgres.port)
    async with way.leading():
        yield way


async def test_where_the_heart_is_not_heard_no_idle_connection_is_trusted(postgres: PostgresServer, way: Way) -> None:
    clock = SharedVirtualClock()
    access = Access(postgres.dsn_by(way.port), None)
    queue = shared_queue(postgres, clock, access=lambda: access)
    caller = Caller(queue, clock)
    async with opened(queue):
        await asyncio.gather(*(queue.oldest_due_ms() for _ in range(4)))
        # Behind the one that the heart began by itself.
        await queue._beat()
        way.lose()
        queue._patience = 0.1
        with pytest.raises(QueueUnavailableError):
            await queue._beat()
        assert not queue.available
        queue._patience = 30.0
        await queue._beat()
        assert await caller.put(caller.job("a")) == [Verdict.QUEUED]
        assert await caller.claim() == ["a"]


async def test_where_one_is_not_answered_no_other_idle_one_is_trusted(
    postgres: PostgresServer, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = Access(postgres.dsn_by(way.port), None)
    links = Links(lambda: access, new_schema(), 2, VirtualClock())

    async def ask() -> None:
        async with links.link() as link:
            await link.fetchval("SELECT pg_sleep(0.1)")

    with monkeypatch.context() as patch:
        patch.setattr(links_module, "_ANSWER_SECONDS", 5.0)
        await asyncio.gather(ask(), ask())
    way.lose()
    with pytest.raises(SilentError):
        await ask()
    await ask()
    await links.close()


async def test_it_works_through_a_pooler_that_keeps_sessions(postgres: PostgresServer) -> None:
    with pgbouncer(postgres, "session") as port:
        access = Access(postgres.dsn_by(port), None)
        clock, schema = SharedVirtualClock(), new_schema()
        queue = shared_queue(postgres, clock, schema, access=lambda: access)
        async with opened(queue):
            caller = Caller(queue, clock)
            assert await caller.put(caller.job("a")) == [Verdict.QUEUED]
            assert await caller.claim() == ["a"]
            async with queue._links.link() as link:
                assert await link.fetchval("SELECT current_schema()") == schema
                assert await link.fetchval("SHOW enable_seqscan") == "off"


async def test_the_machine_looks_after_the_other_end(postgres: PostgresServer) -> None:
    access = Access(postgres.dsn, None)
    links = Links(lambda: access, new_schema(), 1, VirtualClock())
    async with links.link() as link:
        channel: socket.socket = link._transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert channel.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert channel.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 5000
        assert channel.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 3
    await links.close()
