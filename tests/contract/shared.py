"""Engines on the tests' PostgreSQL server, and engines that are closed whatever the test does."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.queues.postgresql.database_clock import SharedClock
from notification_dispatcher.queues.postgresql.engine import PostgresqlQueue
from notification_dispatcher.queues.postgresql.links import Access
from notification_dispatcher.queues.postgresql.tables import Tenancy
from tests.postgres import PostgresServer


class SharedVirtualClock(VirtualClock):
    """A virtual clock that is the database's too, whatever that says."""

    def observe(self, wall_ms: int, asked: float, answered: float) -> None:
        """Stay as it is."""

    def to_local_ms(self, wall_ms: int) -> int:
        """They are the same."""
        return wall_ms


def new_schema() -> str:
    """A name that nobody has."""
    return f"t{uuid.uuid4().hex[:16]}"


def shared_queue(server: PostgresServer, clock: SharedClock, schema: str = "", **more: Any) -> PostgresqlQueue:
    """One dispatcher's engine; in a schema of its own, where none is named."""
    tenancy = Tenancy(schema or new_schema(), more.get("pipeline", "plannivo/booking"))
    return PostgresqlQueue(more.get("access", lambda: Access(server.dsn, None)), tenancy, 4, clock)


@asynccontextmanager
async def opened(*queues: JobQueue) -> AsyncIterator[None]:
    """Engines that are open while the block runs."""
    async with AsyncExitStack() as stack:
        for queue in queues:
            stack.push_async_callback(queue.close)
            await queue.open()
        yield
