"""Every engine, one after the other, each empty and on a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.queues.memory import MemoryQueue
from notification_dispatcher.queues.sqlite import SqliteQueue
from tests.contract.caller import Caller
from tests.contract.shared import SharedVirtualClock, shared_queue
from tests.postgres import PostgresServer


@pytest.fixture
def clock() -> SharedVirtualClock:
    return SharedVirtualClock()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
async def queue(request: pytest.FixtureRequest, clock: SharedVirtualClock, tmp_path: Path) -> AsyncIterator[JobQueue]:
    engine: JobQueue
    if request.param == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        engine = shared_queue(server, clock)
    elif request.param == "sqlite":
        engine = SqliteQueue(tmp_path / "queue.db", clock)
    else:
        engine = MemoryQueue(clock)
    await engine.open()
    yield engine
    await engine.close()


@pytest.fixture
def caller(queue: JobQueue, clock: SharedVirtualClock) -> Caller:
    return Caller(queue, clock)
