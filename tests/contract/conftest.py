"""Every engine, one after the other, each empty and on a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notification_dispatcher.clock import VirtualClock
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.queues.memory import MemoryQueue
from notification_dispatcher.queues.sqlite import SqliteQueue
from tests.contract.caller import Caller


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture(params=["memory", "sqlite"])
async def queue(request: pytest.FixtureRequest, clock: VirtualClock, tmp_path: Path) -> AsyncIterator[JobQueue]:
    engine: JobQueue = MemoryQueue(clock) if request.param == "memory" else SqliteQueue(tmp_path / "queue.db", clock)
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture
def caller(queue: JobQueue, clock: VirtualClock) -> Caller:
    return Caller(queue, clock)
