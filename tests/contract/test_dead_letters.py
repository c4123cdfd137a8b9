"""Dead letters, receipts and postponed jobs: what every engine promises beside its queue."""

from __future__ import annotations

from notification_dispatcher.clock import VirtualClock, rfc3339
from notification_dispatcher.job import JobState, Settling
from notification_dispatcher.queues.base import (
    Admission,
    Counts,
    DeadFilter,
    DeadLimits,
    JobQueue,
    Limits,
    Named,
    Overflow,
    Recalled,
    Receipt,
    Verdict,
)
from tests.contract.caller import ROOMY, WINDOW_MS, Caller, end, receipt

DAY_MS = 86_400_000
ALL = DeadFilter()


async def bury(queue: JobQueue, caller: Caller, *names: str, reason: str = "timeout", channel: str = "crm") -> None:
    await caller.put(*map(caller.job, names))
    done = {"team": "", channel: reason}
    await queue.settle(
        [end(one, Settling.FAILED, reason=reason, detail="it failed", done=done) for one in await queue.claim(100)]
    )


async def listed(queue: JobQueue, which: DeadFilter = ALL) -> list[str]:
    return [one.report.id for one in await queue.dead_letters(which, None, 100)]


async def test_a_dead_letter_says_what_happened(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await bury(queue, caller, "a")
    ((report, _),) = await queue.dead_letters(ALL, None, 10)
    assert (report.id, report.state, report.attempts) == ("a", JobState.DEAD, 1)
    assert (report.reason, report.detail, report.delivered) == ("timeout", "it failed", ["team"])
    assert report.dead_at == rfc3339(clock.wall_ms())
    assert await queue.report("a") == report


async def test_the_latest_comes_first_and_pages_go_on(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    for number in range(5):
        await bury(queue, caller, f"a{number}", f"b{number}")
        clock.advance(1)
    found: list[str] = []
    after = None
    while page := await queue.dead_letters(ALL, after, 3):
        assert len(page) <= 3
        found += [one.report.id for one in page]
        after = page[-1].place
        # What dies meanwhile is for the next look from the start: it moves nobody.
        await bury(queue, caller, f"new{len(found)}")
        clock.advance(1)
    assert found == [name for number in reversed(range(5)) for name in (f"b{number}", f"a{number}")]


async def test_dead_letters_are_chosen(queue: JobQueue, caller: Caller) -> None:
    await bury(queue, caller, "a", reason="tls", channel="crm")
    await bury(queue, caller, "b", reason="timeout", channel="mail")
    assert await listed(queue, DeadFilter(reason="tls")) == ["a"]
    assert await listed(queue, DeadFilter(channel="mail")) == ["b"]
    # It was delivered through this one.
    assert await listed(queue, DeadFilter(channel="team")) == []
    assert await listed(queue, DeadFilter(job_type="booking-created", job_id="b")) == ["b"]
    assert await listed(queue, DeadFilter(job_type="refund-requested")) == []


async def test_a_replay_starts_afresh_with_what_is_left(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await bury(queue, caller, "a")
    clock.advance(30)
    assert await queue.replay(DeadFilter(job_id="a"), ROOMY, 10) == [Named("a", "booking-created")]
    assert queue.counts() == Counts(ready=1, scheduled=0, running=0, dead=0)
    (lease,) = await queue.claim(1)
    assert (lease.attempt, lease.done, lease.due_ms) == (1, {"team": ""}, clock.wall_ms())


async def test_a_replay_makes_nobody_give_way(queue: JobQueue, caller: Caller) -> None:
    await bury(queue, caller, "a", "b", "c")
    await caller.put(caller.job("waiting"))
    limits = Limits(3, Overflow.EVICT_OLDEST, WINDOW_MS)
    assert [one.id for one in await queue.replay(ALL, limits, 10)] == ["a", "b"]
    assert await queue.replay(ALL, limits, 10) == []
    assert await listed(queue) == ["c"]


async def test_what_is_deleted_may_be_sent_again(queue: JobQueue, caller: Caller) -> None:
    await bury(queue, caller, "a", "b")
    assert await queue.discard(ALL, 1) == [Named("a", "booking-created")]
    assert await queue.report("a") is None
    assert await caller.put(caller.job("a"), caller.job("b")) == [Verdict.QUEUED, Verdict.DEDUPLICATED]


async def test_only_the_dead_are_replayed_and_deleted(queue: JobQueue, caller: Caller) -> None:
    await caller.put(caller.job("waiting"), caller.job("running"))
    await queue.claim(1)
    assert await queue.replay(ALL, ROOMY, 10) == await queue.discard(ALL, 10) == []
    assert queue.counts() == Counts(ready=1, scheduled=0, running=1, dead=0)


async def test_the_old_and_the_many_are_tidied_away(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await bury(queue, caller, "old")
    clock.advance(DAY_MS / 1000)
    await bury(queue, caller, "a", "b", "c")
    assert await queue.tidy(DeadLimits(2 * DAY_MS, 10)) == 0
    assert await queue.tidy(DeadLimits(DAY_MS, 10)) == 1
    assert await queue.tidy(DeadLimits(DAY_MS, 2)) == 1
    assert await listed(queue) == ["c", "b"]
    assert await queue.tidy(DeadLimits(DAY_MS, 0)) == 2
    assert queue.counts() == Counts(0, 0, 0, 0)


# Delivered.


async def test_a_delivered_job_is_known_within_the_window(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await caller.put(caller.job("a"), caller.job("b", key="its own"))
    await queue.settle([end(lease) for lease in await queue.claim(2)])
    for name in "ab":
        report = await queue.report(name)
        assert report is not None
        assert report.state is JobState.PROCESSED
    clock.advance(WINDOW_MS / 1000 + 1)
    assert await queue.report("a") is None


async def test_an_evicted_job_is_not_taken_for_delivered(queue: JobQueue, caller: Caller) -> None:
    tight = Limits(1, Overflow.EVICT_OLDEST, WINDOW_MS)
    await caller.put(caller.job("a", key="its own"), limits=tight)
    await caller.put(caller.job("b"), limits=tight)
    assert await queue.report("a") is None


# Receipts.


async def test_a_request_that_comes_again_gets_its_answer(queue: JobQueue, caller: Caller) -> None:
    first = await queue.enqueue([caller.job("a")], ROOMY, receipt())
    assert first == Admission([Verdict.QUEUED], [])
    again = await queue.enqueue([caller.job("b")], ROOMY, receipt(fingerprint=b"another"))
    assert again == Admission([], [], Recalled(b"body", b"queued"))
    assert queue.counts().ready == 1


async def test_an_answer_is_forgotten_after_the_window(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await queue.enqueue([caller.job("a")], ROOMY, receipt())
    clock.advance(WINDOW_MS / 1000)
    assert (await queue.enqueue([caller.job("b")], ROOMY, receipt())).recalled is None


async def test_no_answer_is_not_kept(queue: JobQueue, caller: Caller) -> None:
    nothing = Receipt("r", b"body", lambda _: b"")
    await queue.enqueue([caller.job("a")], ROOMY, nothing)
    assert (await queue.enqueue([caller.job("b")], ROOMY, nothing)).recalled is None


# Waiting at no cost.


async def test_a_postponed_job_keeps_its_age_and_spends_nothing(
    queue: JobQueue, caller: Caller, clock: VirtualClock
) -> None:
    await caller.put(caller.job("a"))
    due = clock.wall_ms()
    (lease,) = await queue.claim(1)
    await queue.settle([end(lease, Settling.POSTPONED, again_at=clock.monotonic() + 5, done={"team": ""})])
    assert queue.counts() == Counts(ready=0, scheduled=1, running=0, dead=0)
    assert await queue.oldest_due_ms() == due
    clock.advance(4.999)
    assert await queue.claim(1) == []
    clock.advance(0.001)
    (again,) = await queue.claim(1)
    assert (again.attempt, again.due_ms, again.done) == (1, due, {"team": ""})
