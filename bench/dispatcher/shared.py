"""What only the shared engine is measured for: a fleet on one schema, and a schema through which much went.

`rounds` calls it. Each measurement has a new PostgreSQL server of its own.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack

from bench.dispatcher.database import postgresql
from bench.dispatcher.ours import SCHEMA, Dispatcher, Variant
from bench.dispatcher.processes import BenchError
from notification_dispatcher.queue_names import TALLY
from tests.postgres import PostgresServer

Run = Callable[[Variant], AbstractContextManager[Dispatcher]]

_PARTS = 10
_SAMPLE = 10_000
"""So many jobs are a rate."""
_SECONDS = 600.0
_COUNTED_SECONDS = 30.0
_LEFT = f"SELECT sum(ready + scheduled + running)::bigint FROM {SCHEMA}.{TALLY}"  # noqa: S608  constants
"""Asked all the time: so it must cost nothing, unlike a count of the jobs."""


def fleet(run: Run, processes: int, jobs: int) -> dict[str, float]:
    """No-op jobs by several dispatchers: accepted by all of them, then drained by all of them."""
    with postgresql() as server, ExitStack() as stack:
        members = [stack.enter_context(run(Variant(dsn=server.dsn))) for _ in range(processes)]
        for one in members:
            one.order(hold=True)
        with ThreadPoolExecutor(processes) as threads:
            accepted = list(threads.map(lambda one: one.load(jobs // processes), members))
        cpu = sum(one.child.cpu_seconds() for one in members)
        began = time.perf_counter()
        for one in members:
            one.order(expect=sys.maxsize)
        asyncio.run(server.until(_LEFT, 0, _SECONDS))
        seconds = time.perf_counter() - began
        cpu = sum(one.child.cpu_seconds() for one in members) - cpu
        processed = _processed(members, jobs // processes * processes)
        rss = statistics.median(one.rss_mib() for one in members)
    return {
        "jobs_per_s": processed / seconds,
        "enqueued_per_s": sum(one["jobs"] / one["seconds"] for one in accepted),
        "cores": cpu / seconds,
        "rss_mib": rss,
    }


def _processed(members: Sequence[Dispatcher], expected: int) -> int:
    """Wait until they have counted what they stored: exactly."""
    until = time.monotonic() + _COUNTED_SECONDS
    while (processed := sum(one.counted()[0] for one in members)) != expected:
        if time.monotonic() > until:
            raise BenchError(f"{processed} jobs were processed, {expected} were expected")
        time.sleep(0.05)
    return processed


def churn(run: Run, jobs: int, waiting: int) -> dict[str, float]:
    """Jobs that come and go, a tenth after the other; then a backlog, drained to its end."""
    with postgresql() as server, run(Variant(dsn=server.dsn, dedup_window_ms=10_000)) as ours:
        rates, sizes = [], []
        for number in range(_PARTS):
            ours.order(expect=jobs // _PARTS)
            ours.load(jobs // _PARTS)
            both = ours.started(_SECONDS)
            rates.append(both["jobs"] / both["seconds"])
            ours.until_settled((number + 1) * (jobs // _PARTS))
            sizes.append(asyncio.run(_mib(server)))
        ours.order(hold=True)
        ours.load(waiting)
        # So many jobs after the other are one message each.
        ours.order(expect=_SAMPLE)
        drained = [ours.started(_SECONDS) for _ in range(waiting // _SAMPLE)]
    steps = [one["jobs"] / one["seconds"] for one in drained]
    return {
        "first_per_s": statistics.median(rates[:3]),
        "last_per_s": statistics.median(rates[-3:]),
        "first_mib": max(sizes[:3]),
        "last_mib": max(sizes[-3:]),
        "deep_per_s": statistics.median(steps[:3]),
        "shallow_per_s": statistics.median(steps[-3:]),
    }


async def _mib(server: PostgresServer) -> float:
    """The size of the tables with their indexes."""
    async with server.administrator() as link:
        found = await link.fetchval(
            "SELECT sum(pg_total_relation_size(relid)) FROM pg_stat_user_tables WHERE schemaname = $1", SCHEMA
        )
    return int(found) / 2**20
