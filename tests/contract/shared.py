"""Engines on the tests' PostgreSQL server."""

from __future__ import annotations

import uuid

from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.queues.postgresql.database_clock import SharedClock
from notification_dispatcher.queues.postgresql.engine import LEASE_SECONDS, PostgresqlQueue
from notification_dispatcher.queues.postgresql.links import Access
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


def shared_queue(
    server: PostgresServer, clock: SharedClock, schema: str = "", lease_seconds: float = LEASE_SECONDS
) -> PostgresqlQueue:
    """One dispatcher's engine; in a schema of its own, where none is named."""
    return PostgresqlQueue(lambda: Access(server.dsn, None), schema or new_schema(), 4, clock, lease_seconds)
