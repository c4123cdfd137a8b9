"""Jobs are run, tried again, given up and given back, and nothing that one of them does harms another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from structlog.testing import capture_logs

from notification_dispatcher import metric_names as names
from notification_dispatcher import worker
from notification_dispatcher.channels.base import Delivery, Outcome
from notification_dispatcher.errors import QueueUnavailableError
from notification_dispatcher.job import Lease, Settlement, Settling
from notification_dispatcher.lanes import Lane
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.queues.base import Counts
from tests.dispatcher.rig import AGAIN, REFUSED, Rig, rigged


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with rigged(tmp_path, NOTIFICATION_WORKER_CONCURRENCY="4") as made:
        yield made


def reason_of(rig: Rig, reason: FailureReason) -> float:
    return rig.scrape().total(names.JOB_FAILURES_TOTAL, reason=reason.value)


async def test_jobs_are_delivered(rig: Rig) -> None:
    await rig.put("a", "b")
    rig.start()
    await rig.settle()
    assert [lease.id for lease in rig.crm.taken] == ["a", "b"]
    assert rig.parts.queue.counts() == Counts(0, 0, 0, 0)
    assert rig.scrape().total(names.JOBS_TOTAL, result="processed", job_type="booking-created") == 2


async def test_what_arrives_later_is_delivered_too(rig: Rig) -> None:
    rig.start()
    await rig.settle()
    await rig.put("a")
    await rig.settle()
    assert [lease.id for lease in rig.crm.taken] == ["a"]


async def test_no_more_run_at_once_than_allowed(rig: Rig) -> None:
    rig.crm.always = 1.0
    await rig.put(*(f"j{number}" for number in range(10)))
    rig.start()
    await rig.settle()
    assert rig.parts.worker.active == 4
    assert rig.scrape().total(names.ACTIVE_JOBS) == 4
    assert rig.scrape().total(names.QUEUE_DEPTH) == 6
    await rig.pass_time(3)
    assert (rig.crm.most, len(rig.crm.taken)) == (4, 10)


async def test_a_failed_delivery_is_tried_again_until_it_works(rig: Rig) -> None:
    rig.crm.script = [AGAIN, AGAIN]
    await rig.put("a")
    rig.start()
    await rig.pass_time(30)
    assert [lease.attempt for lease in rig.crm.taken] == [1, 2, 3]
    assert rig.scrape().total(names.RETRIES_TOTAL, job_type="booking-created") == 2
    assert rig.scrape().total(names.JOBS_TOTAL, result="failed") == 0


async def test_it_is_given_up_after_the_last_attempt_with_its_root_cause(rig: Rig) -> None:
    rig.crm.always = AGAIN
    await rig.put("a", job_type="instructor-rated")
    rig.start()
    await rig.pass_time(30)
    assert len(rig.crm.taken) == 2, "the job type's own number of attempts"
    assert reason_of(rig, FailureReason.HTTP_5XX) == 1
    report = await rig.parts.queue.report("a")
    assert report is not None
    assert (report.state, report.attempts, report.reason, report.detail) == ("dead", 2, "http_5xx", "crm: answered 503")


async def test_a_permanent_refusal_is_not_tried_again(rig: Rig) -> None:
    rig.crm.always = REFUSED
    await rig.put("a")
    rig.start()
    await rig.pass_time(10)
    assert len(rig.crm.taken) == 1
    assert reason_of(rig, FailureReason.HTTP_4XX) == 1


async def test_retry_after_is_obeyed(rig: Rig) -> None:
    rig.crm.script = [Delivery(Outcome.RETRY, FailureReason.HTTP_4XX, "answered 429", retry_after_ms=60_000)]
    await rig.put("a")
    rig.start()
    await rig.pass_time(59)
    assert len(rig.crm.taken) == 1
    await rig.pass_time(3)
    assert len(rig.crm.taken) == 2


async def test_an_attempt_that_takes_too_long_is_cut_off(tmp_path: Path) -> None:
    async with rigged(tmp_path, NOTIFICATION_JOB_TIMEOUT_MS="20", NOTIFICATION_RETRY_MAX_ATTEMPTS="1") as rig:
        rig.crm.always = 1_000_000.0
        await rig.put("a")
        rig.start()
        async with asyncio.timeout(5):
            while reason_of(rig, FailureReason.TIMEOUT) == 0:  # noqa: ASYNC110  asyncio's own clock decides
                await asyncio.sleep(0.001)


async def test_what_was_delivered_is_not_sent_again_for_another_channels_sake(rig: Rig) -> None:
    rig.team.script = [AGAIN]
    await rig.put("a", job_type="refund-requested")
    rig.start()
    await rig.pass_time(10)
    assert (len(rig.crm.taken), len(rig.team.taken)) == (1, 2)
    assert rig.scrape().total(names.JOBS_TOTAL, result="processed") == 1


async def test_a_job_fails_when_one_channel_refuses_and_the_others_are_done(rig: Rig) -> None:
    rig.team.script = [AGAIN]
    rig.crm.always = REFUSED
    await rig.put("a", job_type="refund-requested")
    rig.start()
    await rig.pass_time(10)
    assert (len(rig.crm.taken), len(rig.team.taken)) == (1, 2)
    assert rig.scrape().total(names.JOBS_TOTAL, result="failed") == 1
    report = await rig.parts.queue.report("a")
    assert report is not None
    assert report.detail == "crm: an earlier attempt failed for good"


async def test_a_channel_with_a_bug_harms_no_other_job(rig: Rig) -> None:
    rig.crm.script = [ZeroDivisionError("https://canary.example/secret")]
    await rig.put("bad", "good")
    rig.start()
    await rig.pass_time(10)
    assert rig.scrape().total(names.JOBS_TOTAL, result="processed") == 2
    assert [lease.id for lease in rig.crm.taken] == ["bad", "good", "bad"]


async def test_a_bug_is_not_the_destinations(rig: Rig) -> None:
    rig.crm.always = RuntimeError("a bug")
    await rig.put(*(f"j{number}" for number in range(20)))
    rig.start()
    await rig.settle()
    assert (len(rig.crm.taken), rig.scrape().total(names.CIRCUIT_OPEN)) == (20, 0)


async def test_a_bug_that_stays_ends_in_the_dead_letters(rig: Rig) -> None:
    rig.crm.always = ZeroDivisionError("https://canary.example/secret")
    await rig.put("bad", job_type="instructor-rated")
    rig.start()
    await rig.pass_time(20)
    assert reason_of(rig, FailureReason.UNKNOWN) == 1
    report = await rig.parts.queue.report("bad")
    assert report is not None
    assert report.detail == "crm: an error in the dispatcher: ZeroDivisionError"


@pytest.mark.parametrize("broken", ["blocks", "start"])
async def test_a_bug_in_the_worker_itself_ends_there_too(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    monkeypatch.setattr(Lane, broken, None)
    await rig.put("bad", job_type="instructor-rated")
    rig.start()
    await rig.pass_time(20)
    assert reason_of(rig, FailureReason.UNKNOWN) == 1


async def test_a_type_may_be_called_as_invalid_ones_are_labelled(rig: Rig) -> None:
    await rig.put("a", job_type="invalid")
    await rig.put("b", job_type="other")
    rig.start()
    await rig.pass_time(1)
    scrape = rig.scrape()
    assert {lease.id for lease in rig.crm.taken} == {"a", "b"}
    for job_type in ("invalid", "other"):
        assert scrape.total(names.JOBS_TOTAL, result="processed", job_type=job_type) == 1
        assert scrape.total(f"{names.JOB_DURATION_MS}_count", job_type=job_type) == 1


@pytest.mark.parametrize("broken", ["claim", "settle"])
async def test_a_bug_in_the_queue_ends_the_work_and_is_no_standstill(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    rig.crm.script = [1.0, 1_000_000.0]
    await rig.put("a", "b")
    working = rig.start()
    await rig.settle()

    async def fail(*_: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(rig.parts.queue, broken, fail)
    await rig.put("c")
    await rig.pass_time(2)
    async with asyncio.timeout(5):
        with pytest.raises(ExceptionGroup, match="TaskGroup"):
            await working


async def test_much_that_is_large_is_not_claimed_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with rigged(tmp_path, NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        rig.crm.always = 1_000_000.0
        await rig.take(*({"type": "booking-created", "id": f"j{n}", "payload": {"text": "x" * 100}} for n in range(12)))
        claim = rig.parts.queue.claim
        # As an engine does with large jobs.
        monkeypatch.setattr(rig.parts.queue, "claim", lambda _: claim(1))
        monkeypatch.setattr(worker, "_MOST_BYTES_AHEAD", 150)
        rig.start()
        await rig.settle()
        assert (len(rig.crm.taken), rig.parts.worker.waiting) == (4, 2)


async def test_the_slower_claims_are_the_more_are_claimed_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with rigged(tmp_path, NOTIFICATION_WORKER_CONCURRENCY="4") as rig:
        claim, claims = rig.parts.queue.claim, 0

        async def slow(count: int) -> list[Lease]:
            nonlocal claims
            claims += 1
            await rig.clock.sleep(0.1)
            return await claim(count)

        monkeypatch.setattr(rig.parts.queue, "claim", slow)
        for number in range(6):
            await rig.put(*(f"{number}-{one}" for one in range(500)))
        rig.start()
        await rig.pass_time(5, step=0.01)
        assert len(rig.crm.taken) == 3000
        assert claims < 40


async def test_without_a_channel_a_job_fails(tmp_path: Path) -> None:
    async with rigged(tmp_path, {}) as rig:
        await rig.put("a")
        rig.start()
        await rig.settle()
        assert reason_of(rig, FailureReason.NO_CHANNEL) == 1


async def test_a_job_that_ended_the_process_too_often_is_not_run_again(rig: Rig) -> None:
    await rig.put("poison", job_type="instructor-rated")
    for _ in range(3):
        # Leased, and then the process is killed: the engine puts it back, and counts it.
        (lease,) = await rig.parts.queue.claim(1)
        entry = rig.parts.queue._entries[lease.seq]  # type: ignore[attr-defined]
        rig.parts.queue._settle(entry, Settlement(lease=lease, settling="released", done={}), 0)  # type: ignore[attr-defined,arg-type]
        entry.crashes += 1
    rig.start()
    await rig.settle()
    assert rig.crm.taken == []
    assert reason_of(rig, FailureReason.INTERRUPTED) == 1


async def test_waits_and_durations_are_measured(rig: Rig) -> None:
    rig.crm.always = 2.0
    await rig.put("a")
    rig.clock.advance(3)
    rig.start()
    await rig.settle()
    await rig.pass_time(2)
    scrape = rig.scrape()
    assert scrape.total(f"{names.JOB_WAIT_DURATION_MS}_sum", job_type="booking-created") == 3000
    assert scrape.total(f"{names.JOB_DURATION_MS}_sum", job_type="booking-created") == 2000


async def test_a_retrys_wait_starts_when_it_is_due_again(rig: Rig) -> None:
    rig.crm.script = [Delivery(Outcome.RETRY, FailureReason.HTTP_4XX, "answered 429", retry_after_ms=60_000)]
    await rig.put("a")
    rig.start()
    await rig.pass_time(70, step=0.1)
    scrape = rig.scrape()
    assert scrape.total(f"{names.JOB_WAIT_DURATION_MS}_count", job_type="booking-created") == 2
    assert scrape.total(f"{names.JOB_WAIT_DURATION_MS}_sum", job_type="booking-created") <= 200


async def test_on_stop_what_runs_may_finish(rig: Rig) -> None:
    rig.crm.always = 2.0
    await rig.put(*(f"j{number}" for number in range(6)))
    working = rig.start(drain_seconds=5)
    await rig.settle()
    rig.parts.worker.stop()
    await rig.pass_time(2)
    await working
    assert rig.parts.queue.counts() == Counts(ready=2, scheduled=0, running=0, dead=0)
    assert rig.scrape().total(names.JOBS_TOTAL, result="processed") == 4


async def test_on_stop_what_takes_too_long_goes_back_at_no_cost(rig: Rig) -> None:
    rig.crm.always = 1_000_000.0
    await rig.put("a")
    working = rig.start(drain_seconds=0.01)
    await rig.settle()
    rig.parts.worker.stop()
    await working
    assert rig.parts.queue.counts() == Counts(ready=1, scheduled=0, running=0, dead=0)
    (lease,) = await rig.parts.queue.claim(1)
    assert lease.attempt == 1
    assert rig.scrape().total(names.JOB_FAILURES_TOTAL) == 0


async def test_an_idle_worker_stops_at_once(rig: Rig) -> None:
    working = rig.start()
    await rig.settle()
    rig.parts.worker.stop()
    await rig.settle()
    assert working.done()


async def test_a_queue_that_fails_for_a_while_loses_nothing(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    queue, broken = rig.parts.queue, True
    settle = queue.settle

    async def failing(batch: list[Settlement]) -> Sequence[Lease]:
        if broken:
            raise QueueUnavailableError("disk full")
        return await settle(batch)

    monkeypatch.setattr(queue, "settle", failing)
    await rig.put("a")
    rig.start()
    await rig.pass_time(5)
    assert (rig.parts.worker.active, rig.scrape().total(names.JOBS_TOTAL, result="processed")) == (1, 0)
    broken = False
    await rig.pass_time(2)
    assert (rig.parts.worker.active, rig.scrape().total(names.JOBS_TOTAL, result="processed")) == (0, 1)
    assert len(rig.crm.taken) == 1


@pytest.mark.parametrize(("away", "processed"), [(3, 1), (60, 0)])
async def test_on_stop_a_queue_that_is_away_is_waited_for_as_long_as_a_delivery(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, away: int, processed: int
) -> None:
    back = rig.clock.monotonic() + away
    settle = rig.parts.queue.settle

    async def failing(batch: list[Settlement]) -> Sequence[Lease]:
        if rig.clock.monotonic() < back:
            raise QueueUnavailableError("restarting")
        return await settle(batch)

    monkeypatch.setattr(rig.parts.queue, "settle", failing)
    await rig.put("a")
    working = rig.start(drain_seconds=5)
    await rig.settle()
    rig.parts.worker.stop()
    await rig.settle()
    assert (len(rig.crm.taken), working.done()) == (1, False)
    await rig.pass_time(7)
    assert (working.done(), rig.scrape().total(names.JOBS_TOTAL, result="processed")) == (True, processed)


async def test_on_stop_a_queue_that_does_not_answer_is_not_waited_for_longer(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hanging(_: Sequence[Settlement]) -> Sequence[Lease]:
        await asyncio.Event().wait()
        return []

    monkeypatch.setattr(rig.parts.queue, "settle", hanging)
    await rig.put("a")
    working = rig.start(drain_seconds=5)
    await rig.settle()
    rig.parts.worker.stop()
    with capture_logs() as logs:
        await rig.pass_time(5)
        assert (len(rig.crm.taken), working.done()) == (1, False)
        await rig.pass_time(1)
    assert working.done()
    assert [(line["action"], line["jobs"]) for line in logs] == [("settling_abandoned", 1)]


async def test_routes_of_the_moment_apply(rig: Rig) -> None:
    rig.crm.script = [AGAIN]
    await rig.put("a")
    rig.start()
    await rig.settle()
    rig.parts.in_force.channels = {"team": rig.team}
    await rig.pass_time(10)
    assert reason_of(rig, FailureReason.NO_CHANNEL) == 1


async def test_a_job_that_was_lost_and_leased_again_ends_once(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    await rig.put("a")
    (lost,) = await rig.parts.queue.claim(1)
    again = msgspec.structs.replace(lost, holder=lost.holder + 1)

    async def settle(batch: Sequence[Settlement]) -> Sequence[Lease]:
        return [lost]

    monkeypatch.setattr(rig.parts.queue, "settle", settle)
    both = [Settlement(lease=one, settling=Settling.PROCESSED) for one in (lost, again)]
    assert await rig.parts.worker._settle(both) == both[1:]
