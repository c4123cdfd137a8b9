"""The queue of keys: each once at a time, none forgotten, failures ever slower."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest
from prometheus_client import CollectorRegistry

from notification_operator import workqueue
from notification_operator.errors import TransientError
from notification_operator.metrics import OperatorMetrics
from notification_operator.workqueue import Key, Urgency, Work, WorkQueue

KEY = Key("plannivo", "booking")


def empty() -> WorkQueue:
    return WorkQueue(OperatorMetrics(CollectorRegistry()))


@asynccontextmanager
async def running(work: Work, workers: int = 4, queue: WorkQueue | None = None) -> AsyncIterator[WorkQueue]:
    queue = queue or empty()
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
        queue.add_after(KEY, 3600, Urgency.IN_TURN)
        queue.add_after(KEY, 0.01, Urgency.ROLLOUT)
        queue.add_after(KEY, 3600, Urgency.IN_TURN)
        await asyncio.wait_for(looked.wait(), 30)


def keys(*names: str) -> list[Key]:
    return [Key("plannivo", name) for name in names]


async def order(add: Callable[[WorkQueue], object]) -> list[str]:
    """In which order one worker takes what is added before it starts."""
    done: list[str] = []
    queue = empty()
    add(queue)
    waiting = len(queue._queued)

    async def work(key: Key) -> None:
        done.append(key.name)
        if len(done) == waiting:
            finished.set()

    finished = asyncio.Event()
    async with running(work, 1, queue):
        await asyncio.wait_for(finished.wait(), 5)
    return done


async def test_what_somebody_changed_goes_before_what_is_looked_at_in_its_turn() -> None:
    a, b, c, d, e = keys("a", "b", "c", "d", "e")

    def add(queue: WorkQueue) -> None:
        queue.add(a, Urgency.ROLLOUT)
        queue.add(b, Urgency.IN_TURN)
        queue.add(c, Urgency.IN_TURN)
        queue.add(d)
        queue.add(e)

    assert await order(add) == ["d", "e", "b", "c", "a"]


async def test_what_waits_becomes_more_urgent_and_never_less() -> None:
    a, b, c = keys("a", "b", "c")

    def add(queue: WorkQueue) -> None:
        queue.add(a, Urgency.IN_TURN)
        queue.add(b, Urgency.ROLLOUT)
        queue.add(c)
        queue.add(b)
        queue.add(c, Urgency.ROLLOUT)
        queue.add_after(a, 0.0, Urgency.ROLLOUT)

    assert await order(add) == ["c", "b", "a"]


async def test_nothing_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workqueue, "_LONGEST_WAIT", -1.0)
    a, b, c = keys("a", "b", "c")

    def add(queue: WorkQueue) -> None:
        queue.add(a, Urgency.ROLLOUT)
        queue.add(b, Urgency.IN_TURN)
        queue.add(c)

    assert await order(add) == ["a", "b", "c"]


async def test_a_key_that_is_worked_on_keeps_the_more_urgent_of_two_reasons() -> None:
    order: list[str] = []
    begun, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()
    a, b = keys("a", "b")

    async def work(key: Key) -> None:
        order.append(key.name)
        begun.set()
        await go_on.wait()
        if len(order) == 3:
            finished.set()

    async with running(work, workers=1) as queue:
        queue.add(a)
        await begun.wait()
        queue.add(b, Urgency.IN_TURN)
        queue.add(a)
        queue.add(a, Urgency.ROLLOUT)
        go_on.set()
        await asyncio.wait_for(finished.wait(), 5)
    assert order == ["a", "a", "b"]


async def test_rollouts_are_left_to_workers_that_are_free() -> None:
    begun: list[str] = []
    go_on, rolled = asyncio.Event(), asyncio.Event()

    async def work(key: Key) -> None:
        begun.append(key.name)
        if key.name == "rollout":
            rolled.set()
        await go_on.wait()

    async with running(work, workers=4) as queue:
        for key in keys("a", "b"):
            queue.add(key)
        queue.add(Key("plannivo", "rollout"), Urgency.ROLLOUT)
        await asyncio.sleep(0.05)
        assert begun == ["a", "b"]
        go_on.set()
        await asyncio.wait_for(rolled.wait(), 5)


async def test_it_is_calm_while_nothing_waits_but_rollouts() -> None:
    queue = empty()
    a, b = keys("a", "b")
    queue.add(a, Urgency.ROLLOUT)
    await asyncio.wait_for(queue.calm(), 1)
    queue.add(b, Urgency.IN_TURN)
    queue.add(a)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.calm(), 0.01)

    async def work(_: Key) -> None:
        """Nothing."""

    async with running(work, 1, queue):
        await asyncio.wait_for(queue.calm(), 5)


def test_backoff_grows_to_its_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    pauses = [workqueue._backoff(failures) for failures in (1, 2, 5, 20, 10_000)]
    assert pauses == [0.2, 0.4, 3.2, 60.0, 60.0]


def test_backoff_is_jittered() -> None:
    pauses = {workqueue._backoff(5) for _ in range(50)}
    assert len(pauses) > 10
    assert all(1.6 <= pause <= 3.2 for pause in pauses)
