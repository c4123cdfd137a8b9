"""What really happened to pipelines and their children: a watch of our own past every proxy, with counts.

One observer serves all plans of a sweep: it watches every kind that the operator makes, in all namespaces, and tells
the namespace's `View` of each event.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from notification_operator import kinds, naming
from notification_operator.kinds import Kind
from tests.faults.control_plane.proxy import Upstream

_WATCH_SECONDS = "3600"
_JSON_PATCH = {"Content-Type": "application/merge-patch+json"}

Name = tuple[str, str]
"""Kind and name of an object."""


@dataclass(eq=False)
class View:
    """What is in one namespace, and how often each object was made and deleted."""

    objects: dict[Name, dict[str, Any]] = field(default_factory=dict)
    created: Counter[Name] = field(default_factory=Counter)
    deleted: Counter[Name] = field(default_factory=Counter)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, right: Callable[[], object], seconds: float) -> bool:
        """Wait for events until it is right; returns whether it came to be."""
        try:
            async with asyncio.timeout(seconds):
                while not right():
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError:
            return False
        return True

    def pipeline(self, name: str) -> dict[str, Any]:
        """The pipeline of this name; empty while there is none."""
        return self.objects.get((kinds.PIPELINE.name, name), {})

    def take(self, event: str, name: Name, found: dict[str, Any]) -> None:
        """Note one event."""
        if event == "DELETED":
            self.objects.pop(name, None)
            self.deleted[name] += 1
        else:
            if event == "ADDED":
                self.created[name] += 1
            self.objects[name] = found
        self.changed.set()


class Observer:
    """Watches all that matters, and is the tests' own hand on the API server. Use as an async context manager."""

    def __init__(self, upstream: Upstream) -> None:
        self._session = upstream.session
        self._views: dict[str, View] = {}

    async def __aenter__(self) -> Self:
        self._tasks = [
            asyncio.create_task(self._watch(kind, await self._position(kind)), name=f"observe {kind.plural}")
            for kind in (kinds.PIPELINE, *kinds.CHILDREN)
            if not kind.optional or await self.exists(kind.path())
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        results = await asyncio.gather(*self._tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def view(self, namespace: str) -> View:
        """What is seen of this namespace, from now on."""
        return self._views.setdefault(namespace, View())

    async def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """One request past every proxy. Raises for an answer that is not a success."""
        # Long answers would come compressed, and the proxy's session passes everything on as it comes.
        headers = {"Accept-Encoding": "identity"} | (_JSON_PATCH if method == "PATCH" else {})
        async with self._session.request(method, path, json=body, headers=headers) as response:
            content = await response.read()
            assert response.ok, f"{method} {path}: {content.decode()[:500]}"
            return msgspec.json.decode(content, type=dict[str, Any])

    async def exists(self, path: str) -> bool:
        """Whether there is an object at this path."""
        async with self._session.get(path) as response:
            return response.status != HTTPStatus.NOT_FOUND

    async def _position(self, kind: Kind) -> str:
        found = await self.call("GET", f"{kind.path()}?limit=1")
        return str(found["metadata"]["resourceVersion"])

    async def _watch(self, kind: Kind, since: str) -> None:
        parameters = {"watch": "1", "resourceVersion": since, "timeoutSeconds": _WATCH_SECONDS}
        if kind is not kinds.PIPELINE:
            parameters["labelSelector"] = naming.PIPELINE_LABEL
        async with self._opened(kind.path(), parameters) as response:
            rest = b""
            async for chunk in response.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._take(kind, msgspec.json.decode(line))
        raise AssertionError(f"the observer's watch of {kind.plural} ended")

    @asynccontextmanager
    async def _opened(self, path: str, parameters: Mapping[str, str]) -> AsyncIterator[aiohttp.ClientResponse]:
        """A watch that runs. A kind that was defined a moment ago is refused for a second or two."""
        while True:
            async with self._session.get(path, params=parameters) as response:
                if response.status == HTTPStatus.TOO_MANY_REQUESTS:
                    await asyncio.sleep(int(response.headers["Retry-After"]))
                    continue
                response.raise_for_status()
                yield response
                return

    def _take(self, kind: Kind, event: Mapping[str, Any]) -> None:
        found = event["object"]
        assert event["type"] != "ERROR", found
        metadata = found["metadata"]
        if (view := self._views.get(metadata["namespace"])) is not None:
            view.take(event["type"], (kind.name, metadata["name"]), found)
