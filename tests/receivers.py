"""Receivers of notifications on this machine: a CRM that works, a ratings service whose quota is used up, and Slack.

The demo and the end-to-end tests send to them; what arrived is the other end of the ledger.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web


class Receivers:
    """One HTTP server with a path for each of them."""

    SLACK_TOKEN = "T0CANARY/B0CANARY/sUp3rS3cr3tCanary"
    """Stands in Slack's URLs, and must be found nowhere but in the Secrets."""

    def __init__(self) -> None:
        self.delivered: Counter[str] = Counter()
        """Ids of the notifications that the CRM took, and how often."""
        self.refused: Counter[str] = Counter()
        """Ids of those that the ratings service refused, and how often."""
        self.alerts: list[dict[str, Any]] = []
        """Bodies of the alerts that Slack took, oldest first."""
        self.messages: list[dict[str, Any]] = []
        """Bodies of the other messages that Slack took."""
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._port = 0

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.add_routes(
            [
                web.post("/crm", self._crm),
                web.post("/ratings", self._ratings),
                web.post(f"/services/{self.SLACK_TOKEN}/alerts", self._slack(self.alerts)),
                web.post(f"/services/{self.SLACK_TOKEN}/team", self._slack(self.messages)),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self._port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def url(self, path: str) -> str:
        """A receiver's address."""
        return f"http://127.0.0.1:{self._port}/{path}"

    def slack_url(self, name: str) -> str:
        """An incoming webhook's address, its credential included."""
        return self.url(f"services/{self.SLACK_TOKEN}/{name}")

    async def alert(self, text: str, seconds: float) -> dict[str, Any]:
        """Wait for an alert that has this text in its first line. Raises TimeoutError."""
        async with asyncio.timeout(seconds), self._arrived:
            while True:
                for body in self.alerts:
                    if text in body["text"]:
                        return body
                await self._arrived.wait()

    async def _crm(self, request: web.Request) -> web.Response:
        self.delivered[(await request.json())["id"]] += 1
        return web.Response(status=204)

    async def _ratings(self, request: web.Request) -> web.Response:
        self.refused[(await request.json())["id"]] += 1
        return web.Response(status=429, text="over quota")

    def _slack(self, bodies: list[dict[str, Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def take(request: web.Request) -> web.Response:
            bodies.append(await request.json())
            async with self._arrived:
                self._arrived.notify_all()
            return web.Response(text="ok")

        return take
