"""Watches that begin with what is there, and what becomes of them on a server that has none."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from notification_operator import streaming
from notification_operator.answers import WatchEvent
from notification_operator.cluster import Cluster
from notification_operator.errors import ApiError, TransientError
from notification_operator.kinds import SECRET, SERVICE, Kind
from notification_operator.metrics import OperatorMetrics
from notification_operator.store import Store
from notification_operator.watching import Watch

Events = AsyncGenerator[WatchEvent, None]


def event(kind: str, name: str = "", version: int = 1, **annotations: str) -> WatchEvent:
    metadata: dict[str, Any] = {"name": name, "namespace": "n" if name else "", "resourceVersion": str(version)}
    content = {"metadata": {**metadata, "uid": name, "annotations": annotations}}
    return WatchEvent(kind, msgspec.Raw(json.dumps(content).encode()))


def last(version: int) -> WatchEvent:
    return event("BOOKMARK", version=version, **{"k8s.io/initial-events-end": "true"})


async def told(*events: WatchEvent, silent: bool = False) -> Events:
    for one in events:
        yield one
    if silent:
        await asyncio.Event().wait()


async def test_what_is_there_is_told_with_its_changes_and_the_rest_is_left() -> None:
    events = told(
        event("ADDED", "a", 3),
        event("ADDED", "b", 4),
        event("BOOKMARK", version=5),
        event("MODIFIED", "a", 6),
        event("DELETED", "b", 7),
        last(8),
        event("ADDED", "c", 9),
    )
    contents, version = await streaming.beginning(events, bytes)
    assert [json.loads(content)["metadata"]["resourceVersion"] for content in contents] == ["6"]
    assert version == "8"
    assert [one.type async for one in events] == ["ADDED"]


async def test_what_ends_or_falls_silent_before_all_is_told_is_tried_again() -> None:
    with pytest.raises(TransientError, match="ended"):
        await streaming.beginning(told(event("ADDED", "a")), bytes)
    with pytest.raises(TransientError, match="within 0 s"):
        await streaming.beginning(told(event("ADDED", "a"), silent=True), bytes, 0.01)


class Server:
    """An API server with one object, and with streaming lists or without."""

    def __init__(self, *, streams: bool) -> None:
        self._streams = streams
        self.requests: list[str] = []

    async def list(self, *_: object) -> tuple[Sequence[bytes], str]:
        self.requests.append("list")
        return [bytes(event("ADDED", "a", 3).object)], "5"

    def watch(self, *asked: object) -> Events:
        since = str(asked[-1])
        self.requests.append(f"watch since {since}" if since else "stream")
        return self._answer(since)

    async def _answer(self, since: str) -> Events:
        if not since and not self._streams:
            raise ApiError("422 sendInitialEvents is forbidden", status=422)
        if not since:
            yield event("ADDED", "a", 3)
            yield last(5)
        yield event("ADDED", "b", 7)
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("kind", "streams", "expected"),
    [
        (SECRET, True, ["stream"]),
        (SECRET, False, ["stream", "list", "watch since 5"]),
        (SERVICE, True, ["list", "watch since 5"]),
    ],
    ids=["streamed", "without streams", "listed"],
)
async def test_secrets_are_listed_only_by_a_server_that_cannot_stream(
    kind: Kind, streams: bool, expected: list[str]
) -> None:
    server, seen = Server(streams=streams), asyncio.Event()

    def changed(_: object) -> None:
        if len(list(store.all())) == 2:
            seen.set()

    store = Store(changed)
    registry = CollectorRegistry()
    watch = Watch(cast("Cluster", server), OperatorMetrics(registry), kind, store)
    running = asyncio.create_task(watch.run("n", {}, lambda: None))
    try:
        async with asyncio.timeout(10):
            await watch.synced.wait()
            assert list(store.all()), "what is there is known before it is called so"
            await seen.wait()
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert server.requests == expected
    assert not registry.get_sample_value("notification_operator_watch_restarts_total", {"kind": kind.name})
    assert sorted(stored.meta.name for stored in store.all()) == ["a", "b"]
    assert watch.failure is None
