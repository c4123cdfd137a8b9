"""The metrics: names, types and labels of the guide, all at zero, and sums that always hold."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from notification_dispatcher import metric_names as names
from notification_dispatcher.channels.base import DELIVERED, Delivery
from notification_dispatcher.metric_names import DropReason, FailureReason, Result
from notification_dispatcher.settings_source import read
from tests.dispatcher.rig import AGAIN, REFUSED, ROUTING, Rig, rigged
from tests.metrics import Scrape

GUIDE = {
    "plannivo_notification_queue_depth": ("gauge", set()),
    "plannivo_notification_active_jobs": ("gauge", set()),
    "plannivo_notification_jobs": ("counter", {"result", "job_type"}),
    "plannivo_notification_job_wait_duration_ms": ("histogram", {"job_type"}),
    "plannivo_notification_job_duration_ms": ("histogram", {"job_type"}),
    "plannivo_notification_job_failures": ("counter", {"reason", "job_type"}),
    "plannivo_notification_jobs_dropped": ("counter", {"reason"}),
}
"""The guide's table; the parser takes `_total` off a counter's name."""

RUNTIME = (
    "plannivo_process_cpu_seconds",
    "plannivo_process_resident_memory_bytes",
    "plannivo_process_open_fds",
    "plannivo_process_max_fds",
    "plannivo_process_start_time_seconds",
    "plannivo_python_gc_collections",
    "plannivo_python_info",
    "plannivo_event_loop_lag_seconds",
)


async def test_the_guides_metrics_are_there_with_their_types_and_labels(tmp_path: Path) -> None:
    async with rigged(tmp_path) as rig:
        scrape = rig.scrape()
    for name, (kind, labels) in GUIDE.items():
        family = scrape.families[name]
        assert (family.type, family.documentation != "") == (kind, True)
        assert {label for sample in family.samples for label in sample.labels} - {"le"} == labels
    for name in RUNTIME:
        assert name in scrape.families
    assert all(name.startswith("plannivo_") for name in scrape.families)
    assert "_created" not in scrape.text


async def test_what_can_be_known_is_there_at_zero(tmp_path: Path) -> None:
    async with rigged(tmp_path) as rig:
        scrape = rig.scrape()
    for job_type in ("booking-created", "instructor-rated", "refund-requested", "other"):
        for result in Result:
            assert scrape.total(names.JOBS_TOTAL, result=result.value, job_type=job_type) == 0
        for failure in FailureReason:
            assert scrape.total(names.JOB_FAILURES_TOTAL, reason=failure.value, job_type=job_type) == 0
        for histogram in (names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS):
            assert scrape.total(f"{histogram}_count", job_type=job_type) == 0
    for reason in DropReason:
        assert scrape.total(names.JOBS_DROPPED_TOTAL, reason=reason.value) == 0
    assert scrape.total(names.JOBS_TOTAL, result="dropped", job_type="invalid") == 0
    for outcome in ("delivered", "retry", "failed"):
        assert scrape.total(names.DELIVERY_ATTEMPTS_TOTAL, channel="crm", outcome=outcome) == 0


LATENCIES = (names.JOB_WAIT_DURATION_MS, names.JOB_DURATION_MS)


def bounds(scrape: Scrape, histogram: str, job_type: str = "other") -> set[float]:
    samples = scrape.families[f"plannivo_{histogram}"].samples
    return {float(one.labels["le"]) for one in samples if "le" in one.labels and one.labels["job_type"] == job_type}


def with_threshold(milliseconds: float) -> set[float]:
    return {*map(float, names.WAIT_BUCKETS_MS), milliseconds, float("inf")}


@pytest.mark.parametrize("histogram", LATENCIES)
async def test_buckets_have_the_threshold_in_force_at_the_start(tmp_path: Path, histogram: str) -> None:
    async with rigged(tmp_path, NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS="7777") as rig:
        assert bounds(rig.scrape(), histogram) == with_threshold(7777)


def take_up(rig: Rig, **settings: str) -> None:
    """Put settings in force while the dispatcher runs."""
    rig.parts.in_force.replace(read(settings), {})
    rig.parts.metrics.take_up()


@pytest.mark.parametrize("job_type", ["other", "booking-created", "not-configured"])
@pytest.mark.parametrize(("threshold", "bound"), [(7777, "7777.0"), (7_200_000, "7.2e+06")])
async def test_buckets_have_a_threshold_that_changes_and_begin_at_zero(
    tmp_path: Path, threshold: int, bound: str, job_type: str
) -> None:
    async with rigged(tmp_path, NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS="6666") as rig:
        before = rig.parts.metrics.times_of(job_type)
        for one in before:
            one.observe(6000)
        take_up(rig, NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS=str(threshold))
        scrape = rig.scrape()
        for histogram in LATENCIES:
            assert bounds(scrape, histogram, job_type) == with_threshold(threshold)
            assert scrape.total(f"{histogram}_count", job_type=job_type) == 0
            assert scrape.total(f"{histogram}_sum", job_type=job_type) == 0
        # Who holds a series goes on counting in it.
        for one in (*before, *rig.parts.metrics.times_of(job_type)):
            one.observe(threshold)
        scrape = rig.scrape()
        for histogram in LATENCIES:
            assert scrape.total(f"{histogram}_count", job_type=job_type) == 2
            assert scrape.total(f"{histogram}_bucket", job_type=job_type, le="5000.0") == 0
            assert scrape.total(f"{histogram}_bucket", job_type=job_type, le=bound) == 2


@pytest.mark.parametrize("threshold", [6666, 10_000])
async def test_what_was_counted_stays_while_the_bounds_do(tmp_path: Path, threshold: int) -> None:
    async with rigged(tmp_path, NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS="5000") as rig:
        rig.parts.metrics.times_of("other").waits.observe(1)
        take_up(rig, NOTIFICATION_ALERT_FAILURE_THRESHOLD="7", NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS=str(threshold))
        counted = rig.scrape().total(f"{names.JOB_WAIT_DURATION_MS}_count", job_type="other")
        assert counted == (threshold in names.WAIT_BUCKETS_MS)


async def test_the_prefix_is_everywhere(tmp_path: Path) -> None:
    async with rigged(tmp_path, NOTIFICATION_METRICS_PREFIX="acme_school_") as rig:
        assert all(name.startswith("acme_school_") for name in rig.scrape().families)


async def test_job_types_are_bounded(tmp_path: Path) -> None:
    async with rigged(tmp_path) as rig:
        for number in range(60):
            await rig.put(f"j{number}", job_type=f"type-{number}")
        scrape = rig.scrape()
        assert scrape.total(names.JOBS_TOTAL, result="queued", job_type="type-49") == 1
        assert scrape.total(names.JOBS_TOTAL, result="queued", job_type="other") == 10
        assert scrape.total(names.JOBS_TOTAL, result="queued") == 60
        assert scrape.total(names.JOB_FAILURES_TOTAL, job_type="type-0") == 0, "all its series came with the first"


async def test_new_settings_show_at_once(tmp_path: Path) -> None:
    async with rigged(tmp_path) as rig:
        before = rig.parts.in_force.settings.hash
        take_up(rig, NOTIFICATION_ALERT_FAILURE_THRESHOLD="7", NOTIFICATION_ALERT_COOLDOWN_MS="1500")
        scrape, settings = rig.scrape(), rig.parts.in_force.settings
        assert scrape.total(names.THRESHOLD, threshold="failure") == 7
        assert scrape.total(names.THRESHOLD, threshold="cooldown_seconds") == 1.5
        assert scrape.total(names.CONFIG_INFO) == scrape.total(names.CONFIG_INFO, hash=settings.hash) == 1
        assert before not in scrape.text


def books(rig: Rig) -> None:
    """The sums that hold at every moment."""
    scrape = rig.scrape()

    def results(result: Result) -> float:
        return scrape.total(names.JOBS_TOTAL, result=result.value)

    evicted = scrape.total(names.JOBS_DROPPED_TOTAL, reason="capacity")
    held = scrape.total(names.QUEUE_DEPTH) + scrape.total(names.ACTIVE_JOBS)
    assert results(Result.QUEUED) == results(Result.PROCESSED) + results(Result.FAILED) + evicted + held
    assert scrape.total(names.JOBS_DROPPED_TOTAL) == results(Result.DROPPED)
    assert scrape.total(names.JOB_FAILURES_TOTAL) == results(Result.FAILED)


def seen(scrape: Scrape) -> float:
    """Items that came in, as the counters have it: dropped on arrival is all but the evicted."""
    results = {result: scrape.total(names.JOBS_TOTAL, result=result.value) for result in Result}
    arrived = results[Result.QUEUED] + results[Result.DEDUPLICATED] + results[Result.DROPPED]
    return arrived - scrape.total(names.JOBS_DROPPED_TOTAL, reason="capacity")


@pytest.mark.parametrize("overflow", ["evict-oldest", "reject"])
@pytest.mark.parametrize("seed", range(5))
async def test_the_books_balance_whatever_happens(tmp_path: Path, overflow: str, seed: int) -> None:
    dice = random.Random(seed)
    limits = {"NOTIFICATION_QUEUE_CAPACITY": "20", "NOTIFICATION_QUEUE_OVERFLOW": overflow}
    routing = {**ROUTING, "unknownJobTypes": "Reject"}
    async with rigged(tmp_path, routing, NOTIFICATION_WORKER_CONCURRENCY="3", **limits) as rig:
        rig.start()
        sent, answers = 0, Counter[str]()
        for _ in range(60):
            moods: list[Delivery | Exception | float] = [DELIVERED, DELIVERED, AGAIN, REFUSED, 0.4]
            for channel in (rig.crm, rig.team):
                channel.script = [dice.choice(moods) for _ in range(5)]
            items = [
                {
                    "id": f"j{dice.randrange(300)}",
                    "type": dice.choice(["booking-created", "instructor-rated", "refund-requested", "unlisted", "NO"]),
                    "payload": dice.choice([{}, {"a": 1}, 5]),
                    "priority": dice.choice(["High", "Normal", "Low"]),
                }
                for _ in range(dice.randrange(1, 12))
            ]
            answers.update(result.status.value for result in await rig.take(*items))
            sent += len(items)
            books(rig)
            await rig.settle()
            books(rig)
            await rig.pass_time(dice.choice([0, 0.3, 1]), step=0.3)
            books(rig)
        assert seen(rig.scrape()) == sent == answers.total()
        await rig.pass_time(2000, step=20)
        books(rig)
        assert rig.scrape().total(names.QUEUE_DEPTH) + rig.scrape().total(names.ACTIVE_JOBS) == 0
