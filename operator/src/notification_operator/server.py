"""Probes and metrics of the operator itself, over HTTP. `run` starts it first, so that a slow start can be seen."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from notification_operator.errors import SettingsError
from notification_operator.metrics import OperatorMetrics
from notification_operator.settings import Settings


@asynccontextmanager
async def serving(
    settings: Settings, metrics: OperatorMetrics, unready: Callable[[], str | None], ailment: Callable[[], str | None]
) -> AsyncIterator[int]:
    """Serve `/healthz`, `/readyz` and `/metrics`; gives the port. Raises SettingsError when it can't be had.

    `unready` says what is waited for, `ailment` what only a restart can heal; None: nothing.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _verdict(ailment())

    async def readyz(_: web.Request) -> web.Response:
        return _verdict(unready())

    async def expose(_: web.Request) -> web.Response:
        return web.Response(body=generate_latest(metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", expose)])
    runner = web.AppRunner(application, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        site = web.TCPSite(runner, settings.http_host, settings.http_port)
        try:
            await site.start()
        except OSError as error:
            raise SettingsError(
                f"--metrics-port {settings.http_port} cannot be opened: {os.strerror(error.errno or 0)}. "
                "Choose another, or 0 for any."
            ) from error
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


def _verdict(why_not: str | None) -> web.Response:
    return web.Response(text="ok\n") if why_not is None else web.Response(status=503, text=f"{why_not}\n")
