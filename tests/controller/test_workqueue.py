"""The queue of keys: each once at a time, none forgotten, failures ever slower."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from notification_operator import workqueue
from notification_operator.errors import TransientError
from notification_operator.metrics import OperatorMetrics
from notification_operator.workqueue import Key, Work, WorkQueue

KEY = Key("plannivo", "booking")


@asynccontextmanager
async def running(work: Work, workers: int = 4) -> AsyncIterator[WorkQueue]:
    queue = WorkQueue(OperatorMetrics(CollectorRegistry()))
    task = asyncio.create_task(queue.run(work, workers))
    yield queue
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_a_key_waits_once() -> None:
    done: Counter[Key] = Counter()

    async def work(key: Key) -> None:
        done[key] += 1

    async with running(work) as queue:
        for _ in range(100):
            queue.add(KEY)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    assert done == {KEY: 1}


async def test_a_key_that_changes_while_it_is_worked_on_is_worked_on_again_and_never_twice_at_once() -> None:
    at_once = most = calls = 0
    begun, go_on, twice = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def work(key: Key) -> None:
        nonlocal at_once, most, calls
        at_once, calls = at_once + 1, calls + 1
        most = max(most, at_once)
        begun.set()
        await go_on.wait()
        at_once -= 1
        if calls == 2:
            twice.set()

    async with running(work) as queue:
        queue.add(KEY)
        await begun.wait()
        for _ in range(5):
            queue.add(KEY)
        go_on.set()
        await asyncio.wait_for(twice.wait(), 5)
    assert (most, calls) == (1, 2)


async def test_a_failure_is_tried_again_and_a_defect_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "_FIRST_BACKOFF", 0.0)
    errors: list[Exception] = [TransientError("503"), RuntimeError("a defect")]
    done = asyncio.Event()

    async def work(key: Key) -> None:
        if errors:
            raise errors.pop()
        done.set()

    async with running(work) as queue:
        queue.add(KEY)
        await asyncio.wait_for(done.wait(), 5)


async def test_of_two_times_the_sooner_one_counts() -> None:
    looked = asyncio.Event()

    async def work(_: Key) -> None:
        looked.set()

    async with running(work) as queue:
        # As when a pipeline that failed often waits for its next try, and one of its pods changes.
        queue.add_after(KEY, 3600)
        queue.add_after(KEY, 0.01)
        queue.add_after(KEY, 3600)
        await asyncio.wait_for(looked.wait(), 30)


def test_backoff_grows_to_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    pauses = [workqueue._backoff(failures) for failures in (1, 2, 5, 20, 10_000)]
    assert pauses == [0.2, 0.4, 3.2, 60.0, 60.0]


def test_backoff_is_jittered() -> None:
    pauses = {workqueue._backoff(5) for _ in range(50)}
    assert len(pauses) > 10
    assert all(1.6 <= pause <= 3.2 for pause in pauses)
