"""The port to the Kubernetes API server: read, create, server-side-apply, delete, watch.

`applier`, `reconcile`, `reporting`, `watching` and `lease` come here; nothing else but kopf speaks to the API server,
and kopf only reads. On aiohttp: one apply costs 0.19 ms of CPU, beside 0.75 with kubernetes_asyncio and 2.2 with httpx.

Every write passes through the fence: it leaves only while this operator leads, and is over before another may.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import socket
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self

import aiohttp
import msgspec

from notification_operator import answers
from notification_operator.answers import WatchEvent
from notification_operator.credentials import Credentials
from notification_operator.errors import ApiError, ConflictError, NotFoundError, TransientError
from notification_operator.fence import Fence
from notification_operator.kinds import PIPELINE, SECRET, Kind, kind_of
from notification_operator.metrics import OperatorMetrics
from notification_operator.naming import FIELD_MANAGER
from notification_operator.settings import REQUEST_SECONDS

# The server sends a bookmark about once a minute, but none of a kind of which nothing has changed since it started: a
# watch that is silent for longer may be dead, whatever TCP believes, and is begun anew from where it was.
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
_WATCH_SECONDS = 300
_ATTEMPTS = 4
_UNDELIVERED_MILLISECONDS = 2000  # less than what is left of a lease when the fence closes
_CONNECTIONS = 24  # more are no faster on a server of two cores, and each takes 0.2 MB for TLS
_PAGE = 100  # of dashboards 5 MB
# The server's warnings of fields that it doesn't know are read by nobody, and to look for them takes it time.
_MANAGER = {"fieldManager": FIELD_MANAGER, "fieldValidation": "Ignore"}

# Where the rest is known, or nobody reads it: a dashboard is long to write and to read. A server that cannot leave it
# out answers with all of it.
_OUTLINE = {"Accept": "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"}

_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_JSON = {"Content-Type": "application/json"}
_JSON_PATCH = {"Content-Type": "application/json-patch+json"}
_MERGE = {"Content-Type": "application/merge-patch+json"}


class _Call(NamedTuple):
    """One request, before it is known who sends it and until when."""

    method: str
    path: str
    parameters: Mapping[str, str] = {}
    body: bytes | None = None
    headers: Mapping[str, str] = {}
    secret: bool = False
    """The body is a Secret: nothing of an answer to it may be repeated."""


class Cluster:
    """One API server. Use as an async context manager."""

    def __init__(
        self, credentials: Credentials, metrics: OperatorMetrics, fence: Fence, request_seconds: float = REQUEST_SECONDS
    ) -> None:
        self._credentials = credentials
        self._metrics = metrics
        self._fence = fence
        self._request_seconds = request_seconds

    async def __aenter__(self) -> Self:
        # Requests share a bounded pool; each watch holds a connection of its own for minutes.
        context = self._credentials.ssl_context()
        auth = aiohttp.BasicAuth(*basic) if (basic := self._credentials.basic_auth) else None
        session = partial(aiohttp.ClientSession, auth=auth, cookie_jar=aiohttp.DummyCookieJar())
        connector = partial(aiohttp.TCPConnector, ssl=context)
        self._requests = session(connector=connector(limit=_CONNECTIONS, socket_factory=_impatient))
        # Of its own: a renewal that waits behind slow writes comes too late.
        self._lease = session(connector=connector(limit=1, socket_factory=_impatient))
        self._watches = session(connector=connector(limit=0), timeout=_WATCH_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for session in (self._requests, self._lease, self._watches):
            await session.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        """The object as it is now; None when it isn't there."""
        try:
            return answers.decoded(await self._request(_Call("GET", kind.path(namespace, name))))
        except NotFoundError:
            return None

    async def serves(self, kind: Kind) -> bool:
        """Whether the API server has this kind; every account may ask."""
        try:
            found = answers.decoded(await self._request(_Call("GET", kind.group_path)))
        except NotFoundError:
            return False
        return any(resource["name"] == kind.plural for resource in found["resources"])

    async def list(
        self, kind: Kind, namespace: str | None, selector: Mapping[str, str], trim: Callable[[bytes], bytes] = bytes
    ) -> tuple[list[bytes], str]:
        """All objects, each as JSON, and the resourceVersion to watch from. Raises NotFoundError for an absent API.

        `trim` says what to keep of each, so that never more than a page is there as a whole.
        """
        items: list[bytes] = []
        parameters = {**selector, "limit": str(_PAGE)}
        while True:
            content = await self._request(_Call("GET", kind.path(namespace), parameters))
            page = answers.read(content, answers.ObjectList)
            # A copy each: a Raw would keep the whole page alive for as long as one object is.
            items += (trim(bytes(item)) for item in page.items)
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            parameters["continue"] = page.metadata.continue_

    async def create(self, manifest: Mapping[str, Any]) -> msgspec.Raw:
        """Create an object as ours, and return its metadata as stored. Raises AlreadyExistsError when one has its name.

        A fifth cheaper for the server than to apply, and whoever was first keeps the name. `ownership` says what it
        takes to apply to the object later.
        """
        path = kind_of(manifest).path(manifest["metadata"]["namespace"])
        body, secret = msgspec.json.encode(manifest), manifest["kind"] == SECRET.name
        return answers.metadata(await self._request(_Call("POST", path, _MANAGER, body, {**_JSON, **_OUTLINE}, secret)))

    async def edit(self, kind: Kind, live: Mapping[str, Any], operations: Sequence[Mapping[str, Any]]) -> None:
        """Change a live object by a JSON patch. Raises ConflictError when one of its tests fails."""
        path = kind.path(live["metadata"]["namespace"], live["metadata"]["name"])
        body = msgspec.json.encode(operations)
        try:
            await self._request(
                _Call("PATCH", path, _MANAGER, body, {**_JSON_PATCH, **_OUTLINE}, secret=kind is SECRET)
            )
        except ApiError as error:
            if error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                raise
            raise ConflictError("it is not what it was when it was looked at", status=error.status) from error

    async def apply(self, manifest: Mapping[str, Any]) -> bytes:
        """Server-side-apply an object as ours, by force: a hand edit of our fields is drift. Returns it as stored.

        Put the live object's uid into the manifest's metadata, and the server refuses (ConflictError) to touch a
        successor of the object that was looked at.
        """
        metadata = manifest["metadata"]
        path = kind_of(manifest).path(metadata["namespace"], metadata["name"])
        return await self._apply(path, manifest, {}, secret=manifest["kind"] == SECRET.name)

    async def apply_status(self, pipeline: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Write a pipeline's status, if it is still the same pipeline."""
        metadata = pipeline["metadata"]
        identity = {key: metadata[key] for key in ("namespace", "name", "uid")}
        body = {"apiVersion": PIPELINE.api_version, "kind": PIPELINE.name, "metadata": identity, "status": status}
        await self._apply(PIPELINE.path(metadata["namespace"], metadata["name"], "status"), body, _OUTLINE)

    async def merge(self, manifest: Mapping[str, Any], change: Mapping[str, Any]) -> dict[str, Any]:
        """Change some fields of the object with this manifest's name; none is a look at it. Returns it as stored."""
        metadata = manifest["metadata"]
        path = kind_of(manifest).path(metadata["namespace"], metadata["name"])
        call = _Call("PATCH", path, _MANAGER, msgspec.json.encode(change), _MERGE)
        return answers.decoded(await self._request(call))

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this uid, and no successor of it. Gone already is fine."""
        body = msgspec.json.encode({"preconditions": {"uid": uid}, "propagationPolicy": "Background"})
        try:
            await self._request(_Call("DELETE", kind.path(namespace, name), body=body, headers=_JSON))
        except NotFoundError:
            return

    async def once(self, method: str, path: str, body: Mapping[str, Any] | None, seconds: float) -> dict[str, Any]:
        """One request with a time limit, past the fence and not tried again.

        For the Lease alone: it decides where the fence stands, and when to try again.
        """
        content = None if body is None else msgspec.json.encode(body)
        call = _Call(method, path, _server_limit(seconds), content, _JSON)
        try:
            # Around all of it: a plugin that finds the token may hang as well.
            async with asyncio.timeout(seconds):
                return answers.decoded(await self._send(self._lease, call, await self._headers(_JSON), seconds))
        except TimeoutError as error:
            raise TransientError(f"{method} {path}: no answer within {seconds:.0f} s") from error

    async def watch(
        self, kind: Kind, namespace: str | None, selector: Mapping[str, str], since: str
    ) -> AsyncGenerator[WatchEvent, None]:
        """Events after the version `since`, bookmarks included, until the server ends the watch or falls silent.

        Those of an outlined kind have the metadata alone.
        Raises GoneError when the server no longer knows that version, and ApiError otherwise.
        """
        parameters = {
            **selector,
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            # Spread, so that a thousand watches don't end in the same second.
            "timeoutSeconds": str(_WATCH_SECONDS + random.randrange(60)),  # noqa: S311  spreads load, guards nothing
        }
        accept = _OUTLINE if kind.outlined else {}
        try:
            async with self._watches.get(
                self._url(kind.path(namespace)), params=parameters, headers=await self._headers(accept)
            ) as response:
                self._metrics.request("WATCH", response.status)
                if response.status != HTTPStatus.OK:
                    raise self._refusal(response, await response.read(), secret=False)
                with suppress(aiohttp.SocketTimeoutError):
                    async for line in answers.lines(response.content):
                        event = msgspec.json.decode(line, type=WatchEvent)
                        if event.type == "ERROR":
                            raise answers.watch_error(event.object)
                        yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"watch of {kind.plural}: {type(error).__name__}") from error

    async def _apply(
        self, path: str, body: Mapping[str, Any], accept: Mapping[str, str], *, secret: bool = False
    ) -> bytes:
        parameters, headers = {**_MANAGER, "force": "true"}, {**_APPLY, **accept}
        return await self._request(_Call("PATCH", path, parameters, msgspec.json.encode(body), headers, secret))

    async def _request(self, call: _Call) -> bytes:
        """One request, tried again with jitter while that may help. Every one of ours may be repeated."""
        for attempt in itertools.count(1):
            try:
                return await self._once(call)
            except TransientError as error:
                if attempt == _ATTEMPTS:
                    raise
                pause = answers.pause(attempt, error.retry_after)
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _once(self, call: _Call) -> bytes:
        # Before the fence, not behind it: to find the token may take seconds.
        headers = await self._headers(call.headers)
        if call.method == "GET":
            return await self._send(self._requests, call, headers, self._request_seconds)
        with self._fence.write() as left:
            seconds = min(left, self._request_seconds)
            limited = call._replace(parameters={**call.parameters, **_server_limit(seconds)})
            return await self._send(self._requests, limited, headers, seconds)

    async def _send(
        self, session: aiohttp.ClientSession, call: _Call, headers: Mapping[str, str], seconds: float
    ) -> bytes:
        # aiohttp would round a longer one up, by as much as a second.
        timeout = aiohttp.ClientTimeout(total=seconds, sock_connect=5, ceil_threshold=math.inf)
        try:
            async with session.request(
                call.method,
                self._url(call.path),
                params=call.parameters,
                data=call.body,
                headers=headers,
                timeout=timeout,
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._metrics.request(call.method, 0)
            raise TransientError(f"{call.method} {call.path}: {type(error).__name__}") from error
        self._metrics.request(call.method, response.status)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise self._refusal(response, content, secret=call.secret)
        return content

    def _url(self, path: str) -> str:
        return self._credentials.server + path

    async def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        token = await self._credentials.token()
        own = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        return own | dict(headers) | ({"Authorization": f"Bearer {token}"} if token else {})

    def _refusal(self, response: aiohttp.ClientResponse, content: bytes, *, secret: bool) -> ApiError:
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._credentials.forget_token()
        return answers.refusal(response, content, secret=secret)


def _server_limit(seconds: float) -> dict[str, str]:
    """Asks the server to give a request up as well, so that it doesn't come to it after we did."""
    return {"timeout": f"{max(1, round(seconds * 1000))}ms"}


def _impatient(address: Any) -> socket.socket:
    """A socket whose connection ends when the other side takes nothing for two seconds.

    Else the kernel would go on to send a write that was given up, for minutes, and deliver it once a cut-off API server
    can be reached again: when another operator leads.
    """
    family, kind, protocol, _, _ = address
    made = socket.socket(family, kind, protocol)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux alone has it
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _UNDELIVERED_MILLISECONDS)
    return made
