"""One bare aiohttp client of the API server: no retry, no metrics, no fence. The limit and the bench itself use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from bench.dispatcher.processes import BenchError
from notification_operator.credentials import Credentials
from notification_operator.kinds import Kind

JSON = "application/json"
_NAMES = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
MERGE_PATCH = "application/merge-patch+json"


class Api:
    """Connections to one API server. Use as an async context manager."""

    def __init__(self, kubeconfig: Path, connections: int) -> None:
        self._credentials = Credentials.load(kubeconfig)
        self._connections = connections

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._credentials.ssl_context(), limit=self._connections)
        self._session = aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(total=None)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._session.close()

    async def send(
        self, method: str, path: str, body: bytes | None = None, content_type: str = JSON, accept: str = JSON
    ) -> bytes:
        """One request. Raises BenchError for every answer that is not a success."""
        headers = {"Content-Type": content_type, "Accept": accept}
        async with self._session.request(
            method, self._credentials.server + path, data=body, headers=headers
        ) as response:
            content = await response.read()
        if response.status >= 300:
            raise BenchError(f"{method} {path}: {response.status} {content[:300].decode(errors='replace')}")
        return content

    async def create(self, kind: Kind, namespace: str | None, manifest: dict[str, Any]) -> dict[str, Any]:
        """Create an object; returns it as stored."""
        path = f"{kind.path(namespace)}?fieldManager=bench"
        stored: dict[str, Any] = msgspec.json.decode(await self.send("POST", path, msgspec.json.encode(manifest)))
        return stored

    async def items(self, kind: Kind, namespace: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        listed: list[dict[str, Any]] = msgspec.json.decode(await self.send("GET", kind.path(namespace)))["items"]
        return listed

    async def names(self, kind: Kind, namespace: str, label: str) -> list[str]:
        """Names of all objects of a kind that have a label."""
        content = await self.send("GET", f"{kind.path(namespace)}?labelSelector={label}", accept=_NAMES)
        return [item["metadata"]["name"] for item in msgspec.json.decode(content)["items"]]

    async def version(self, kind: Kind, namespace: str) -> str:
        """The version that a kind's objects have as a whole, to watch from."""
        content = await self.send("GET", f"{kind.path(namespace)}?limit=1", accept=_NAMES)
        version: str = msgspec.json.decode(content)["metadata"]["resourceVersion"]
        return version

    async def made(self, kind: Kind, namespace: str, label: str, since: str) -> AsyncIterator[str]:
        """The label's value of each object that is made after a version."""
        query = f"watch=1&labelSelector={label}&resourceVersion={since}"
        url = f"{self._credentials.server}{kind.path(namespace)}?{query}"
        async with self._session.get(url) as response:
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    event = msgspec.json.decode(line)
                    if event["type"] == "ADDED":
                        yield event["object"]["metadata"]["labels"][label]
