"""A fleet whose way to PostgreSQL is cut off, broken or slow acknowledges nothing that isn't stored, loses nothing, and
works again by itself.

FAULT_SEED repeats a run's load and moments.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from tests.dispatcher.dispatcher_process import DispatcherProcess
from tests.faults.fleet import fleet
from tests.faults.ledger import JOB_TYPE, SEED
from tests.postgres import PostgresServer
from tests.toxiproxy import BOTH_WAYS, Toxiproxy


@pytest.mark.parametrize(
    ("kind", "cuts"),
    [
        # At the second time, what is asked for is done, and nobody hears of it.
        pytest.param("timeout", (BOTH_WAYS, ("downstream",)), id="nothing gets through"),
        pytest.param("reset_peer", (BOTH_WAYS, BOTH_WAYS), id="connections are reset"),
    ],
)
async def test_cut_off_it_acknowledges_nothing(
    postgres: PostgresServer, toxiproxy: Toxiproxy, tmp_path: Path, kind: str, cuts: tuple[tuple[str, ...], ...]
) -> None:
    dice = random.Random(f"{SEED} {kind}")
    way = await toxiproxy.proxy(postgres.port)
    async with fleet(postgres, tmp_path, 2, [postgres.dsn_by(way.port)]) as run:
        async with run.sending(200):
            for ways in cuts:
                await asyncio.sleep(dice.uniform(0.5, 1.5))
                async with way.toxic(kind, *ways, timeout=0):
                    for process in run.processes:
                        await process.until_status("/readyz", 503)
                    before = run.answers[202]
                    for number, process in enumerate(run.processes):
                        await refuses(process, f"refused-{number}")
                    assert run.answers[202] == before
                for process in run.processes:
                    await process.until_status("/readyz", 200)
        await run.drained()
        assert all(sender.answers[503] for sender in run.senders)
        assert len(run.ledger.acknowledged) > 100
        run.ledger.check(len(cuts) * len(run.processes))


async def refuses(process: DispatcherProcess, job: str) -> None:
    """A batch is not taken, and its caller is told when to try again."""
    answer = await process.post([{"type": JOB_TYPE, "id": job, "payload": {}}])
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


async def test_one_that_is_cut_off_is_given_up_by_the_others(
    postgres: PostgresServer, toxiproxy: Toxiproxy, tmp_path: Path
) -> None:
    way = await toxiproxy.proxy(postgres.port)
    async with fleet(postgres, tmp_path, 2, [postgres.dsn, postgres.dsn_by(way.port)]) as run:
        well, cut = run.processes
        async with run.sending(200):
            await asyncio.sleep(1)
            async with way.toxic("timeout", timeout=0):
                await cut.until_status("/readyz", 503)
                await well.until_logged("lease_expired", 60)
                assert await well.status("/readyz") == 200
                await refuses(cut, "refused")
            await cut.until_status("/readyz", 200)
            await cut.until_logged("lease_lost")
        await run.drained()
        assert len(run.ledger.acknowledged) > 100
        run.ledger.check(crashes=1)


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        pytest.param("latency", {"latency": 50, "jitter": 25}, id="far away"),
        pytest.param("bandwidth", {"rate": 64}, id="by 64 KB a second"),
    ],
)
async def test_slow_is_not_away(
    postgres: PostgresServer, toxiproxy: Toxiproxy, tmp_path: Path, kind: str, attributes: dict[str, int]
) -> None:
    way = await toxiproxy.proxy(postgres.port)
    async with fleet(postgres, tmp_path, 2, [postgres.dsn_by(way.port)]) as run:
        async with way.toxic(kind, **attributes):
            async with run.sending(200):
                await run.until_delivered(50)
            await run.drained()
        assert run.answers.keys() == {202}
        run.ledger.check(crashes=0)
