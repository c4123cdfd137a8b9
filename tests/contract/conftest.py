"""Every engine, one after the other, each empty and on a clock that the test moves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.queues.memory import MemoryQueue
from notification_dispatcher.queues.sqlite import SqliteQueue
from tests.contract.caller import Caller
from tests.contract.shared import SharedVirtualClock, opened, shared_queue
from tests.postgres import PostgresServer


@pytest.fixture
def clock() -> SharedVirtualClock:
    return SharedVirtualClock()


@pytest.fixture(params=["memory", "sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def queue(
    engine: str, request: pytest.FixtureRequest, clock: SharedVirtualClock, tmp_path: Path
) -> AsyncIterator[JobQueue]:
    made: JobQueue
    if engine == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        made = shared_queue(server, clock)
    elif engine == "sqlite":
        made = SqliteQueue(tmp_path / "queue.db", clock)
    else:
        made = MemoryQueue(clock)
    async with opened(made):
        yield made


@pytest.fixture
def caller(queue: JobQueue, clock: SharedVirtualClock) -> Caller:
    return Caller(queue, clock)
