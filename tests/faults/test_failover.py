"""A standby takes over from a primary that is killed under load, and nothing acknowledged is lost: each commit had
reached it (`synchronous_commit = on`, `synchronous_standby_names = 'ANY 1 (*)'`).

FAULT_SEED repeats a run's load and moments.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from tests.faults.fleet import fleet
from tests.faults.ledger import SEED
from tests.postgres import postgres_server, standby_of


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
                async with standby.administrator() as link:
                    assert await link.fetchval("SELECT pg_promote()")
                for process in run.processes:
                    await process.until_status("/readyz", 200)
                await run.until_delivered(len(run.ledger.delivered) + 100)
            await run.drained()
        assert all(sender.answers[503] for sender in run.senders)
        run.ledger.check(len(run.processes))
