"""A watch on which nothing comes: the API server sends no bookmarks of a kind that nobody changed since it started."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry

from notification_operator import cluster as port
from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials, Identity
from notification_operator.fence import Fence
from notification_operator.kinds import PROMETHEUS
from notification_operator.metrics import OperatorMetrics
from notification_operator.store import Store
from notification_operator.watching import Watch

MADE = {"metadata": {"name": "all", "namespace": "monitoring", "uid": "1", "resourceVersion": "8"}}
SILENT = 3
"""Watches that say nothing, before one tells of an object."""


class Silent:
    """An API server of whose Prometheuses there is long nothing to tell."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.open = asyncio.Event()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if "watch" not in request.query:
            self.asked["list"] += 1
            return web.json_response({"metadata": {"resourceVersion": "7"}, "items": []})
        self.asked[f"watch from {request.query['resourceVersion']}"] += 1
        stream = web.StreamResponse()
        await stream.prepare(request)
        if self.asked.total() > SILENT + 1:
            await stream.write(msgspec.json.encode({"type": "ADDED", "object": MADE}) + b"\n")
        await self.open.wait()
        return stream


async def test_silence_is_no_failure_and_what_comes_after_it_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    # Longer than a watch that ends as soon as it began.
    monkeypatch.setattr(port, "_WATCH_TIMEOUT", aiohttp.ClientTimeout(total=None, sock_read=1.1))
    api, registry = Silent(), CollectorRegistry()
    app = web.Application()
    app.router.add_get("/{path:.*}", api.answer)
    seen, turned = asyncio.Event(), list[Any]()
    metrics = OperatorMetrics(registry)
    async with (
        TestServer(app) as server,
        Cluster(Credentials(Identity(str(server.make_url("")).rstrip("/"))), metrics, Fence(lambda: 0.0)) as cluster,
    ):
        watch = Watch(cluster, metrics, PROMETHEUS, Store(lambda _: seen.set()))
        running = asyncio.create_task(watch.run(None, {}, lambda: turned.append(watch.failure)))
        async with asyncio.timeout(20):
            await seen.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        api.open.set()
    assert api.asked == {"list": 1, "watch from 7": SILENT + 1}
    assert turned == []
    assert registry.get_sample_value("notification_operator_watch_restarts_total", {"kind": "Prometheus"}) is None
