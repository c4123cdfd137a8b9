"""Watches of several namespaces: what one of them may not see says nothing of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from notification_operator import watching
from notification_operator.answers import WatchEvent
from notification_operator.cluster import Cluster
from notification_operator.errors import ApiError, ForbiddenError, NotFoundError, TransientError
from notification_operator.kinds import POD, SCALED_OBJECT, SECRET, TRIGGER_AUTHENTICATION
from notification_operator.metrics import OperatorMetrics
from notification_operator.store import Store
from notification_operator.watching import Served, Watch, Watches

KINDS = (POD, TRIGGER_AUTHENTICATION, SCALED_OBJECT)
FORBIDDEN = ForbiddenError("403 Forbidden", status=403)
ABSENT = NotFoundError("404 Not Found", status=404)


class Server:
    """An API server that refuses some namespaces, and ends the watch of one by an error when it is told to."""

    def __init__(self, refusals: Mapping[str | None, ApiError]) -> None:
        self.refusals = dict(refusals)
        self.end: dict[str | None, asyncio.Event] = {namespace: asyncio.Event() for namespace in ("a", "b", None)}

    async def list(self, _: object, namespace: str | None, *__: object) -> tuple[Sequence[bytes], str]:
        if namespace in self.refusals:
            raise self.refusals[namespace]
        return [], "5"

    async def watch(self, _: object, namespace: str | None, *__: object) -> AsyncGenerator[WatchEvent, None]:
        await self.end[namespace].wait()
        if namespace in self.refusals:
            raise self.refusals[namespace]
        yield cast("WatchEvent", None)


@asynccontextmanager
async def running(server: Server, *namespaces: str | None) -> AsyncIterator[tuple[Watches, asyncio.Event]]:
    """The watches once all are synced, and what is set when one begins or ceases to work."""
    turned = asyncio.Event()
    watches = Watches(cast("Cluster", server), OperatorMetrics(CollectorRegistry()), namespaces)
    for kind in KINDS:
        watches.add(kind, {}, Store(lambda _: None), turned.set)
    task = asyncio.create_task(watches.run())
    try:
        async with asyncio.timeout(10):
            await watches.synced()
        turned.clear()
        yield watches, turned
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_one_namespace_refuses_is_that_namespaces_own() -> None:
    async with running(Server({"b": FORBIDDEN}), "a", "b") as (watches, _):
        assert watches.failure(POD, "a") is None
        assert watches.failure(POD, "b") is FORBIDDEN
        assert watches.forbidden(POD)
        assert watches.namespaces == ["a", "b"]
    async with running(Server({None: FORBIDDEN}), None) as (watches, _):
        assert watches.failure(POD, "a") is FORBIDDEN


@pytest.mark.parametrize(
    ("refusals", "served"),
    [
        ({}, Served.YES),
        ({"b": FORBIDDEN}, Served.YES),
        ({"a": FORBIDDEN}, Served.YES),
        ({"a": FORBIDDEN, "b": ABSENT}, Served.NO),
        ({"a": ABSENT, "b": FORBIDDEN}, Served.NO),
        ({"a": FORBIDDEN, "b": FORBIDDEN}, Served.UNKNOWN),
    ],
)
async def test_whether_an_api_is_there_is_known_from_any_namespace(
    refusals: Mapping[str | None, ApiError], served: Served
) -> None:
    async with running(Server(refusals), "a", "b") as (watches, _):
        assert watches.served(TRIGGER_AUTHENTICATION, SCALED_OBJECT) is served


async def test_an_api_that_went_away_is_gone_though_another_namespace_was_told_nothing_of_it() -> None:
    server = Server({})
    async with running(server, "a", "b") as (watches, turned):
        server.refusals["a"] = ABSENT
        server.end["a"].set()
        async with asyncio.timeout(10):
            await turned.wait()
            while watches.served(*KINDS[1:]) is not Served.NO:
                turned.clear()
                await turned.wait()
        assert watches.failure(SCALED_OBJECT, "b") is None


async def test_a_list_alone_heals_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_LONGEST_BACKOFF", 0.01)
    asked, turns = asyncio.Semaphore(0), 0

    class Unwatched(Server):
        async def list(self, *_: object) -> tuple[Sequence[bytes], str]:
            asked.release()
            return [], "5"

    def turned() -> None:
        nonlocal turns
        turns += 1

    server = Unwatched({None: FORBIDDEN})
    server.end[None].set()
    watches = Watches(cast("Cluster", server), OperatorMetrics(CollectorRegistry()), [None])
    watches.add(POD, {}, Store(lambda _: None), turned)
    task = asyncio.create_task(watches.run())
    async with asyncio.timeout(10):
        for _ in range(10):
            await asked.acquire()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert watches.failure(POD, "a") is FORBIDDEN
    assert turns == 1


async def test_who_is_refused_and_then_kept_waiting_knows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_SHORTEST_WATCH", 0.01)
    server = Server({None: FORBIDDEN})
    watch = Watch(cast("Cluster", server), OperatorMetrics(CollectorRegistry()), SECRET, store := Store(lambda _: None))
    server.end[None].set()
    turned = asyncio.Event()
    task = asyncio.create_task(watch.run(None, {}, turned.set))
    async with asyncio.timeout(10):
        await turned.wait()
    # The next try is answered by nobody.
    server.end[None].clear()
    turned.clear()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1.5):
            await turned.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert watch.failure is FORBIDDEN
    assert not watch.listed
    assert not list(store.all())


UNANSWERED = TransientError("500 Internal Server Error", status=500)


async def test_what_was_not_listed_is_not_known() -> None:
    server = Server({"a": UNANSWERED, "b": ABSENT})
    async with running(server, "a", "b") as (watches, turned):
        assert watches.unlisted(POD, "a") is UNANSWERED
        assert watches.unlisted_anywhere(*KINDS) is UNANSWERED
        del server.refusals["a"]
        async with asyncio.timeout(10):
            while watches.unlisted_anywhere(*KINDS):
                turned.clear()
                await turned.wait()
        assert watches.unlisted(POD, "a") is None


async def test_what_was_listed_once_is_known_while_its_watch_fails() -> None:
    server = Server({})
    async with running(server, None) as (watches, turned):
        server.refusals[None] = UNANSWERED
        server.end[None].set()
        async with asyncio.timeout(10):
            await turned.wait()
        assert any(watches.failure(kind, "a") is UNANSWERED for kind in KINDS)
        assert watches.unlisted_anywhere(*KINDS) is None
