"""The port to the Kubernetes API server: read, server-side-apply, delete, watch.

`reconcile`, `watching` and `monitoring` come here; nothing else but kopf speaks to the API server. On aiohttp: one
apply costs 0.19 ms of CPU, beside 0.75 with kubernetes_asyncio and 2.2 with httpx.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Mapping
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from notification_operator.credentials import Credentials
from notification_operator.errors import (
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    TransientError,
)
from notification_operator.kinds import PIPELINE, SECRET, Kind, kind_of
from notification_operator.metrics import OperatorMetrics
from notification_operator.naming import FIELD_MANAGER

_REQUEST_TIMEOUT = aiohttp.ClientTimeout(total=30, sock_connect=5)
# The server sends a bookmark about once a minute: a watch that is silent for longer is dead, whatever TCP believes.
_WATCH_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=90)
_WATCH_SECONDS = 300
_ATTEMPTS = 4
_LONGEST_PAUSE = 5.0
_PAGE = 500
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS}

_APPLY = {"Content-Type": "application/apply-patch+yaml"}
_JSON = {"Content-Type": "application/json"}


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch: what happened, and the object undecoded."""

    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _ObjectList(msgspec.Struct):
    metadata: _ListMeta
    items: list[msgspec.Raw]


class _Status(msgspec.Struct):
    """Kubernetes' answer to what it did not do."""

    message: str = ""
    reason: str = ""
    code: int = 0


class Cluster:
    """One API server. Use as an async context manager."""

    def __init__(self, credentials: Credentials, metrics: OperatorMetrics) -> None:
        self._credentials = credentials
        self._metrics = metrics

    async def __aenter__(self) -> Self:
        # Requests share a bounded pool; each watch holds a connection of its own for minutes.
        context = self._credentials.ssl_context()
        auth = aiohttp.BasicAuth(*basic) if (basic := self._credentials.basic_auth) else None
        self._requests = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=64), timeout=_REQUEST_TIMEOUT, auth=auth
        )
        self._watches = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0), timeout=_WATCH_TIMEOUT, auth=auth
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._requests.close()
        await self._watches.close()

    async def get(self, kind: Kind, namespace: str | None, name: str) -> dict[str, Any] | None:
        """The object as it is now; None when it isn't there."""
        try:
            return decode(await self._request("GET", kind.path(namespace, name)))
        except NotFoundError:
            return None

    async def list(self, kind: Kind, namespace: str | None, selector: Mapping[str, str]) -> tuple[list[bytes], str]:
        """All objects, each as JSON, and the resourceVersion to watch from. Raises NotFoundError for an absent API."""
        items: list[bytes] = []
        parameters = {**selector, "limit": str(_PAGE)}
        while True:
            page = msgspec.json.decode(
                await self._request("GET", kind.path(namespace), parameters=parameters), type=_ObjectList
            )
            # A copy each: a Raw would keep the whole page alive for as long as one object is.
            items += [bytes(item) for item in page.items]
            if not page.metadata.continue_:
                return items, page.metadata.resource_version
            parameters["continue"] = page.metadata.continue_

    async def apply(self, manifest: Mapping[str, Any]) -> bytes:
        """Server-side-apply an object as ours, by force: a hand edit of our fields is drift. Returns it as stored.

        Put the live object's uid into the manifest's metadata, and the server refuses (ConflictError) to touch a
        successor of the object that was looked at.
        """
        metadata = manifest["metadata"]
        path = kind_of(manifest).path(metadata["namespace"], metadata["name"])
        return await self._apply(path, manifest, secret=manifest["kind"] == SECRET.name)

    async def apply_status(self, pipeline: Mapping[str, Any], status: Mapping[str, Any]) -> None:
        """Write a pipeline's status, if it is still the same pipeline."""
        metadata = pipeline["metadata"]
        identity = {key: metadata[key] for key in ("namespace", "name", "uid")}
        body = {"apiVersion": PIPELINE.api_version, "kind": PIPELINE.name, "metadata": identity, "status": status}
        await self._apply(PIPELINE.path(metadata["namespace"], metadata["name"], "status"), body)

    async def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete the object with this uid, and no successor of it. Gone already is fine."""
        body = msgspec.json.encode({"preconditions": {"uid": uid}, "propagationPolicy": "Background"})
        try:
            await self._request("DELETE", kind.path(namespace, name), body=body, headers=_JSON)
        except NotFoundError:
            return

    async def watch(
        self, kind: Kind, namespace: str | None, selector: Mapping[str, str], since: str
    ) -> AsyncIterator[WatchEvent]:
        """Events after the resourceVersion `since`, bookmarks included, until the server ends the watch.

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
        try:
            async with self._watches.get(
                self._url(kind.path(namespace)), params=parameters, headers=await self._headers({})
            ) as response:
                self._metrics.request("WATCH", response.status)
                if response.status != HTTPStatus.OK:
                    raise self._error(response, await response.read(), secret=False)
                async for line in _lines(response.content):
                    event = msgspec.json.decode(line, type=WatchEvent)
                    if event.type == "ERROR":
                        raise _watch_error(event)
                    yield event
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise TransientError(f"watch of {kind.plural}: {type(error).__name__}") from error

    async def _apply(self, path: str, body: Mapping[str, Any], *, secret: bool = False) -> bytes:
        return await self._request(
            "PATCH",
            path,
            parameters={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=msgspec.json.encode(body),
            headers=_APPLY,
            secret=secret,
        )

    async def _request(
        self,
        method: str,
        path: str,
        *,
        parameters: Mapping[str, str] | None = None,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        secret: bool = False,
    ) -> bytes:
        """One request, tried again with jitter while that may help. Every one of ours may be repeated."""
        for attempt in itertools.count(1):
            try:
                return await self._once(method, path, parameters, body, headers or {}, secret=secret)
            except TransientError as error:
                if attempt == _ATTEMPTS:
                    raise
                pause = _pause(attempt, error.retry_after)
            await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _once(
        self,
        method: str,
        path: str,
        parameters: Mapping[str, str] | None,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        secret: bool,
    ) -> bytes:
        own = await self._headers(headers)
        try:
            async with self._requests.request(
                method, self._url(path), params=parameters, data=body, headers=own
            ) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            self._metrics.request(method, 0)
            raise TransientError(f"{method} {path}: {type(error).__name__}") from error
        self._metrics.request(method, response.status)
        if response.status >= HTTPStatus.BAD_REQUEST:
            raise self._error(response, content, secret=secret)
        return content

    def _url(self, path: str) -> str:
        return self._credentials.server + path

    async def _headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        token = await self._credentials.token()
        own = {"Accept": "application/json", "User-Agent": FIELD_MANAGER}
        return own | dict(headers) | ({"Authorization": f"Bearer {token}"} if token else {})

    def _error(self, response: aiohttp.ClientResponse, content: bytes, *, secret: bool) -> ApiError:
        status = response.status
        if status == HTTPStatus.UNAUTHORIZED:
            self._credentials.forget_token()
        message = _message(content, status, secret=secret)
        if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.UNAUTHORIZED:
            return TransientError(message, status=status, retry_after=_seconds(response.headers.get("Retry-After")))
        return _BY_STATUS.get(status, ApiError)(message, status=status)


_BY_STATUS: dict[int, type[ApiError]] = {
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.GONE: GoneError,
}


def decode(content: bytes) -> dict[str, Any]:
    """A JSON object of the API."""
    return msgspec.json.decode(content, type=dict[str, Any])


def _message(content: bytes, status: int, *, secret: bool) -> str:
    """What the server said. For a Secret only the kind of refusal: the message may repeat what was sent."""
    try:
        said = msgspec.json.decode(content, type=_Status)
    except msgspec.DecodeError:
        said = _Status()
    return f"{status} {said.reason if secret else said.message or said.reason}".strip()


def _watch_error(event: WatchEvent) -> ApiError:
    said = msgspec.json.decode(event.object, type=_Status)
    kind = GoneError if said.code == HTTPStatus.GONE else TransientError
    return kind(said.message, status=said.code)


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None


def _pause(attempt: int, retry_after: float | None) -> float:
    """Seconds before the next attempt: what the server asked for, else exponential; both bounded and jittered."""
    base = retry_after if retry_after is not None else 0.1 * 2**attempt
    return min(base, _LONGEST_PAUSE) * random.uniform(0.7, 1.3)  # noqa: S311  spreads load, guards nothing


async def _lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own reader stops at 64 KiB, and a dashboard is longer than that."""
    rest = bytearray()
    async for chunk in stream.iter_any():
        rest += chunk
        if b"\n" not in chunk:
            continue
        *lines, tail = bytes(rest).split(b"\n")
        rest = bytearray(tail)
        for line in lines:
            if line:
                yield line
