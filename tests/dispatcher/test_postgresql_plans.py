"""How PostgreSQL goes about the shared engine's statements before it has statistics of a new schema's tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.links import _session
from tests.contract.shared import SharedVirtualClock, new_schema, opened, shared_queue
from tests.postgres import PostgresServer

if TYPE_CHECKING:
    Link = asyncpg.Connection[asyncpg.Record]

_KEYS = [f"key-{number}" for number in range(100)]


@pytest.fixture
async def link(postgres: PostgresServer) -> AsyncIterator[Link]:
    """A session like the engine's, whose plans are good for any parameters."""
    schema = new_schema()
    async with opened(shared_queue(postgres, SharedVirtualClock(), schema)):
        made = await asyncpg.connect(postgres.dsn)
        try:
            await made.execute(_session(schema))
            await made.execute("SET plan_cache_mode = force_generic_plan")
            yield made
        finally:
            await made.close()


@pytest.mark.parametrize(
    ("statement", "parameters"),
    [
        pytest.param(statements.LOOK, (_KEYS, _KEYS, 1), id="a batch's keys"),
        pytest.param(statements.RECALL, (_KEYS, 1), id="requests"),
        pytest.param(statements.DELIVERED, ("a", "b", 1), id="one that was delivered"),
    ],
)
async def test_a_key_is_looked_up_and_not_searched_for(
    link: Link, statement: str, parameters: tuple[object, ...]
) -> None:
    rows = await link.fetch(f"EXPLAIN {statement}", *parameters)
    plan = "\n".join(row[0] for row in rows)
    assert "_pkey" in plan
    # By their time, all that are remembered would be walked through for each batch.
    assert "_until" not in plan, plan
