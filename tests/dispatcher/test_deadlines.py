"""Limits on how long things take: they end it in time, and leave alone what is not theirs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from notification_dispatcher.deadlines import Deadlines


async def test_what_takes_too_long_is_cut_off() -> None:
    deadlines = Deadlines(0.02)
    with pytest.raises(TimeoutError), deadlines.limit():
        await asyncio.Event().wait()
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    assert deadlines.running == {}


async def test_each_has_its_own_end() -> None:
    deadlines, ended = Deadlines(0.05), []

    async def one(number: int, seconds: float) -> None:
        try:
            with deadlines.limit():
                await asyncio.sleep(seconds)
            ended.append((number, "done"))
        except TimeoutError:
            ended.append((number, "cut off"))

    async with asyncio.TaskGroup() as group:
        group.create_task(one(1, 10))
        group.create_task(one(2, 0.001))
        await asyncio.sleep(0.03)
        group.create_task(one(3, 10))
        group.create_task(one(4, 0.03))
    assert ended == [(2, "done"), (1, "cut off"), (4, "done"), (3, "cut off")]


@pytest.mark.parametrize("over", [False, True], ids=["in time", "at the same moment"])
async def test_a_cancellation_by_somebody_else_is_no_timeout(over: bool) -> None:
    deadlines, entered = Deadlines(10), asyncio.Event()

    async def wait() -> None:
        with deadlines.limit():
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await entered.wait()
    if over:
        (one,) = deadlines.running
        del deadlines.running[one]
        one.cut_off()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert deadlines.running == {}


async def test_another_error_comes_through() -> None:
    with pytest.raises(KeyError), Deadlines(10).limit():
        raise KeyError


async def test_many_share_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    deadlines, loop, armed = Deadlines(10), asyncio.get_running_loop(), 0
    call_at = loop.call_at

    def count(*arguments: Any, **named: Any) -> asyncio.TimerHandle:
        nonlocal armed
        armed += 1
        return call_at(*arguments, **named)

    monkeypatch.setattr(loop, "call_at", count)
    for _ in range(1000):
        with deadlines.limit():
            pass
    assert armed == 1
