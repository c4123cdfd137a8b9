"""How PostgreSQL goes about the shared engine's statements, whatever it knows of the tables."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import asyncpg
import pytest

from notification_dispatcher.queues.base import State
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


async def planned(link: Link, statement: str, *parameters: object) -> str:
    rows = await link.fetch(f"EXPLAIN {statement}", *parameters)
    return "\n".join(row[0] for row in rows)


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
    plan = await planned(link, statement, *parameters)
    assert "_pkey" in plan
    # By their time, all that are remembered would be walked through for each batch.
    assert "_until" not in plan, plan


_WAIT = """
INSERT INTO job (id, type, state, rank, payload, dedup_key, accepted_ms, due_ms, ready_ms)
SELECT $1 || n, 'a', $2, 1, '', '', n, n, n FROM generate_series(1, $3::int) AS n
"""


@pytest.mark.parametrize("known", [0, 3, 2000], ids=["never analyzed", "when it was small", "as it is"])
async def test_the_first_of_many_are_walked_to_in_order(link: Link, known: int) -> None:
    """Whoever sorts all that wait to take some of them writes megabytes for each claim."""
    for state in (State.READY, State.SCHEDULED):
        await link.execute(_WAIT, f"known-{state}-", state, known)
    if known:
        await link.execute("ANALYZE job")
    for state in (State.READY, State.SCHEDULED):
        await link.execute(_WAIT, f"new-{state}-", state, 4000 - known)
    for statement, parameters in ((statements.CLAIM, (32, 1, 1)), (statements.VICTIMS, (32,))):
        plan = await planned(link, statement, *parameters)
        assert "Bitmap" not in plan, plan
        # What is put in order is what the ranks' own limits let through.
        assert "Sort Key: job" not in plan, plan
    plan = await planned(link, statements.promote(1))
    assert "Bitmap" not in plan, plan
