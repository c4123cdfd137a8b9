"""The real process: what it counts, what it survives, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from notification_dispatcher import metric_names as names
from notification_dispatcher.variables import Variable
from notification_operator.offline.settings_folder import swap
from tests.dispatcher.dispatcher_process import COMMAND, dispatcher
from tests.dispatcher.test_metrics import GUIDE
from tests.metrics import Scrape
from tests.receivers import Receivers
from tests.serving import served


class Slow:
    """A receiver that takes its time, and notes what it got."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.status = 204
        self.delivered: Counter[str] = Counter()
        self.begun = 0
        self.url = ""
        self._began = asyncio.Condition()

    async def all_begun(self, count: int) -> None:
        """Return when so many have begun to arrive."""
        async with asyncio.timeout(10), self._began:
            await self._began.wait_for(lambda: self.begun >= count)

    async def handle(self, request: web.Request) -> web.Response:
        content = await request.json()
        async with self._began:
            self.begun += 1
            self._began.notify_all()
        await asyncio.sleep(self.seconds)
        if self.status < 300:
            self.delivered[content["id"]] += 1
        return web.Response(status=self.status)


@pytest.fixture
async def slow() -> AsyncIterator[Slow]:
    made = Slow()
    application = web.Application()
    application.router.add_post("/", made.handle)
    async with served(application, shutdown_timeout=0.1) as server:
        made.url = f"{server}/"
        yield made


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with Receivers() as made:
        yield made


def webhook(name: str, url: str) -> dict[str, Any]:
    return {"name": name, "webhook": {"url": url, "allowPrivateAddresses": True}}


def routing(receivers: Receivers) -> dict[str, Any]:
    return {
        "channels": [webhook("crm", receivers.url("crm")), webhook("ratings", receivers.url("ratings"))],
        "jobTypes": [
            {"name": "booking-created", "channels": ["crm"], "priority": "High"},
            {
                "name": "instructor-rated",
                "channels": ["ratings"],
                "retry": {"maxAttempts": 2, "initialBackoff": "10ms", "maxBackoff": "20ms"},
            },
        ],
    }


def alerting(receivers: Receivers) -> dict[str, str]:
    return {
        "SLACK_WEBHOOK_URL": receivers.slack_url("alerts"),
        "NOTIFICATION_ALERT_ALLOW_PRIVATE_ADDRESSES": "true",
        "NOTIFICATION_PIPELINE_NAMESPACE": "plannivo",
        "NOTIFICATION_PIPELINE_NAME": "booking",
    }


def items(count: int, job_type: str = "booking-created", prefix: str = "j") -> list[dict[str, Any]]:
    return [{"type": job_type, "id": f"{prefix}-{number}", "payload": {"number": number}} for number in range(count)]


async def test_a_known_load_is_counted_exactly(tmp_path: Path, receivers: Receivers) -> None:
    async with dispatcher(tmp_path, routing(receivers), **alerting(receivers)) as process:
        before = await Scrape.of(process.url)
        for name, (kind, labels) in GUIDE.items():
            family = before.families[name]
            assert family.type == kind
            assert {label for sample in family.samples for label in sample.labels} - {"le"} == labels
            assert {sample.value for sample in family.samples} == {0.0}, name

        batch = [
            *items(200),
            *items(30, "instructor-rated", "r"),
            *items(20),
            {"type": "booking-created", "payload": 1},
        ]
        answer = await process.post(batch)
        assert answer.status_code == 202
        told = Counter(result["status"] for result in answer.json()["results"])
        assert told == {"queued": 230, "deduplicated": 20, "dropped": 1}

        await process.until(names.JOBS_TOTAL, 30, result="failed")
        after = await process.until(names.JOBS_TOTAL, 200, result="processed")
        expected = {
            ("queued", "booking-created"): 200,
            ("queued", "instructor-rated"): 30,
            ("deduplicated", "booking-created"): 20,
            ("dropped", "booking-created"): 1,
            ("processed", "booking-created"): 200,
            ("failed", "instructor-rated"): 30,
        }
        found = {
            (sample.labels["result"], sample.labels["job_type"]): sample.value
            for sample in after.families["plannivo_notification_jobs"].samples
            if sample.value
        }
        assert found == expected
        assert after.total(names.JOB_FAILURES_TOTAL, reason="http_4xx", job_type="instructor-rated") == 30
        assert after.total(names.JOB_FAILURES_TOTAL) == 30
        assert after.total(names.JOBS_DROPPED_TOTAL, reason="invalid_payload") == 1
        assert after.total(names.JOBS_DROPPED_TOTAL) == 1
        for histogram in (names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS):
            assert after.total(f"{histogram}_count", job_type="booking-created") == 200
            assert after.total(f"{histogram}_count", job_type="instructor-rated") == 60
        assert after.total(names.RETRIES_TOTAL, job_type="instructor-rated") == 30
        assert after.total(names.DELIVERY_ATTEMPTS_TOTAL, channel="ratings", outcome="retry") == 60
        assert (after.total(names.QUEUE_DEPTH), after.total(names.ACTIVE_JOBS)) == (0, 0)
        assert after.total(names.DEAD_JOBS) == 30
        assert receivers.delivered == Counter(f"j-{number}" for number in range(200))

        alert = await receivers.alert("Failure spike", 10)
        assert "plannivo/booking" in alert["text"]
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.post(f"{process.url}/api/alerts/test")).json() == {"status": "sent"}
        assert await process.end() == 0

        log = process.log.read_text()
        assert "CANARY" not in log.upper()
        assert "/services/" not in log
        assert all(line["action"] for line in process.lines())
        assert "CANARY" not in after.text.upper()


async def test_the_queue_is_there_after_a_restart(tmp_path: Path, slow: Slow) -> None:
    slow.status = 503
    backoff = {"NOTIFICATION_RETRY_INITIAL_BACKOFF_MS": "1", "NOTIFICATION_RETRY_MAX_BACKOFF_MS": "300"}
    patience = {"NOTIFICATION_RETRY_MAX_ATTEMPTS": "100", **backoff}
    async with dispatcher(tmp_path, {"channels": [webhook("crm", slow.url)]}, **patience) as process:
        await process.post(items(50))
        later = {"type": "booking-created", "id": "later", "payload": {}, "deliverAt": "2036-01-01T00:00:00Z"}
        assert (await process.post([later])).json()["results"][0]["reason"] == "invalid_payload"
        await process.until(names.RETRIES_TOTAL, 0, job_type="other")
        assert await process.end() == 0
        assert process.lines()[-1]["action"] == "stopped"
        assert process.lines()[-1]["waiting"] == 50

        slow.status = 204
        await process.start()
        await process.until(names.QUEUE_DEPTH, 0)
        await process.until(names.ACTIVE_JOBS, 0)
        assert set(slow.delivered) == {f"j-{number}" for number in range(50)}
        answer = await process.post(items(50))
        assert {result["status"] for result in answer.json()["results"]} == {"deduplicated"}


async def test_no_acknowledged_job_is_lost_when_it_is_killed(tmp_path: Path, slow: Slow) -> None:
    slow.seconds = 0.005
    acknowledged: set[str] = set()
    concurrency = 16

    async def load(process: Any, sender: int) -> None:
        with contextlib.suppress(httpx.TransportError):
            async with httpx.AsyncClient(base_url=process.url, trust_env=False) as client:
                for number in range(10_000):
                    batch = items(5, prefix=f"{sender}-{number}")
                    answer = await client.post("/api/notifications", json={"notifications": batch})
                    acknowledged.update(result["id"] for result in answer.json()["results"])

    variables = {"NOTIFICATION_WORKER_CONCURRENCY": str(concurrency), "NOTIFICATION_QUEUE_CAPACITY": "1000000"}
    crashes = 3
    async with dispatcher(tmp_path, {"channels": [webhook("crm", slow.url)]}, **variables) as process:
        for crash in range(crashes):
            senders = [asyncio.create_task(load(process, 10 * crash + sender)) for sender in range(4)]
            before = len(acknowledged)
            while len(acknowledged) < before + 200:  # noqa: ASYNC110  other tasks fill it
                await asyncio.sleep(0.01)
            assert await process.end(signal.SIGKILL) == -signal.SIGKILL
            await asyncio.gather(*senders)
            await process.start()
        await process.until(names.QUEUE_DEPTH, 0)
        scrape = await process.until(names.ACTIVE_JOBS, 0)
        assert scrape.total(names.DEAD_JOBS) == 0
    assert len(acknowledged) > 500
    assert acknowledged - set(slow.delivered) == set()
    repeated = slow.delivered.total() - len(slow.delivered)
    # What ran when it was killed, and what had just been delivered and not yet been noted.
    assert repeated <= crashes * concurrency * 2


async def test_on_sigterm_it_finishes_what_runs_and_keeps_the_rest(tmp_path: Path, slow: Slow) -> None:
    slow.seconds = 0.6
    async with dispatcher(
        tmp_path, {"channels": [webhook("crm", slow.url)]}, NOTIFICATION_WORKER_CONCURRENCY="3"
    ) as process:
        await process.post(items(10))
        await process.until(names.ACTIVE_JOBS, 3)
        await slow.all_begun(3)
        process.process.send_signal(signal.SIGTERM)
        await process.until_status("/readyz", 503)
        assert (await process.post(items(1, prefix="new"))).status_code == 503
        assert await process.status("/healthz") == 200
        assert await process.process.wait() == 0
        assert (slow.begun, slow.delivered.total()) == (3, 3)
        assert process.lines()[-1]["waiting"] == 7


async def test_on_sigterm_it_does_not_wait_longer_than_it_may(tmp_path: Path, slow: Slow) -> None:
    slow.seconds = 60
    async with dispatcher(
        tmp_path, {"channels": [webhook("crm", slow.url)]}, NOTIFICATION_DRAIN_TIMEOUT_MS="300"
    ) as process:
        await process.post(items(2))
        await process.until(names.ACTIVE_JOBS, 2)
        async with asyncio.timeout(8):
            assert await process.end() == 0
        assert process.lines()[-1]["waiting"] == 2


async def test_a_threshold_changes_without_a_restart(tmp_path: Path, receivers: Receivers) -> None:
    folder = tmp_path / "settings"
    folder.mkdir()
    swap(folder, {Variable.ALERT_FAILURE_THRESHOLD: b"20"})
    async with dispatcher(tmp_path, routing(receivers), NOTIFICATION_CONFIG_DIR=str(folder)) as process:
        pid = process.process.pid
        swap(folder, {Variable.ALERT_FAILURE_THRESHOLD: b"7"})
        await process.until(names.THRESHOLD, 7, threshold="failure")
        swap(folder, {Variable.ALERT_FAILURE_THRESHOLD: b"none"})
        scrape = await process.until(names.CONFIG_RELOADS_TOTAL, 1, result="rejected")
        assert scrape.total(names.THRESHOLD, threshold="failure") == 7
        assert process.process.pid == pid
        assert process.process.returncode is None


async def run_to_end(folder: Path, **variables: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        COMMAND,
        "run",
        env={"NOTIFICATION_QUEUE_PATH": str(folder / "queue.db"), "NOTIFICATION_PORT": "0", **variables},
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(20):
        _, told = await process.communicate()
    return process.returncode or 0, told.decode()


async def test_wrong_settings_end_it_with_a_sentence(tmp_path: Path) -> None:
    code, told = await run_to_end(tmp_path, NOTIFICATION_PORT="http", SLACK_WEBHOOK_URL="CANARY")
    assert code == 2
    assert "NOTIFICATION_PORT must be a whole number from 0 to 65535, and is 'http'" in told
    assert "SLACK_WEBHOOK_URL must be" in told
    assert "CANARY" not in told
    assert "Traceback" not in told


async def test_a_second_one_is_refused_with_a_sentence(tmp_path: Path, receivers: Receivers) -> None:
    async with dispatcher(tmp_path, routing(receivers)) as process:
        code, told = await run_to_end(tmp_path)
        assert (code, "Traceback" in told) == (1, False)
        assert "another dispatcher has the queue's file" in told
        code, told = await run_to_end(tmp_path / "other", NOTIFICATION_PORT=str(process.port))
        assert (code, "Traceback" in told) == (2, False)
        assert "cannot listen there: Address already in use. Choose another." in told
