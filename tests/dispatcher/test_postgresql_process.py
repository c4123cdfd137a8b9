"""The real dispatcher on a real PostgreSQL server: TLS, a rotated secret, a server that goes away and comes back."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import httpx
import pytest

from notification_dispatcher import metric_names as names
from notification_dispatcher.variables import Variable
from notification_operator.offline.settings_folder import swap
from notification_operator.resources import pod_template
from tests.certificates import self_signed
from tests.contract.shared import SharedVirtualClock, new_schema, opened, shared_queue
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.ledger import JOB_TYPE, Ledger, Receiver, Sender
from tests.metrics import Scrape
from tests.pod import free_port
from tests.postgres import PASSWORD, PostgresServer, postgres_server
from tests.receivers import Receivers

_OF_DISPATCHERS = "FROM pg_stat_activity WHERE application_name = 'notification-dispatcher'"


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver(Ledger(), random.Random(1))
    receiver.moody = False
    async with receiver.listening():
        yield receiver


def settings(schema: str, **more: str) -> dict[str, str]:
    return {"NOTIFICATION_QUEUE_ENGINE": "postgresql", "NOTIFICATION_QUEUE_SCHEMA": schema, **more}


def jobs(*ids: str) -> list[dict[str, object]]:
    return [{"type": JOB_TYPE, "id": one, "payload": {}} for one in ids]


async def delivered(receiver: Receiver, *ids: str) -> None:
    async with asyncio.timeout(30):
        while not receiver.ledger.delivered.keys() >= set(ids):  # noqa: ASYNC110  another process delivers
            await asyncio.sleep(0.02)


async def test_a_rotated_secret_is_taken_up_while_jobs_run(tmp_path: Path, receiver: Receiver) -> None:
    old, new = self_signed(tmp_path, "old"), self_signed(tmp_path, "new")
    folder = tmp_path / "settings"
    folder.mkdir()
    with postgres_server(certificate=old) as server:
        swap(folder, secret(server.dsn, old.certificate))
        variables = settings(new_schema(), NOTIFICATION_CONFIG_DIR=str(folder))
        async with dispatcher(tmp_path, {"channels": [receiver.channel()]}, **variables) as process:
            receiver.hanging.clear()
            await process.post(jobs("in flight"))
            await process.until(names.ACTIVE_JOBS, 1)
            sender = Sender(receiver.ledger, process.url, "s", random.Random(2))
            sending = asyncio.create_task(sender.run(50))
            changed = f"{PASSWORD}-2"
            server.secure(new)
            async with server.administrator() as link:
                await link.execute(f"ALTER ROLE dispatcher PASSWORD '{changed}'")
                since = await link.fetchval("SELECT clock_timestamp()::text")
            server.password = changed
            swap(folder, secret(server.dsn, new.certificate))
            # The old connections are given up one by one, and the new ones trust the new CA alone.
            await server.until(f"SELECT count(*) {_OF_DISPATCHERS} AND backend_start < '{since}'", value=0)
            await server.until(f"SELECT count(*) >= 3 {_OF_DISPATCHERS}", value=True)
            sender.stop()
            await sending
            receiver.hanging.set()
            await delivered(receiver, "in flight", *receiver.ledger.acknowledged)
            await process.until(names.ACTIVE_JOBS, 0)
            assert receiver.ledger.acknowledged
            assert receiver.ledger.duplicates == 0
            assert changed not in process.log.read_text()


def secret(dsn: str, ca: Path) -> dict[str, bytes]:
    return {Variable.QUEUE_DSN: dsn.encode(), Variable.QUEUE_CA: ca.read_bytes()}


async def test_a_certificate_of_another_ca_is_not_trusted(tmp_path: Path) -> None:
    real, other = self_signed(tmp_path, "real"), self_signed(tmp_path, "other")
    (tmp_path / "routing.json").write_text("{}")
    with postgres_server(certificate=real) as server:
        access = {"NOTIFICATION_QUEUE_DSN": server.dsn, "NOTIFICATION_QUEUE_CA": other.certificate.read_text()}
        process = DispatcherProcess(tmp_path, settings(new_schema(), **access))
        await process.launch()
        try:
            async with asyncio.timeout(30):
                while "SSLCertVerificationError" not in process.log.read_text():  # noqa: ASYNC110  another process
                    await asyncio.sleep(0.02)
            assert await process.status("/readyz") != 200
        finally:
            await process.end(signal.SIGKILL)


async def test_while_the_server_is_down_nothing_is_acknowledged(tmp_path: Path, receiver: Receiver) -> None:
    with postgres_server() as server:
        variables = settings(new_schema(), NOTIFICATION_QUEUE_DSN=server.dsn)
        async with dispatcher(tmp_path, {"channels": [receiver.channel()]}, **variables) as process:
            receiver.hanging.clear()
            await process.post(jobs("in flight"))
            await process.until(names.ACTIVE_JOBS, 1)
            server.kill()
            answer = await process.post(jobs("refused"))
            assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")
            await process.until_status("/readyz", 503)
            receiver.hanging.set()
            await delivered(receiver, "in flight")
            server.start()
            await process.until_status("/readyz", 200)
            # What ran is settled, once.
            await process.until(names.ACTIVE_JOBS, 0)
            assert (await process.post(jobs("taken", "in flight"))).status_code == 202
            await delivered(receiver, "taken")
            assert receiver.ledger.delivered == {"in flight": 1, "taken": 1}


async def test_a_server_that_hangs_is_not_waited_for(tmp_path: Path, receiver: Receiver) -> None:
    with postgres_server() as server:
        variables = settings(new_schema(), NOTIFICATION_QUEUE_DSN=server.dsn)
        async with dispatcher(tmp_path, {"channels": [receiver.channel()]}, **variables) as process:
            receiver.hanging.clear()
            await process.post(jobs("in flight"))
            await process.until(names.ACTIVE_JOBS, 1)
            pids = server.pids
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                async with httpx.AsyncClient(base_url=process.url, trust_env=False, timeout=60) as client:
                    answer = await client.post("/api/notifications", json={"notifications": jobs("refused")})
                    assert answer.status_code == 503
                    assert (await client.get("/readyz")).status_code == 503
                    assert (await client.get("/healthz")).status_code == 200
                receiver.hanging.set()
                await delivered(receiver, "in flight")
            finally:
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
            await process.until_status("/readyz", 200)
            await process.until(names.ACTIVE_JOBS, 0)
            await process.post(jobs("taken", "in flight"))
            await delivered(receiver, "taken")
            assert receiver.ledger.delivered == {"in flight": 1, "taken": 1}


async def test_on_sigterm_a_server_that_hangs_is_waited_for_no_longer_than_a_pod_may_take(
    tmp_path: Path, receiver: Receiver
) -> None:
    schema = new_schema()
    with postgres_server() as server:
        variables = settings(schema, NOTIFICATION_QUEUE_DSN=server.dsn, NOTIFICATION_DRAIN_TIMEOUT_MS="1000")
        async with dispatcher(tmp_path, {"channels": [receiver.channel()]}, **variables) as process:
            receiver.hanging.clear()
            await process.post(jobs("in flight"))
            await process.until(names.ACTIVE_JOBS, 1)
            # So that the exchange of alerts hangs in the middle of its transaction.
            locking = await asyncpg.connect(server.dsn)
            await locking.execute(f"BEGIN; SELECT FROM {schema}.board FOR UPDATE")
            async with asyncio.timeout(10):
                while not await locking.fetchval(f"SELECT count(*) {_OF_DISPATCHERS} AND wait_event_type = 'Lock'"):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
            pids = server.pids
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
            try:
                process.process.send_signal(signal.SIGTERM)
                await process.until_status("/readyz", 503)
                receiver.hanging.set()
                async with asyncio.timeout(1 + pod_template._STOP_MARGIN_SECONDS):
                    assert await process.process.wait() == 0
            finally:
                locking.terminate()
                for pid in pids:
                    os.kill(pid, signal.SIGCONT)
            assert "settling_abandoned" in {line.get("action") for line in process.lines()}


async def test_dispatchers_that_share_a_queue_have_the_rate_of_both(
    tmp_path: Path, receiver: Receiver, postgres: PostgresServer
) -> None:
    limited = {"channels": [{**receiver.channel(), "rateLimit": {"perSecond": 10, "burst": 1}}]}
    variables = settings(new_schema(), NOTIFICATION_QUEUE_DSN=postgres.dsn)
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    async with dispatcher(folders[0], limited, **variables) as one, dispatcher(folders[1], limited, **variables):
        ids = [f"j{number}" for number in range(160)]
        await one.post(jobs(*ids))
        began = time.monotonic()
        await delivered(receiver, *ids)
    # 8 seconds' worth; alone, or if each had half of its rate, it would be 16.
    assert 7 < time.monotonic() - began < 14


async def test_what_slack_did_not_take_from_one_that_ended_the_next_one_sends(
    tmp_path: Path, receiver: Receiver, postgres: PostgresServer
) -> None:
    receiver.status = 410
    async with Receivers() as slack:
        variables = settings(
            new_schema(),
            NOTIFICATION_QUEUE_DSN=postgres.dsn,
            NOTIFICATION_ALERT_FAILURE_THRESHOLD="1",
            NOTIFICATION_ALERT_ALLOW_PRIVATE_ADDRESSES="true",
        )
        # Nobody listens there.
        down = {"SLACK_ALERT_WEBHOOK_URL": f"http://127.0.0.1:{free_port()}/hook"}
        async with dispatcher(tmp_path, {"channels": [receiver.channel()]}, **variables, **down) as process:
            await process.post(jobs("a"))
            await process.until_logged("alert_not_sent")
            assert await process.end() == 0
            assert "alert_left" in {line.get("action") for line in process.lines()}
        up = {"SLACK_ALERT_WEBHOOK_URL": slack.slack_url("alerts")}
        async with dispatcher(tmp_path, {"channels": [receiver.channel()]}, **variables, **up):
            assert "[FIRING]" in (await slack.alert("Failure spike", 10))["text"]


async def test_a_second_pipeline_does_not_start(tmp_path: Path, receiver: Receiver, postgres: PostgresServer) -> None:
    variables = settings(new_schema(), NOTIFICATION_QUEUE_DSN=postgres.dsn)
    async with dispatcher(tmp_path, {"channels": [receiver.channel()]}, **variables):
        other = DispatcherProcess(tmp_path, {**variables, "NOTIFICATION_PIPELINE_NAME": "rental"})
        await other.launch()
        assert await asyncio.wait_for(other.process.wait(), 30) == 1
        assert "is the pipeline local/notifications's, and this is local/rental: give each" in other.log.read_text()


async def test_a_second_pipeline_ends_once_the_server_is_up(tmp_path: Path) -> None:
    schema = new_schema()
    (tmp_path / "routing.json").write_text("{}")
    with postgres_server() as server:
        async with opened(shared_queue(server, SharedVirtualClock(), schema)):
            pass
        server.stop()
        process = DispatcherProcess(tmp_path, settings(schema, NOTIFICATION_QUEUE_DSN=server.dsn))
        await process.launch()
        try:
            await process.until_status("/readyz", 503)
            server.start()
            assert await asyncio.wait_for(process.process.wait(), 60) == 1
        finally:
            await process.end(signal.SIGKILL)
        told = process.log.read_text()
        assert "is the pipeline plannivo/booking's, and this is local/notifications: give each" in told
        assert "Traceback" not in told


async def test_a_suspended_dispatchers_job_runs_once_more(
    tmp_path: Path, receiver: Receiver, postgres: PostgresServer
) -> None:
    variables = settings(new_schema(), NOTIFICATION_QUEUE_DSN=postgres.dsn)
    routing = {"channels": [receiver.channel()]}
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    async with dispatcher(tmp_path / "first", routing, **variables) as first:
        receiver.hanging.clear()
        await first.post(jobs("a"))
        await first.until(names.ACTIVE_JOBS, 1)
        async with dispatcher(tmp_path / "second", routing, **variables) as second:
            first.process.send_signal(signal.SIGSTOP)
            # Longer than its lease, by the only clock that counts: the other's heartbeats.
            async with asyncio.timeout(60):
                while (await Scrape.of(second.url)).total(names.ACTIVE_JOBS) != 1:  # noqa: ASYNC110  another process has it
                    await asyncio.sleep(0.1)
            first.process.send_signal(signal.SIGCONT)
            receiver.hanging.set()
            for process in (first, second):
                await process.until(names.ACTIVE_JOBS, 0)
                await process.until(names.QUEUE_DEPTH, 0)
            assert receiver.ledger.delivered == {"a": 2}
            # One of the two counted it: queued once, processed once.
            scrapes = [await Scrape.of(process.url) for process in (first, second)]
            assert sum(scrape.total(names.JOBS_TOTAL, result="processed") for scrape in scrapes) == 1
            # Both go on.
            await first.post(jobs("b"))
            await second.post(jobs("c"))
            await delivered(receiver, "b", "c")
            assert receiver.ledger.delivered == {"a": 2, "b": 1, "c": 1}
