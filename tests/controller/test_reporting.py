"""The report of a pipeline: the event of our own write is told from everything else that happens to it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from notification_operator import reporting
from notification_operator.clock import SystemClock
from notification_operator.cluster import Cluster
from notification_operator.metrics import OperatorMetrics
from notification_operator.reporting import EventPoster, Reporter
from notification_operator.status import Condition, ConditionType, Reason
from notification_operator.workqueue import Key
from tests.controller.pipelines import stored

KEY = Key("plannivo", "booking")
FINE = [
    Condition(kind, "True", Reason.APPLIED, "9 objects")
    for kind in (ConditionType.RESOURCES_APPLIED, ConditionType.DISPATCHER_AVAILABLE)
]


class Server:
    """The API server's side of a report."""

    def __init__(self) -> None:
        self.written: dict[str, Any] = {}
        self.watched: list[bool] = []
        self.reporter: Reporter | None = None

    async def apply_status(self, pipeline: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        self.written = {**copy.deepcopy(dict(pipeline)), "status": copy.deepcopy(dict(status))}
        # A watch may tell of it before the write's own answer is there.
        assert self.reporter is not None
        self.watched.append(self.reporter.reported(KEY, self.written))


async def calm() -> None:
    """There is nothing more important to do."""


@pytest.fixture
async def reported() -> tuple[Reporter, dict[str, Any]]:
    """A reporter that has written one status, and the pipeline with it."""
    metrics, server = OperatorMetrics(CollectorRegistry()), Server()
    cluster = cast(Cluster, server)
    reporter = Reporter(cluster, SystemClock(), EventPoster(cluster, metrics, calm), metrics.verdicts)
    server.reporter = reporter
    await reporter.report(stored(), FINE, {"ready": "1/1"})
    assert server.watched == [True]
    return reporter, server.written


Change = Callable[[dict[str, Any]], object]


def test_our_own_report_has_nothing_to_tell(reported: tuple[Reporter, dict[str, Any]]) -> None:
    reporter, pipeline = reported
    pipeline["status"]["conditions"].reverse()
    pipeline["metadata"] |= {"resourceVersion": "8", "managedFields": []}
    assert reporter.reported(KEY, pipeline)


@pytest.mark.parametrize(
    "change",
    [
        lambda found: found["metadata"].update(generation=2),
        lambda found: found["metadata"].update(uid="another"),
        lambda found: found["metadata"].update(deletionTimestamp="2026-01-31T12:00:00Z"),
        lambda found: found["status"].update(ready="0/1"),
        lambda found: found["status"]["conditions"][0].update(status="False"),
        lambda found: found.pop("status"),
    ],
    ids=["spec", "successor", "deleted", "field by hand", "condition by hand", "no status"],
)
def test_everything_else_has(reported: tuple[Reporter, dict[str, Any]], change: Change) -> None:
    reporter, pipeline = reported
    change(pipeline)
    assert not reporter.reported(KEY, pipeline)


def test_a_pipeline_that_is_forgotten_is_news_again(reported: tuple[Reporter, dict[str, Any]]) -> None:
    reporter, pipeline = reported
    reporter.forget(KEY)
    assert not reporter.reported(KEY, pipeline)


class Events:
    """The API server's side of events."""

    def __init__(self) -> None:
        self.posted: list[str] = []
        self.came = asyncio.Event()

    async def create(self, event: Mapping[str, Any]) -> None:
        self.posted.append(event["note"])
        self.came.set()


@pytest.mark.parametrize("longest", [60.0, 0.0], ids=["until it is calm", "until it is late"])
async def test_an_event_lets_pipelines_that_wait_go_first(monkeypatch: pytest.MonkeyPatch, longest: float) -> None:
    monkeypatch.setattr(reporting, "_LONGEST_DELAY", longest)
    server, settled = Events(), asyncio.Event()

    async def settle() -> None:
        await settled.wait()

    poster = EventPoster(cast(Cluster, server), OperatorMetrics(CollectorRegistry()), settle)
    poster.post({"note": "Ready"})
    task = asyncio.create_task(poster.run())
    if longest:
        await asyncio.sleep(0.05)
        assert server.posted == []
        settled.set()
    await asyncio.wait_for(server.came.wait(), 5)
    assert server.posted == ["Ready"]
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
