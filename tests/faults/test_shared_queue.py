"""Nothing acknowledged is lost by a fleet on one PostgreSQL, whichever of its processes is killed, the server too; and
it alerts as one.

FAULT_SECONDS says for how long each fleet is broken; FAULT_SEED repeats a run's load and moments.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from pathlib import Path

import pytest

from notification_dispatcher import metric_names as names
from notification_dispatcher.queues.postgresql.engine import LEASE_SECONDS
from tests.faults.fleet import fleet
from tests.faults.ledger import JOB_TYPE, SEED
from tests.faults.wall_clock import WallClock, tidied_up
from tests.postgres import PostgresServer, postgres_server
from tests.receivers import Receivers

SECONDS = float(os.environ.get("FAULT_SECONDS", "10"))


@pytest.mark.parametrize("size", [1, 2, 8])
async def test_dispatchers_are_killed_at_random(postgres: PostgresServer, tmp_path: Path, size: int) -> None:
    dice = random.Random(f"{SEED} {size}")
    crashes = 0
    async with fleet(postgres, tmp_path, size) as run:
        until = time.monotonic() + SECONDS
        async with run.sending(200):
            while time.monotonic() < until:
                victim = dice.choice(run.processes)
                if dice.random() < 0.7:
                    # As a rule it works when it ends; now and then it has only begun.
                    await victim.until_status("/readyz", 200)
                await asyncio.sleep(dice.uniform(0.2, 1.5))
                await victim.end(signal.SIGKILL)
                crashes += 1
                await victim.launch()
            for process in run.processes:
                await process.until_status("/readyz", 200)
        await run.drained()
        assert len(run.ledger.acknowledged) > 50
        run.ledger.check(crashes)


async def test_the_server_is_killed_under_load(tmp_path: Path) -> None:
    dice = random.Random(SEED)
    crashes = 3
    with postgres_server() as server:
        async with fleet(server, tmp_path, 2) as run:
            async with run.sending(200):
                for _ in range(crashes):
                    await asyncio.sleep(dice.uniform(1, 3))
                    await asyncio.to_thread(server.kill)
                    for process in run.processes:
                        await process.until_status("/readyz", 503)
                    await asyncio.to_thread(server.start)
                    for process in run.processes:
                        await process.until_status("/readyz", 200)
            await run.drained()
        assert all(sender.answers[503] for sender in run.senders)
        assert len(run.ledger.acknowledged) > 100
        # Each of the two may have ended as much that could not be settled in time.
        run.ledger.check(crashes * len(run.processes))


async def test_the_servers_clock_is_set_under_load(tmp_path: Path) -> None:
    with postgres_server() as server:
        server.stop()
        clock = WallClock(server.folder)
        server.variables = clock.variables
        await asyncio.to_thread(server.start)
        with tidied_up(server.pids[0]):
            async with fleet(server, tmp_path, 2) as run:
                # What waits for an hour of the server's clock waits for it: so nothing is to be tried again.
                run.receiver.moody = False
                async with run.sending(200):
                    for hours in (1, -2):
                        clock.jump(hours * 3600)
                        between = (clock.after(-600), clock.after(600))
                        told = "SELECT clock_timestamp() BETWEEN '{}' AND '{}'".format(*between)
                        await server.until(told, value=True)
                        taken = len(run.ledger.acknowledged)
                        # Whoever is to be taken for dead would be by then, and would begin to count anew.
                        await run.all_beat(round(LEASE_SECONDS) + 2)
                        assert len(run.ledger.acknowledged) > taken
                await run.drained()
                run.ledger.check(crashes=0)
                logs = "".join(process.log.read_text() for process in run.processes)
                assert "lease_expired" not in logs


async def test_eight_dispatchers_tell_slack_once(postgres: PostgresServer, tmp_path: Path) -> None:
    async with Receivers() as slack:
        alerting = {
            "SLACK_ALERT_WEBHOOK_URL": slack.slack_url("alerts"),
            "NOTIFICATION_ALERT_ALLOW_PRIVATE_ADDRESSES": "true",
            "NOTIFICATION_ALERT_FAILURE_THRESHOLD": "40",
            "NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS": "600000",
        }
        async with fleet(postgres, tmp_path, 8, **alerting) as run:
            run.receiver.status = 410
            # To each of them, and to none as many as the threshold.
            for number, process in enumerate(run.processes):
                batch = [{"type": JOB_TYPE, "id": f"p{number}-{one}", "payload": {}} for one in range(10)]
                assert (await process.post(batch)).status_code == 202
            await slack.alert("Failure spike", 60)
            # Of eighty failures, forty made the alert, and the cooldown keeps back the rest: then all have been told.
            async with asyncio.timeout(60):
                while await run.total(names.ALERTS_TOTAL, outcome="suppressed") < 40:  # noqa: ASYNC110  their states
                    await asyncio.sleep(0.1)
            assert await run.total(names.JOB_FAILURES_TOTAL) == 80
            assert await run.total(names.ALERTS_TOTAL, outcome="sent") == len(slack.alerts) == 1
