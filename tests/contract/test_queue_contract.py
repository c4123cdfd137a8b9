"""What every engine promises, asked of every engine."""

from __future__ import annotations

import asyncio

from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.job import HEAD_START_MS, Job, JobState, Rank, Settling
from notification_dispatcher.queues.base import (
    Admission,
    Counts,
    DeadFilter,
    JobQueue,
    Limits,
    Named,
    Overflow,
    Verdict,
)
from tests.contract.caller import WINDOW_MS, Caller, end


async def test_what_goes_in_comes_out_as_it_was(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    job = Job(
        id="b-1",
        type="booking-created",
        payload='{"student": "Åda"}'.encode(),
        dedup_key="k",
        rank=Rank.HIGH,
        channels=("crm", "team"),
        due_ms=clock.wall_ms(),
    )
    assert await caller.put(job) == [Verdict.QUEUED]
    (lease,) = await queue.claim(10)
    assert (lease.id, lease.type, lease.payload, lease.rank) == ("b-1", "booking-created", job.payload, Rank.HIGH)
    assert (lease.channels, lease.done, lease.attempt, lease.due_ms) == (("crm", "team"), {}, 1, job.due_ms)


async def test_a_claim_takes_no_more_than_it_asked_for(caller: Caller) -> None:
    await caller.put(*(caller.job(f"j{number}") for number in range(5)))
    assert await caller.claim(2) == ["j0", "j1"]
    assert await caller.claim() == ["j2", "j3", "j4"]
    assert await caller.claim() == []


async def test_counts_follow_each_transition(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("a"), caller.job("b"), caller.job("c"), caller.job("later", due_in=10))
    assert queue.counts() == Counts(ready=3, scheduled=1, running=0, dead=0)
    a, b, c = await queue.claim(3)
    assert queue.counts() == Counts(ready=0, scheduled=1, running=3, dead=0)
    retry = end(b, Settling.RETRY, again_at=clock.monotonic() + 5)
    await queue.settle([end(a), retry, end(c, Settling.FAILED, reason="http_4xx")])
    assert queue.counts() == Counts(ready=0, scheduled=2, running=0, dead=1)
    assert queue.counts().depth == 2


# Order.


async def test_high_goes_before_normal_before_low(caller: Caller) -> None:
    await caller.put(caller.job("low", Rank.LOW), caller.job("normal"), caller.job("high", Rank.HIGH))
    assert await caller.claim() == ["high", "normal", "low"]


async def test_a_low_job_that_waits_long_enough_goes_first(caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("patient", Rank.LOW))
    clock.advance(2 * HEAD_START_MS / 1000 - 1)
    await caller.put(caller.job("in-time", Rank.HIGH))
    clock.advance(2)
    await caller.put(caller.job("too-late", Rank.HIGH))
    assert await caller.claim() == ["in-time", "patient", "too-late"]


async def test_among_equals_the_first_goes_first(caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("first"), caller.job("second"))
    clock.advance(1)
    await caller.put(caller.job("third"))
    assert await caller.claim() == ["first", "second", "third"]


# Time.


async def test_a_scheduled_job_waits_for_its_time(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("later", due_in=30))
    assert await caller.claim() == []
    clock.advance(29.999)
    assert await caller.claim() == []
    clock.advance(0.001)
    (lease,) = await queue.claim(1)
    assert lease.due_ms == clock.wall_ms()


async def test_a_time_that_is_over_is_now(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("missed", due_in=-1800), caller.job("later", due_in=30))
    (lease,) = await queue.claim(10)
    assert (lease.id, lease.accepted_ms, lease.due_ms) == ("missed", clock.wall_ms(), clock.wall_ms())
    assert abs(clock.monotonic() - lease.eligible_at) < 0.001, "it has not waited since"


async def test_a_retry_waits_for_its_time_and_counts(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("a"))
    (lease,) = await queue.claim(1)
    done = {"crm": "", "team": "http_4xx"}
    await queue.settle([end(lease, Settling.RETRY, again_at=clock.monotonic() + 1, reason="timeout", done=done)])
    assert await caller.claim() == []
    clock.advance(1)
    (again,) = await queue.claim(1)
    assert (again.attempt, again.done, again.due_ms) == (2, done, clock.wall_ms())


async def test_a_released_job_is_as_it_was(queue: JobQueue, caller: Caller) -> None:
    await caller.put(caller.job("a"))
    (lease,) = await queue.claim(1)
    await queue.settle([end(lease, Settling.RELEASED)])
    (again,) = await queue.claim(1)
    assert again == lease


async def test_what_was_ready_stays_so_when_the_wall_clock_is_set_back(caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("a"))
    clock.jump(-3600)
    assert await caller.claim() == ["a"]


async def test_the_oldest_is_the_one_that_was_due_first(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    assert await queue.oldest_due_ms() is None
    started = clock.wall_ms()
    await caller.put(caller.job("a", Rank.LOW))
    clock.advance(10)
    await caller.put(caller.job("b", Rank.HIGH), caller.job("c", due_in=60))
    assert await queue.oldest_due_ms() == started
    await queue.claim(2)
    assert await queue.oldest_due_ms() == clock.wall_ms() + 60_000


# Repetitions.


async def test_a_repetition_within_the_window_is_not_queued(caller: Caller, clock: VirtualClock) -> None:
    assert await caller.put(caller.job("a"), caller.job("a")) == [Verdict.QUEUED, Verdict.DEDUPLICATED]
    await caller.claim()
    clock.advance(WINDOW_MS / 1000 - 0.001)
    assert await caller.put(caller.job("a")) == [Verdict.DEDUPLICATED]


async def test_it_is_queued_when_the_window_is_over_and_the_first_is_done(
    queue: JobQueue, caller: Caller, clock: VirtualClock
) -> None:
    await caller.put(caller.job("a"))
    await queue.settle([end(lease) for lease in await queue.claim(1)])
    clock.advance(WINDOW_MS / 1000)
    assert await caller.put(caller.job("a")) == [Verdict.QUEUED]


async def test_it_is_not_queued_beside_itself_even_when_the_window_is_over(caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("a"))
    clock.advance(WINDOW_MS / 1000)
    assert await caller.put(caller.job("a")) == [Verdict.DEDUPLICATED]
    assert await caller.claim() == ["a"]


async def test_the_key_decides_not_the_id(caller: Caller) -> None:
    jobs = (caller.job("a", key="k"), caller.job("b", key="k"), caller.job("c", key="other"))
    assert await caller.put(*jobs) == [Verdict.QUEUED, Verdict.DEDUPLICATED, Verdict.QUEUED]


async def test_an_id_that_comes_again_under_another_key_is_known_still(queue: JobQueue, caller: Caller) -> None:
    assert await caller.put(caller.job("a", key="k")) == [Verdict.QUEUED]
    assert await caller.put(caller.job("a", key="other")) == [Verdict.DEDUPLICATED]
    await queue.settle([end(lease) for lease in await queue.claim(1)])
    report = await queue.report("a")
    assert report is not None
    assert report.state is JobState.PROCESSED
    # Nothing came of the other key, so it is free.
    assert await caller.put(caller.job("b", key="k"), caller.job("c", key="other")) == [
        Verdict.DEDUPLICATED,
        Verdict.QUEUED,
    ]


async def test_a_dead_letter_makes_way_for_a_new_job_of_its_id(
    queue: JobQueue, caller: Caller, clock: VirtualClock
) -> None:
    await caller.put(caller.job("a"))
    await queue.settle([end(lease, Settling.FAILED, reason="http_4xx") for lease in await queue.claim(1)])
    assert await caller.put(caller.job("a")) == [Verdict.DEDUPLICATED]
    clock.advance(WINDOW_MS / 1000)
    assert await caller.put(caller.job("a")) == [Verdict.QUEUED]
    assert queue.counts() == Counts(ready=1, scheduled=0, running=0, dead=0)


# Capacity.


async def test_a_full_queue_evicts_what_was_due_first(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    limits = Limits(2, Overflow.EVICT_OLDEST, WINDOW_MS)
    await caller.put(caller.job("a"), limits=limits)
    clock.advance(1)
    await caller.put(caller.job("b"), limits=limits)
    admission = await queue.enqueue([caller.job("c")], limits)
    assert admission == Admission([Verdict.QUEUED], [Named("a", "booking-created")])
    assert queue.counts().depth == 2
    assert await caller.claim() == ["b", "c"]


async def test_the_lowest_priority_gives_way_first(queue: JobQueue, caller: Caller) -> None:
    limits = Limits(3, Overflow.EVICT_OLDEST, WINDOW_MS)
    await caller.put(caller.job("high", Rank.HIGH), caller.job("low", Rank.LOW), caller.job("normal"), limits=limits)
    admission = await queue.enqueue([caller.job("d"), caller.job("e")], limits)
    assert [job.id for job in admission.evicted] == ["low", "normal"]


async def test_no_job_takes_the_place_of_a_more_important_one(queue: JobQueue, caller: Caller) -> None:
    limits = Limits(1, Overflow.EVICT_OLDEST, WINDOW_MS)
    await caller.put(caller.job("high", Rank.HIGH), limits=limits)
    assert await queue.enqueue([caller.job("low", Rank.LOW)], limits) == Admission([Verdict.REJECTED], [])
    assert await caller.claim() == ["high"]


async def test_what_waits_above_the_capacity_gives_way_to_nothing_less_important(
    queue: JobQueue, caller: Caller
) -> None:
    await caller.put(*(caller.job(f"high{number}", Rank.HIGH) for number in range(5)))
    await caller.put(caller.job("low", Rank.LOW), caller.job("low-too", Rank.LOW))
    limits = Limits(3, Overflow.EVICT_OLDEST, WINDOW_MS)
    admission = await queue.enqueue([caller.job("new", Rank.LOW)], limits)
    assert admission.verdicts == [Verdict.QUEUED]
    assert [job.id for job in admission.evicted] == ["low", "low-too"]
    assert queue.counts().depth == 6
    admission = await queue.enqueue([caller.job("important", Rank.HIGH)], limits)
    assert [job.id for job in admission.evicted] == ["new", "high0", "high1", "high2"]
    assert await caller.claim() == ["high3", "high4", "important"]


async def test_what_waits_for_later_can_be_evicted_too(queue: JobQueue, caller: Caller) -> None:
    limits = Limits(1, Overflow.EVICT_OLDEST, WINDOW_MS)
    await caller.put(caller.job("later", due_in=10), limits=limits)
    admission = await queue.enqueue([caller.job("now")], limits)
    assert [job.id for job in admission.evicted] == ["later"]
    assert queue.counts() == Counts(ready=1, scheduled=0, running=0, dead=0)


async def test_an_evicted_job_can_be_sent_again(caller: Caller) -> None:
    limits = Limits(1, Overflow.EVICT_OLDEST, WINDOW_MS)
    await caller.put(caller.job("a"), caller.job("b"), limits=limits)
    assert await caller.put(caller.job("a"), limits=limits) == [Verdict.QUEUED]


async def test_a_full_queue_that_rejects_keeps_what_it_has(queue: JobQueue, caller: Caller) -> None:
    limits = Limits(1, Overflow.REJECT, WINDOW_MS)
    admission = await queue.enqueue([caller.job("a"), caller.job("b"), caller.job("a")], limits)
    assert admission == Admission([Verdict.QUEUED, Verdict.REJECTED, Verdict.DEDUPLICATED], [])
    assert await caller.claim() == ["a"]
    assert await caller.put(caller.job("b"), limits=limits) == [Verdict.QUEUED]


async def test_running_and_dead_jobs_take_no_room(queue: JobQueue, caller: Caller) -> None:
    limits = Limits(1, Overflow.REJECT, WINDOW_MS)
    await caller.put(caller.job("a"), limits=limits)
    (lease,) = await queue.claim(1)
    assert await caller.put(caller.job("b"), limits=limits) == [Verdict.QUEUED]
    await queue.settle([end(lease, Settling.RETRY)])
    assert queue.counts().depth == 2, "what comes back is always taken"


async def test_a_lowered_capacity_holds_from_the_next_job_on(queue: JobQueue, caller: Caller) -> None:
    await caller.put(*(caller.job(f"j{number}") for number in range(10)))
    admission = await queue.enqueue([caller.job("new")], Limits(3, Overflow.EVICT_OLDEST, WINDOW_MS))
    assert len(admission.evicted) == 8
    assert await caller.claim() == ["j8", "j9", "new"]


# Looking.


async def test_a_report_says_where_a_job_is(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("a"))
    assert await queue.report("unknown") is None
    states = []

    async def look() -> None:
        report = await queue.report("a")
        assert report is not None
        states.append((report.state, report.attempts, report.reason, report.detail))

    await look()
    (lease,) = await queue.claim(1)
    await look()
    retry = end(lease, Settling.RETRY, again_at=clock.monotonic() + 1, reason="http_5xx", detail="crm: answered 503")
    await queue.settle([retry])
    await look()
    clock.advance(1)
    (lease,) = await queue.claim(1)
    await queue.settle([end(lease, Settling.FAILED, reason="http_4xx", detail="crm: answered 410")])
    await look()
    assert states == [
        (JobState.READY, 0, "", ""),
        (JobState.RUNNING, 1, "", ""),
        (JobState.SCHEDULED, 1, "http_5xx", "crm: answered 503"),
        (JobState.DEAD, 2, "http_4xx", "crm: answered 410"),
    ]


async def test_no_text_is_too_strange_to_ask_for(queue: JobQueue, caller: Caller) -> None:
    await caller.put(caller.job("a"))
    assert await queue.report("a\0b") is None
    assert await queue.dead_letters(DeadFilter(job_type="a\0b", channel="\0"), None, 10) == []
    (lease,) = await queue.claim(1)
    await queue.settle([end(lease, Settling.FAILED, reason="http_5xx", detail="crm: it said \0, \x1b and \ud7ff")])
    report = await queue.report("a")
    assert report is not None
    assert report.detail.startswith("crm: it said ")


async def test_a_settlement_that_comes_twice_changes_nothing(queue: JobQueue, caller: Caller) -> None:
    await caller.put(caller.job("a"), caller.job("b"))
    (lease, _) = await queue.claim(2)
    await queue.settle([end(lease), end(lease)])
    await queue.settle([end(lease, Settling.FAILED), end(lease, Settling.RETRY), end(lease, Settling.RELEASED)])
    assert queue.counts() == Counts(ready=0, scheduled=0, running=1, dead=0)


# Waking.


async def woken(queue: JobQueue) -> bool:
    """Whether whoever waits for work is woken now."""
    waiting = asyncio.create_task(queue.wait_for_work())
    for _ in range(10):
        await asyncio.sleep(0)
    if waiting.done():
        return True
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    return False


async def test_nobody_is_woken_for_nothing(queue: JobQueue, caller: Caller) -> None:
    await caller.claim()
    assert not await woken(queue)
    await caller.put(caller.job("a"))
    assert await woken(queue)
    assert await caller.claim() == ["a"]
    await caller.claim()
    assert not await woken(queue)


async def test_a_full_claim_means_that_there_may_be_more(queue: JobQueue, caller: Caller) -> None:
    await caller.put(caller.job("a"), caller.job("b"))
    await caller.claim(1)
    assert await woken(queue)


async def test_a_worker_is_woken_when_a_job_falls_due(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("later", due_in=3))
    assert await caller.claim() == []
    waiting = asyncio.create_task(queue.wait_for_work())
    for _ in range(10):
        await asyncio.sleep(0)
    clock.advance(2.9)
    await asyncio.sleep(0)
    assert not waiting.done()
    clock.advance(0.1)
    await waiting
    assert await caller.claim() == ["later"]


async def test_nothing_is_lost_or_doubled_under_many_hands(queue: JobQueue, caller: Caller) -> None:
    jobs = [caller.job(f"j{number}", Rank(number % 3)) for number in range(300)]
    taken: list[str] = []

    async def work() -> None:
        while leases := await queue.claim(7):
            taken.extend(lease.id for lease in leases)
            await queue.settle([end(lease) for lease in leases])

    await asyncio.gather(*(caller.put(*jobs[start : start + 10]) for start in range(0, 300, 10)))
    await asyncio.gather(*(work() for _ in range(8)))
    assert sorted(taken) == sorted(job.id for job in jobs)
    assert queue.counts() == Counts(0, 0, 0, 0)
