"""A destination that misbehaves is its own trouble: the others are as fast as without it, and the process lives.

The times are taken outside the process: from a job's POST to its arrival. FAULT_SECONDS lengthens each measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import httpx
import pytest
from aiohttp import web

from notification_dispatcher import metric_names as names
from notification_dispatcher.channels.base import Outcome
from tests.dispatcher.dispatcher_process import DispatcherProcess, dispatcher
from tests.faults.odd import OddDestinations
from tests.faults.timing import Arrivals, Stream, median, p99_ms
from tests.metrics import Scrape
from tests.receivers import Receivers

SECONDS = max(3.0, float(os.environ.get("FAULT_SECONDS", "0")) / 10)
PAIRS = 3
PLACES = 32
FLOOR_MS = 25.0
"""Below it, the times say more of the machine than of the dispatcher: with two cores that others use too, a process
that wants to run waits for one or several time slices of 3 ms and more, now and then for a commit of somebody else's.
A destination that held the others up would cost its time limit, which is hundreds of milliseconds."""
RATIO = 1.5
SETTINGS = {
    "NOTIFICATION_WORKER_CONCURRENCY": str(PLACES),
    "NOTIFICATION_QUEUE_CAPACITY": "100000",
    "NOTIFICATION_LOG_LEVEL": "info",
}
TYPES = [{"name": "good", "channels": ["good"]}, {"name": "bad", "channels": ["hang"]}]


async def measured(folder: Path, *, with_bad: bool, timeout_ms: int = 30_000, places: int | None = None) -> float:
    """The p99 in ms of the good destination's jobs, beside a hanging one's that pour in, or alone."""
    folder.mkdir()
    limit = {} if places is None else {"concurrency": places}
    settings = SETTINGS | {"NOTIFICATION_JOB_TIMEOUT_MS": str(timeout_ms)}
    async with Arrivals().listening() as receiver, OddDestinations().listening() as odd:
        routing = {"channels": [receiver.channel("good"), odd.channel("hang", **limit)], "jobTypes": TYPES}
        async with dispatcher(folder, routing, **settings) as process:
            # Its first half a second makes connections and fills caches, and isn't measured.
            warm_up = Stream(process.url, "good", 150)
            await warm_up.run(0.5)
            good, bad = Stream(process.url, "good", 150), Stream(process.url, "bad", 400, batch=10)
            good.skip(len(warm_up.posted))
            async with asyncio.TaskGroup() as group:
                group.create_task(good.run(SECONDS))
                if with_bad:
                    group.create_task(bad.run(SECONDS))
            with contextlib.suppress(TimeoutError):
                await receiver.until_all("good", good.posted, 1)
            assert (odd.requests["hang"] > 0) is with_bad
            assert process.process.returncode is None
            return p99_ms(good.posted, receiver.times["good"])


@pytest.mark.parametrize("timeout_ms", [30_000, 300], ids=["held", "timed-out"])
async def test_one_that_hangs_does_not_slow_the_others(tmp_path: Path, timeout_ms: int) -> None:
    """With a long time limit its jobs keep their places; with a short one they fail, come back, open its circuit."""
    alone, beside = [], []
    for number in range(PAIRS):
        alone.append(await measured(tmp_path / f"a{number}", with_bad=False, timeout_ms=timeout_ms))
        beside.append(await measured(tmp_path / f"b{number}", with_bad=True, timeout_ms=timeout_ms))
    told = f"p99 in ms alone {[round(one, 1) for one in alone]}, beside it {[round(one, 1) for one in beside]}"
    print(told)  # noqa: T201  -s shows it
    assert median(beside) <= RATIO * max(median(alone), FLOOR_MS), told


async def test_the_measure_sees_one_that_takes_every_place(tmp_path: Path) -> None:
    """With no place left for others, which the default prevents, the same measurement fails: it can."""
    assert await measured(tmp_path / "b", with_bad=True, places=PLACES) > 10 * FLOOR_MS


JOBS = 3
"""For each odd destination, with two attempts: too few for its circuit to open."""
EXPECTED = {
    "hang": (Outcome.RETRY, "timeout"),
    "drip": (Outcome.RETRY, "timeout"),
    "reset": (Outcome.RETRY, "connection"),
    "nonsense": (Outcome.RETRY, "connection"),
    "endless-headers": (Outcome.RETRY, "connection"),
    "redirect": (Outcome.FAILED, "http_4xx"),
    # The status says that it was taken; what it has to say beyond that isn't waited for.
    "dripping-body": (Outcome.DELIVERED, None),
    "endless-body": (Outcome.DELIVERED, None),
}


def quota(_: str, time: int) -> web.Response:
    """Each job comes too early at first."""
    return web.Response(status=429, headers={"Retry-After": "1"}) if time == 1 else web.Response(status=204)


async def test_whatever_a_destination_does_is_counted_and_the_others_flow(tmp_path: Path) -> None:
    async with Arrivals().listening() as receiver, OddDestinations().listening() as odd:
        odd.elsewhere = receiver.channel("secret")["webhook"]["url"]
        receiver.answers["quota"] = quota
        channels = [receiver.channel("good"), receiver.channel("quota"), *map(odd.channel, EXPECTED)]
        types = [{"name": one["name"], "channels": [one["name"]]} for one in channels]
        settings = SETTINGS | {
            "NOTIFICATION_JOB_TIMEOUT_MS": "1000",
            "NOTIFICATION_RETRY_MAX_ATTEMPTS": "2",
            "NOTIFICATION_RETRY_INITIAL_BACKOFF_MS": "10",
        }
        async with dispatcher(tmp_path, {"channels": channels, "jobTypes": types}, **settings) as process:
            good = Stream(process.url, "good", 100)
            async with asyncio.TaskGroup() as group:
                group.create_task(good.run(SECONDS))
                jobs = [{"type": name, "id": f"{name}-{n}", "payload": {}} for name in EXPECTED for n in range(JOBS)]
                jobs += [{"type": "quota", "id": f"quota-{n}", "payload": {}} for n in range(JOBS)]
                group.create_task(process.post(jobs))
            await receiver.until_all("good", good.posted, 5)
            lost = JOBS * sum(reason is not None for _, reason in EXPECTED.values())
            await process.until(names.JOBS_TOTAL, lost, result="failed")
            delivered = len(good.posted) + len(jobs) - lost
            scrape = await process.until(names.JOBS_TOTAL, delivered, result="processed")
            assert process.process.returncode is None
            assert "bug" not in {line.get("action") for line in process.lines()}
        for name in EXPECTED:
            check_counted(scrape, name, odd)
        check_quota(scrape, receiver)
        assert "secret" not in receiver.times, "the redirect was followed"
        assert receiver.count("good") == len(good.posted)
        assert p99_ms(good.posted, receiver.times["good"]) < 500


def attempts(scrape: Scrape, channel: str) -> dict[str, float]:
    """How a channel's deliveries ended, as it is counted."""
    found = {
        one.value: scrape.total(names.DELIVERY_ATTEMPTS_TOTAL, channel=channel, outcome=one.value) for one in Outcome
    }
    return {outcome: count for outcome, count in found.items() if count}


def check_counted(scrape: Scrape, name: str, odd: OddDestinations) -> None:
    """An odd destination's jobs ended as they should, and it could not talk us to death."""
    outcome, reason = EXPECTED[name]
    times = 2 if outcome is Outcome.RETRY else 1
    assert attempts(scrape, name) == {outcome.value: times * JOBS}, name
    assert odd.requests[name] == times * JOBS, name
    failed = {
        sample.labels["reason"]: sample.value
        for family in scrape.families.values()
        for sample in family.samples
        if sample.name.endswith(names.JOB_FAILURES_TOTAL) and sample.labels["job_type"] == name and sample.value
    }
    assert failed == ({} if reason is None else {reason: JOBS}), name
    # What the system's buffers take at both ends, and no more.
    assert odd.sent[name] < times * JOBS * 16 * 2**20, name


def check_quota(scrape: Scrape, receiver: Arrivals) -> None:
    """Each was tried again, when it had been told to come again."""
    assert attempts(scrape, "quota") == {"retry": JOBS, "delivered": JOBS}
    for first, second in receiver.times["quota"].values():
        assert second - first >= 1


async def test_a_job_of_two_channels_is_delivered_once_through_the_good_one(tmp_path: Path) -> None:
    jobs = [f"both-{number}" for number in range(3)]
    async with Arrivals().listening() as receiver:
        receiver.answers["bad"] = lambda _, time: web.Response(status=503 if time <= 3 else 204)
        routing = {"channels": [receiver.channel("good"), receiver.channel("bad")]}
        async with dispatcher(tmp_path, routing, NOTIFICATION_RETRY_INITIAL_BACKOFF_MS="50", **SETTINGS) as process:
            await process.post([{"type": "both", "id": one, "payload": {}} for one in jobs])
            scrape = await process.until(names.JOBS_TOTAL, len(jobs), result="processed")
        assert {job: len(times) for job, times in receiver.times["good"].items()} == dict.fromkeys(jobs, 1)
        assert {job: len(times) for job, times in receiver.times["bad"].items()} == dict.fromkeys(jobs, 4)
        assert attempts(scrape, "good") == {"delivered": len(jobs)}
        assert attempts(scrape, "bad") == {"retry": 3 * len(jobs), "delivered": len(jobs)}


DOWN = 200
"""Jobs for a destination that is down: without a circuit, each would spend its five attempts within a second."""


async def test_one_that_is_down_is_spared_told_of_and_served_when_it_is_back(tmp_path: Path) -> None:
    async with Arrivals().listening() as receiver, Receivers() as slack:
        receiver.answers["bad"] = lambda _, __: web.Response(status=503)
        types = [{"name": name, "channels": [name]} for name in ("good", "bad")]
        routing = {"channels": [receiver.channel("good"), receiver.channel("bad")], "jobTypes": types}
        settings = SETTINGS | {
            "NOTIFICATION_RETRY_INITIAL_BACKOFF_MS": "20",
            "NOTIFICATION_RETRY_MAX_BACKOFF_MS": "100",
            "NOTIFICATION_ALERT_BACKLOG_THRESHOLD": str(DOWN // 2),
            "NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS": "800",
            "NOTIFICATION_ALERT_COOLDOWN_MS": "3000",
            "NOTIFICATION_ALERT_ALLOW_PRIVATE_ADDRESSES": "true",
            "SLACK_ALERT_WEBHOOK_URL": slack.slack_url("alerts"),
        }
        async with dispatcher(tmp_path, routing, **settings) as process:
            jobs = [f"bad-{number}" for number in range(DOWN)]
            await process.post([{"type": "bad", "id": one, "payload": {}} for one in jobs])
            await process.until(names.CIRCUIT_OPEN, 1, channel="bad")
            await slack.alert("[FIRING] Backlog growth", 5)
            # It starts with a probe, which has waited by then: one a second at first, and fewer later.
            await slack.alert("[FIRING] High wait", 5)
            good = Stream(process.url, "good", 100)
            await good.run(1)
            await receiver.until_all("good", good.posted, 2)
            await check_spared(process, receiver, jobs)
            receiver.answers.clear()
            await receiver.until_all("bad", jobs, 15)
            scrape = await process.until(names.JOBS_TOTAL, DOWN + len(good.posted), result="processed")
            assert scrape.total(names.CIRCUIT_OPEN) == 0
            assert attempts(scrape, "bad")["delivered"] == DOWN
            assert sum(attempts(scrape, "bad").values()) == receiver.count("bad")
            for title in ("Backlog growth", "High wait"):
                await slack.alert(f"[RESOLVED] {title}", 10)


async def check_spared(process: DispatcherProcess, receiver: Arrivals, jobs: list[str]) -> None:
    """While it is down, its jobs wait, all of them, and have spent next to nothing."""
    scrape = await Scrape.of(process.url)
    assert scrape.total(names.CIRCUIT_OPEN, channel="bad") == 1
    assert scrape.total(names.CIRCUIT_OPEN, channel="good") == 0
    assert scrape.total(names.QUEUE_DEPTH) + scrape.total(names.ACTIVE_JOBS) == DOWN
    assert scrape.total(names.DEAD_JOBS) == 0
    # Ten failures open it; with the last of them, half of the places were taken by others. Then the probes.
    assert receiver.count("bad") <= PLACES // 2 + 10 + 5
    spared = next(one for one in jobs if one not in receiver.times["bad"])
    async with httpx.AsyncClient(trust_env=False) as client:
        report = (await client.get(f"{process.url}/api/notifications/{spared}")).json()
    assert (report["state"], report["attempts"]) == ("scheduled", 0)
    assert attempts(scrape, "bad") == {"retry": receiver.count("bad")}
    assert scrape.total(names.POSTPONED_TOTAL, reason="circuit") >= DOWN - receiver.count("bad")
