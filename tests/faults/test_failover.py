"""A standby takes over from a primary that is killed under load, and nothing acknowledged is lost: each commit had
reached it (`synchronous_commit = on`, `synchronous_standby_names = 'ANY 1 (*)'`). Without, the ledger sees a loss.

FAULT_SEED repeats a run's load and moments.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import httpx

from tests.faults.fleet import fleet
from tests.faults.ledger import CONCURRENCY, SEED
from tests.postgres import PostgresServer, postgres_server, standby_of
from tests.toxiproxy import Toxiproxy


async def test_a_standby_is_promoted_under_load(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    options = ("synchronous_commit=on", "synchronous_standby_names=ANY 1 (*)")
    with postgres_server(*options) as primary, standby_of(primary) as standby:
        await primary.until("SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'quorum'", 1)
        async with fleet(standby, tmp_path, 2, [primary.dsn_by(standby.port, primary.port)]) as run:
            async with run.sending(200):
                await asyncio.sleep(dice.uniform(2, 4))
                await asyncio.to_thread(primary.kill)
                for process in run.processes:
                    # The standby answers all the while, and doesn't take writes.
                    await process.until_status("/readyz", 503)
                assert run.answers[202] > 10
                await promote(standby)
                for process in run.processes:
                    await process.until_status("/readyz", 200)
                await run.until_delivered(len(run.ledger.delivered) + 100)
            await run.drained()
        assert all(sender.answers[503] for sender in run.senders)
        run.ledger.check(len(run.processes))


async def test_what_an_asynchronous_standby_had_not_got_is_lost(tmp_path: Path, toxiproxy: Toxiproxy) -> None:
    with postgres_server() as primary:
        way = await toxiproxy.proxy(primary.port)
        with standby_of(primary, way.port) as standby:
            async with fleet(standby, tmp_path, 1, [primary.dsn_by(standby.port, primary.port)]) as run:
                (process,) = run.processes
                run.receiver.hanging.clear()
                # The tables have got there.
                got = "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()"
                await primary.until(got, 1)
                async with way.toxic("timeout", timeout=0):
                    # More than it may have taken to deliver.
                    ids = [f"job-{number}" for number in range(4 * CONCURRENCY)]
                    async with httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=10) as client:
                        assert await run.senders[0].post(client, ids)
                    await asyncio.to_thread(primary.kill)
                    await process.until_status("/readyz", 503)
                await promote(standby)
                await process.until_status("/readyz", 200)
                run.receiver.hanging.set()
                await run.drained()
            assert run.ledger.lost


async def promote(standby: PostgresServer) -> None:
    """Let it take writes."""
    async with standby.administrator() as link:
        assert await link.fetchval("SELECT pg_promote()")
