"""Looking for the pipelines' API, on a clock that the test moves: the work runs while it is served, and only then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import structlog

from notification_operator.cluster import Cluster
from notification_operator.discovery import Discovery
from notification_operator.errors import ApiError, ForbiddenError, OperatorError, TransientError
from notification_operator.kinds import PIPELINE, Kind
from tests.controller.test_leader import Time

POLL = 10.0
TURNS = 12  # of the event loop: more than any step takes


class Server:
    """An API server that serves the pipelines or not, or does not answer."""

    def __init__(self) -> None:
        self.served = False
        self.error: ApiError | None = None
        self.asked = 0

    async def serves(self, kind: Kind) -> bool:
        assert kind is PIPELINE
        self.asked += 1
        if self.error is not None:
            raise self.error
        return self.served


class Work:
    """What is to run: how often it was begun, and whether it runs."""

    def __init__(self) -> None:
        self.begun = 0
        self.runs = False
        self.works = True
        self.broken = asyncio.Event()
        self.error: Exception = OperatorError("it ended")

    async def __call__(self) -> None:
        self.begun += 1
        self.runs = True
        try:
            await self.broken.wait()
            raise self.error
        finally:
            self.runs = False


class Scene:
    def __init__(self) -> None:
        self.clock, self.server, self.work = Time(), Server(), Work()
        self.discovery = Discovery(cast("Cluster", self.server), self.clock)

    def state(self) -> tuple[int, bool, str | None]:
        """How often the work was begun, whether it runs, and what is said."""
        return self.work.begun, self.work.runs, self.discovery.problem

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.discovery.run(self.work, lambda: self.work.works))
        try:
            await self.turn()
            yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        assert not self.work.runs

    async def turn(self, seconds: float = 0.0) -> None:
        self.clock.advance(seconds)
        for _ in range(TURNS):
            await asyncio.sleep(0)


@pytest.fixture
def scene() -> Scene:
    return Scene()


async def test_the_work_waits_for_the_api_and_stops_without_it(scene: Scene) -> None:
    with structlog.testing.capture_logs() as logged:
        async with scene.running():
            for _ in range(6):
                await scene.turn(POLL)
            assert (scene.work.begun, scene.server.asked) == (0, 7)
            assert "crds/" in (scene.discovery.problem or "")
            scene.server.served = True
            await scene.turn(POLL)
            assert scene.state() == (1, True, None)
            scene.server.served = False
            await scene.turn(POLL)
            assert scene.state()[:2] == (1, False)
            assert "crds/" in (scene.discovery.problem or "")
            scene.server.served = True
            await scene.turn(POLL)
            assert scene.state() == (2, True, None)
    assert [line["action"] for line in logged] == ["definition_absent", "definition_served"] * 2


@pytest.mark.parametrize("error", [TransientError("503"), ForbiddenError("403")], ids=["503", "403"])
async def test_no_answer_changes_nothing(scene: Scene, error: ApiError) -> None:
    scene.server.error = error
    async with scene.running():
        await scene.turn(POLL)
        assert scene.work.begun == 0
        assert str(error) in (scene.discovery.problem or ""), "nobody knows yet, and why is said"
        scene.server.error, scene.server.served = None, True
        await scene.turn(POLL)
        scene.server.error = error
        for _ in range(9):
            await scene.turn(POLL)
        assert (scene.work.runs, scene.work.begun) == (True, 1)
        assert scene.discovery.problem is None


async def test_work_that_does_nothing_is_begun_anew(scene: Scene) -> None:
    scene.server.served = True
    async with scene.running():
        await scene.turn(POLL)
        assert scene.work.begun == 1
        scene.work.works = False
        await scene.turn(POLL)
        assert (scene.work.runs, scene.work.begun) == (True, 2)


async def test_work_that_ends_is_begun_anew_and_not_at_once(scene: Scene) -> None:
    scene.server.served = True
    with structlog.testing.capture_logs() as logged:
        async with scene.running():
            scene.work.error = OperatorError("kopf ended by itself: 404")
            scene.work.broken.set()
            await scene.turn()
            assert scene.state() == (1, False, None)
            scene.work.broken.clear()
            await scene.turn(POLL)
            assert scene.state() == (2, True, None)
    assert [(line["action"], line["why"]) for line in logged] == [("watch_ended", "kopf ended by itself: 404")]


async def test_what_nobody_expected_is_raised(scene: Scene) -> None:
    scene.server.served = True
    async with scene.running() as task:
        scene.work.error = RuntimeError("a mistake")
        scene.work.broken.set()
        await asyncio.wait((task,))
        with pytest.raises(RuntimeError, match="mistake"):
            task.result()
