"""However many jobs went through a PostgreSQL schema, its tables are as large as what waits, and not as what went.

Nor does looking for the next job read more. The server's own vacuum is off: it comes when it comes.


CHURN_JOBS says how many go through; `python -m bench.dispatcher --only churn` says at which rates.
"""

from __future__ import annotations

import json
import os

from notification_dispatcher.clock import SystemClock
from notification_dispatcher.queues.base import Limits, Overflow
from notification_dispatcher.queues.postgresql import statements
from notification_dispatcher.queues.postgresql.cleaning import MOST_DEAD, SHARE
from notification_dispatcher.queues.postgresql.database_clock import DatabaseClock
from notification_dispatcher.queues.postgresql.engine import PostgresqlQueue
from notification_dispatcher.queues.postgresql.links import _session
from notification_dispatcher.queues.postgresql.statements import MOST_FORGOTTEN
from tests.contract.caller import Caller, end
from tests.contract.shared import SharedVirtualClock, new_schema, opened, shared_queue
from tests.postgres import PostgresServer, postgres_server

JOBS = int(os.environ.get("CHURN_JOBS", "200000"))
ROUND = 40_000
BATCH = 500
_LIMITS = Limits(10 * ROUND, Overflow.REJECT, dedup_window_ms=1)
_VACUUMED_SECONDS = 120.0
_TO_A_PAGE = 180
"""Jobs, at least, in the index of those that are ready."""


async def enqueue(caller: Caller, first: int) -> None:
    """Put a batch in."""
    await caller.put(*(caller.job(f"job-{number}") for number in range(first, first + BATCH)), limits=_LIMITS)


async def deliver(queue: PostgresqlQueue) -> int:
    """Claim a batch, and settle it. Returns how many there were."""
    leases = await queue.claim(BATCH)
    await queue.settle([end(lease) for lease in leases])
    return len(leases)


async def size(server: PostgresServer, schema: str) -> int:
    """Bytes of the tables with their indexes."""
    async with server.administrator() as link:
        found = await link.fetchval(
            "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE schemaname = $1", schema
        )
        return int(found)


async def pages(server: PostgresServer, schema: str) -> int:
    """How many are read to see whether anything is due."""
    async with server.administrator() as link:
        await link.execute(_session(schema))
        plan = json.loads(await link.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statements.PEEK}"))
        return int(plan[0]["Plan"]["Shared Hit Blocks"] + plan[0]["Plan"]["Shared Read Blocks"])


async def cleaned(server: PostgresServer, schema: str, gone: int) -> None:
    """Wait until so many jobs that went are forgotten, and a dispatcher has cleaned up."""
    await server.until(f'SELECT count(*) FROM "{schema}".dedup', 0, _VACUUMED_SECONDS)  # noqa: S608
    # Sessions tell of what they did a second later, or ten; until then there seems to be little to clean.
    told = f"SELECT n_tup_del FROM pg_stat_user_tables WHERE schemaname = '{schema}' AND relname"  # noqa: S608
    for table in ("job", "dedup"):
        await server.until(f"{told} = '{table}'", gone, _VACUUMED_SECONDS)
    few = f"bool_and(n_dead_tup <= {MOST_DEAD} + {SHARE} * n_live_tup)"
    await server.until(
        f"SELECT {few} FROM pg_stat_user_tables WHERE schemaname = '{schema}'",  # noqa: S608
        True,
        _VACUUMED_SECONDS,
    )


async def test_tables_stay_as_large_as_what_waits() -> None:
    schema = new_schema()
    with postgres_server("autovacuum=off") as server:
        clock = DatabaseClock(SystemClock())
        queue = shared_queue(server, clock, schema)
        caller = Caller(queue, clock)
        async with opened(queue):
            # All of a round at once: about as large as this it may be.
            for first in range(0, ROUND, BATCH):
                await enqueue(caller, first)
            while await deliver(queue):
                pass
            sizes, looks = [await size(server, schema)], [await pages(server, schema)]
            await cleaned(server, schema, ROUND)
            for start in range(ROUND, JOBS, ROUND):
                for first in range(start, start + ROUND, BATCH):
                    await enqueue(caller, first)
                    assert await deliver(queue) == BATCH
                sizes.append(await size(server, schema))
                looks.append(await pages(server, schema))
                await cleaned(server, schema, start + ROUND)
            # A vacuum may come at any time of a round, and is not worth it for `MOST_DEAD`: as much again, and what
            # indexes lose by that. Without one, each round adds nearly as much as the first.
            assert max(sizes) <= 3 * sizes[0], sizes
            assert max(looks) <= 2 * ROUND / _TO_A_PAGE, looks
        assert queue.counts().depth == 0


async def test_as_many_keys_as_there_are_are_forgotten_at_once(postgres: PostgresServer) -> None:
    schema, clock = new_schema(), SharedVirtualClock()
    queue = shared_queue(postgres, clock, schema)
    caller = Caller(queue, clock)
    async with opened(queue):
        count = 2 * MOST_FORGOTTEN + BATCH
        for first in range(0, count, BATCH):
            await enqueue(caller, first)
        keys = f'SELECT count(*) FROM "{schema}".dedup'  # noqa: S608
        await postgres.until(keys, count)
        clock.advance(1)
        await postgres.until(keys, 0)
