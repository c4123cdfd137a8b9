"""A real toxiproxy between two processes of this machine: what it lets through, delays or swallows is set meanwhile.

Toxics are those of https://github.com/Shopify/toxiproxy: `timeout` swallows everything, `reset_peer` breaks a
connection that sends, `latency` and `bandwidth` slow it down.
"""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx

from tests.cluster.binaries import Places, ensure
from tests.cluster.progress import Progress
from tests.pod import free_port

_SECONDS = 20.0
BOTH_WAYS = ("upstream", "downstream")


class Toxiproxy:
    """The server, by its API."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def proxy(self, port: int) -> Proxy:
        """A new way to a port of 127.0.0.1."""
        own = free_port()
        body = {"name": str(own), "listen": f"127.0.0.1:{own}", "upstream": f"127.0.0.1:{port}", "enabled": True}
        (await self._client.post("/proxies", json=body)).raise_for_status()
        return Proxy(self._client, own)


class Proxy:
    """One way through it."""

    def __init__(self, client: httpx.AsyncClient, port: int) -> None:
        self._client = client
        self.port = port
        """Where it listens."""

    @asynccontextmanager
    async def toxic(self, kind: str, *ways: str, **attributes: Any) -> AsyncIterator[None]:
        """Do harm while the block runs; to requests (`upstream`), answers (`downstream`), or both where none is named.

        Connections that `timeout` has swallowed something of are closed at the end of it.
        """
        path = f"/proxies/{self.port}/toxics"
        names = [f"{kind} {way}" for way in ways or BOTH_WAYS]
        for name in names:
            body = {"name": name, "type": kind, "stream": name.split()[1], "attributes": attributes}
            (await self._client.post(path, json=body)).raise_for_status()
        try:
            yield
        finally:
            for name in names:
                (await self._client.delete(f"{path}/{name}")).raise_for_status()


@asynccontextmanager
async def running_toxiproxy(folder: Path) -> AsyncIterator[Toxiproxy]:
    """A server that runs until the block ends; its log is in the folder."""
    places = Places.from_environment()
    (program,) = (await asyncio.to_thread(ensure, ["toxiproxy-server"], places, Progress())).values()
    port = free_port()
    with (folder / "toxiproxy.log").open("wb") as log:
        process = subprocess.Popen([program, "-port", str(port)], stdout=log, stderr=log)  # noqa: ASYNC220  it only forks
    try:
        async with httpx.AsyncClient(base_url=f"http://localhost:{port}", trust_env=False, timeout=_SECONDS) as client:
            async with asyncio.timeout(_SECONDS):
                while not await _answers(client):
                    assert process.poll() is None, (folder / "toxiproxy.log").read_text()
                    await asyncio.sleep(0.02)
            yield Toxiproxy(client)
    finally:
        process.terminate()
        process.wait(_SECONDS)


async def _answers(client: httpx.AsyncClient) -> bool:
    try:
        return (await client.get("/version")).is_success
    except httpx.TransportError:
        return False
