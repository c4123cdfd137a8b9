"""The wall clock is set: what the engines promise whose clock is the machine's.

The shared engine's is the database's: `tests/dispatcher/test_postgresql.py`.
"""

from __future__ import annotations

import pytest

from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.job import Settling
from notification_dispatcher.queues.base import JobQueue, Verdict
from tests.contract.caller import ROOMY, WINDOW_MS, Caller, end, receipt


@pytest.fixture(params=["memory", "sqlite"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def test_back_offs_keep_their_length(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    for jump in (3600, -3600, 86_400):
        name = f"after {jump}"
        await caller.put(caller.job(name))
        (lease,) = await queue.claim(1)
        await queue.settle([end(lease, Settling.RETRY, again_at=clock.monotonic() + 10, reason="timeout")])
        clock.jump(jump)
        clock.advance(9.9)
        assert await caller.claim() == []
        clock.advance(0.1)
        (again,) = await queue.claim(1)
        # Its wait is counted from the end of the back-off, on the new clock.
        assert (again.id, again.due_ms) == (name, clock.wall_ms())
        await queue.settle([end(again)])


async def test_what_is_scheduled_for_a_time_of_day_is_not_moved(
    queue: JobQueue, caller: Caller, clock: VirtualClock
) -> None:
    await caller.put(caller.job("later", due_in=7200))
    clock.jump(3600)
    clock.advance(3599)
    assert await caller.claim() == []
    clock.advance(1)
    assert await caller.claim() == ["later"]


async def test_a_back_off_keeps_its_length_if_the_clock_is_set_before_it_is_stored(
    queue: JobQueue, caller: Caller, clock: VirtualClock
) -> None:
    for jump in (3600, -3600, 86_400):
        name = f"after {jump}"
        await caller.put(caller.job(name))
        (lease,) = await queue.claim(1)
        settlement = end(lease, Settling.RETRY, again_at=clock.monotonic() + 10, reason="timeout")
        clock.jump(jump)
        clock.advance(2)
        await queue.settle([settlement])
        clock.advance(7.9)
        assert await caller.claim() == []
        clock.advance(0.1)
        (again,) = await queue.claim(1)
        assert again.id == name
        await queue.settle([end(again)])


async def test_a_wait_is_told_on_the_clock_that_nobody_sets(
    queue: JobQueue, caller: Caller, clock: VirtualClock
) -> None:
    clock.advance(100)
    await caller.put(caller.job("a"), caller.job("timed", due_in=1800))
    clock.advance(2)
    clock.jump(3600)
    # What the clock jumped over is due now, and has not waited since.
    waits = {lease.id: clock.monotonic() - lease.eligible_at for lease in await queue.claim(2)}
    assert waits == {"a": pytest.approx(2), "timed": pytest.approx(0)}


async def test_a_job_that_comes_while_the_clock_is_set_back_waits_no_hour(
    queue: JobQueue, caller: Caller, clock: VirtualClock
) -> None:
    job = caller.job("a")
    clock.jump(-3600)
    await caller.put(job)
    (lease,) = await queue.claim(1)
    assert (lease.accepted_ms, lease.due_ms) == (clock.wall_ms(), clock.wall_ms())


async def test_ages_and_windows_stay_what_they_were(queue: JobQueue, caller: Caller, clock: VirtualClock) -> None:
    await queue.enqueue([caller.job("a")], ROOMY, receipt())
    clock.advance(10)
    clock.jump(86_400)
    assert await caller.put(caller.job("a")) == [Verdict.DEDUPLICATED]
    assert await queue.oldest_due_ms() == clock.wall_ms() - 10_000
    assert (await queue.enqueue([], ROOMY, receipt())).recalled is not None
    clock.advance(WINDOW_MS / 1000)
    assert (await queue.enqueue([], ROOMY, receipt())).recalled is None
