"""HTTP servers of the tests' own, on free ports: the far ends that dispatchers and alerts are sent to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def served(
    application: web.Application, *, backlog: int = 128, shutdown_timeout: float = 60.0
) -> AsyncIterator[str]:
    """Serve it on 127.0.0.1 while the block runs: gives its URL, without a slash at the end.

    `backlog` and `shutdown_timeout` (seconds) are aiohttp's, as are their defaults.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=shutdown_timeout)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, backlog=backlog).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
