"""A proxy between an operator and the API server: it numbers every write, logs every request, and breaks them to order.

The operator gets a kubeconfig that names the proxy; the proxy speaks to the real API server as the cluster's
administrator, or as whom the operator's own token names. What it does to a request is an `Action`, bound to the
requests that it is for by `ApiProxy.fault`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import aiohttp
import yaml
from aiohttp import web

from notification_operator.credentials import Credentials

WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})
UNNUMBERED = frozenset({"leases", "events"})
"""Written at times of their own: the election's heartbeat, and what is told to people as well as may be."""

_VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_HOP_BY_HOP = frozenset({"host", "connection", "transfer-encoding", "keep-alive", "content-length"})
_BIGGEST_BODY = 8 << 20
_FAREWELL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Call:
    """One request in the words of RBAC; discovery and the like have no resource.

    `occurrence` counts the writes of this verb on this object, from 1.
    """

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    occurrence: int = 0
    selector: str = ""

    @classmethod
    def of(cls, request: web.Request) -> Self:
        """Take the path and the method apart."""
        parts = request.path.strip("/").split("/")
        group = parts[1] if parts[0] == "apis" and len(parts) > 1 else ""
        rest = parts[3:] if parts[0] == "apis" else parts[2:]
        namespace = ""
        if rest[:1] == ["namespaces"] and len(rest) > 2:
            namespace, rest = rest[1], rest[2:]
        resource, name, subresource, *_ = [*rest, "", "", ""]
        verb = _VERBS.get(request.method) or ("list" if resource and not name else "get")
        if request.query.get("watch") in {"1", "true"}:
            verb = "watch"
        if verb == "delete" and not name:
            verb = "deletecollection"
        selector = request.query.get("labelSelector") or request.query.get("fieldSelector", "")
        return cls(verb, group, resource, subresource, namespace, name, selector=selector)

    @property
    def numbered(self) -> bool:
        """Whether it is one of the writes that faults are aimed at."""
        return self.verb in WRITES and self.resource not in UNNUMBERED

    def __str__(self) -> str:
        what = "/".join(part for part in (self.resource, self.name, self.subresource) if part)
        return f"{self.verb} {what}" + (f" #{self.occurrence}" if self.occurrence else "")


@dataclass(frozen=True, slots=True)
class Logged:
    """One request and its answer; status 0: there was none."""

    call: Call
    status: int


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer of the API server."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Exchange:
    """One request on its way through, as an action sees it."""

    call: Call
    request: web.Request
    body: bytes
    upstream: Upstream

    async def forward(self) -> Reply:
        """Ask the API server, and wait for all of its answer."""
        async with self.upstream.request(self) as response:
            return Reply(response.status, _kept(response.headers), await response.read())

    async def until(self, last: bytes) -> bytes:
        """Ask the API server, and wait for its answer up to the end of the line that has this in it."""
        said = b""
        async with self.upstream.request(self) as response:
            async for chunk in response.content.iter_any():
                said += chunk
                if last in said and said.endswith(b"\n"):
                    break
        return said

    def drop(self) -> web.StreamResponse:
        """Close the connection without an answer."""
        if self.request.transport is not None:
            self.request.transport.abort()
        return web.Response(status=0)


Action = Callable[[Exchange], Awaitable[web.StreamResponse]]
Matching = Callable[[Call], bool]


class Upstream:
    """The real API server, for any number of proxies. Use as an async context manager."""

    def __init__(self, kubeconfig: Path) -> None:
        self._credentials = Credentials.load(kubeconfig)

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._credentials.ssl_context(), limit=0)
        timeout = aiohttp.ClientTimeout(total=None)
        self.session = aiohttp.ClientSession(
            self._credentials.server, connector=connector, timeout=timeout, auto_decompress=False
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.session.close()
        # TLS connections that were broken off end in the background, and nothing tells when.
        await asyncio.sleep(_FAREWELL_SECONDS)

    @asynccontextmanager
    async def request(self, exchange: Exchange) -> AsyncIterator[aiohttp.ClientResponse]:
        """The same request to the API server."""
        headers = _kept(exchange.request.headers)
        target = exchange.request.raw_path
        async with self.session.request(
            exchange.request.method, target, headers=headers, data=exchange.body or None
        ) as response:
            yield response


@dataclass(slots=True)
class _Fault:
    matching: Matching
    action: Action


@dataclass(eq=False)
class ApiProxy:
    """One proxy, for one operator. Use as an async context manager."""

    upstream: Upstream
    log: list[Logged] = field(default_factory=list)
    writes: list[Call] = field(default_factory=list)
    """Every numbered write, in the order of arrival."""
    url: str = ""

    async def __aenter__(self) -> Self:
        self._faults: list[_Fault] = []
        self._streams: set[asyncio.Task[None]] = set()
        application = web.Application(client_max_size=_BIGGEST_BODY)
        application.router.add_route("*", "/{path:.*}", self._handle)
        # A client that gives up is noticed at once, as by the real server.
        self._runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        await self._runner.cleanup()

    def kubeconfig(self, path: Path, token: str = "") -> Path:
        """Write a kubeconfig that leads to this proxy, with the token of an account if there is one.

        The token counts where `upstream` has no certificate of its own.
        """
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "proxy", "cluster": {"server": self.url}}],
            "contexts": [{"name": "proxy", "context": {"cluster": "proxy", "user": "nobody"}}],
            "users": [{"name": "nobody", "user": {"token": token} if token else {}}],
            "current-context": "proxy",
        }
        path.write_text(yaml.safe_dump(config))
        path.chmod(0o600)
        return path

    @contextmanager
    def fault(self, matching: Matching, action: Action) -> Iterator[None]:
        """Do this to every request that matches, for the time of the block."""
        fault = _Fault(matching, action)
        self._faults.append(fault)
        try:
            yield
        finally:
            self._faults.remove(fault)

    def cut(self) -> None:
        """End every watch that runs, as a reset connection does."""
        for stream in self._streams:
            stream.cancel()

    def count(self, matching: Matching) -> int:
        """How many of the requests so far match."""
        return sum(matching(logged.call) for logged in self.log)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        call = Call.of(request)
        body = await request.read()
        if call.numbered:
            call = self._numbered(call, body)
        exchange = Exchange(call, request, body, self.upstream)
        status = 0
        try:
            response = await self._answer(exchange)
            status = response.status
        except (ConnectionError, aiohttp.ClientError):
            # One of the two sides is gone; the other one is told so.
            return exchange.drop()
        finally:
            self.log.append(Logged(call, status))
        return response

    async def _answer(self, exchange: Exchange) -> web.StreamResponse:
        for fault in self._faults:
            if fault.matching(exchange.call):
                return await fault.action(exchange)
        if exchange.call.verb == "watch":
            return await self._stream(exchange)
        return passed_on(await exchange.forward())

    def _numbered(self, call: Call, body: bytes) -> Call:
        if call.verb == "create":
            # Its path names the kind alone.
            call = replace(call, name=json.loads(body)["metadata"].get("name", ""))
        numbered = _nth(call, 1 + sum(_nth(write, 0) == call for write in self.writes))
        self.writes.append(numbered)
        return numbered

    async def _stream(self, exchange: Exchange) -> web.StreamResponse:
        async with self.upstream.request(exchange) as source:
            response = web.StreamResponse(status=source.status, headers=_kept(source.headers))
            await response.prepare(exchange.request)
            stream = asyncio.create_task(_pump(source, response), name=f"stream {exchange.call}")
            self._streams.add(stream)
            try:
                await asyncio.wait((stream,))
            finally:
                stream.cancel()
                self._streams.discard(stream)
            if stream.cancelled():
                exchange.drop()
            return response


async def _pump(source: aiohttp.ClientResponse, response: web.StreamResponse) -> None:
    with suppress(aiohttp.ClientError, ConnectionError):
        async for chunk in source.content.iter_any():
            await response.write(chunk)
        await response.write_eof()


def passed_on(reply: Reply) -> web.Response:
    """The API server's answer as it came."""
    return web.Response(status=reply.status, headers=reply.headers, body=reply.body)


def refusal(status: int, reason: str, *, retry_after: int | None = None) -> web.Response:
    """An answer as the API server words it."""
    body = {
        "apiVersion": "v1",
        "kind": "Status",
        "status": "Failure",
        "reason": reason,
        "message": f"{reason}, says the test's proxy",
        "code": status,
    }
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return web.Response(status=status, headers=headers, text=json.dumps(body), content_type="application/json")


def _kept(headers: object) -> dict[str, str]:
    return {name: value for name, value in dict(headers).items() if name.lower() not in _HOP_BY_HOP}  # type: ignore[call-overload]


def _nth(call: Call, occurrence: int) -> Call:
    return replace(call, occurrence=occurrence)
