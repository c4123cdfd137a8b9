"""The port to the API server where answers are slow, or are none: what else is asked goes on, and nothing crashes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials, Identity
from notification_operator.errors import TransientError
from notification_operator.fence import Fence
from notification_operator.kinds import DEPLOYMENT, LEASE, SERVICE
from notification_operator.metrics import OperatorMetrics

LEASE_PATH = LEASE.path("notifications", "operator")
MADE = {"metadata": {"name": "booking", "namespace": "school", "uid": "1", "resourceVersion": "8"}}
MANIFEST = {"apiVersion": "v1", "kind": SERVICE.name, **MADE}
MANY = 100
"""Writes at once, as eight pipelines with a dozen children each are."""

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def connected(answer: Answer) -> AsyncIterator[Cluster]:
    """A port to a server that answers so, which may be written to for a long time."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    fence = Fence(lambda: 0.0)
    fence.open(3600.0)
    async with (
        TestServer(app) as server,
        Cluster(
            Credentials(Identity(str(server.make_url("")).rstrip("/"))), OperatorMetrics(CollectorRegistry()), fence
        ) as cluster,
    ):
        yield cluster


async def test_the_lease_doesnt_wait_for_slow_writes() -> None:
    begun, answered = asyncio.Event(), asyncio.Event()

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path != LEASE_PATH:
            begun.set()
            await answered.wait()
        return web.json_response(MADE)

    async with connected(answer) as cluster:
        writes = [asyncio.create_task(cluster.create(MANIFEST), name=f"write {number}") for number in range(MANY)]
        await begun.wait()
        await cluster.once("GET", LEASE_PATH, None, 5.0)
        assert not any(write.done() for write in writes)
        answered.set()
        await asyncio.gather(*writes)


@pytest.mark.parametrize(
    "ask",
    [
        lambda cluster: cluster.get(SERVICE, "school", "booking"),
        lambda cluster: cluster.serves(DEPLOYMENT),
        lambda cluster: cluster.list(SERVICE, "school", {}),
        lambda cluster: cluster.create(MANIFEST),
        lambda cluster: cluster.merge(MANIFEST, {}),
        lambda cluster: cluster.once("GET", LEASE_PATH, None, 5.0),
    ],
    ids=["get", "serves", "list", "create", "merge", "once"],
)
@pytest.mark.parametrize("said", ["<html>Please sign in.</html>", "[]", ""])
async def test_an_answer_of_something_else_is_a_failure_that_passes(
    ask: Callable[[Cluster], Awaitable[object]], said: str
) -> None:
    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(text=said)

    async with connected(answer) as cluster:
        with pytest.raises(TransientError, match="the answer cannot be read"):
            await ask(cluster)
