"""What can be done to a request on its way: the actions that tests bind to requests with `ApiProxy.fault`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from enum import StrEnum
from typing import Any

from aiohttp import web

from tests.faults.control_plane.proxy import Action, Exchange, Reply, passed_on, refusal

_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


class Fault(StrEnum):
    """What the sweep does to a write."""

    KILL_BEFORE = "kill_before"
    KILL_AFTER = "kill_after"
    CONFLICT = "conflict"
    THROTTLE = "throttle"
    ERROR = "error"
    LOST_REPLY = "lost_reply"
    HANG = "hang"


Crash = Callable[[], Awaitable[None]]
"""SIGKILL to the operator, and another one started."""


def action(fault: Fault, crash: Crash) -> Action:
    """The action that this fault is."""
    match fault:
        case Fault.KILL_BEFORE:
            return killed_before(crash)
        case Fault.KILL_AFTER:
            return killed_after(crash)
        case Fault.CONFLICT:
            return refused(409)
        case Fault.THROTTLE:
            return refused(429, retry_after=1)
        case Fault.ERROR:
            return refused(500)
        case Fault.LOST_REPLY:
            return reply_lost
        case Fault.HANG:
            return hanging


def refused(status: int, *, retry_after: int | None = None) -> Action:
    """Answered with this status; the API server never hears of it."""

    async def act(_: Exchange) -> web.StreamResponse:
        return refusal(status, _REASONS[status], retry_after=retry_after)

    return act


def killed_before(crash: Crash) -> Action:
    """The operator dies with the write unsent."""

    async def act(exchange: Exchange) -> web.StreamResponse:
        await asyncio.shield(crash())
        return exchange.drop()

    return act


def killed_after(crash: Crash) -> Action:
    """The operator dies after the API server has done the write, before it hears of it."""

    async def act(exchange: Exchange) -> web.StreamResponse:
        await exchange.forward()
        await asyncio.shield(crash())
        return exchange.drop()

    return act


async def reply_lost(exchange: Exchange) -> web.StreamResponse:
    """The write is done, and the connection breaks before the answer."""
    await exchange.forward()
    return exchange.drop()


async def hanging(exchange: Exchange) -> web.StreamResponse:
    """No answer until the client gives up; the write reaches the API server after that.

    The worst that a network can do: a write that its sender has given up comes late, after what was sent since. Lost
    on the way for good is no more than KILL_BEFORE or ERROR shows, and done but not answered no more than LOST_REPLY.
    """
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.shield(exchange.forward())
    return exchange.drop()


async def swallowed(exchange: Exchange) -> web.StreamResponse:
    """Answered as if it had been done, which it never is: no operator can know. Shows that the sweep sees anything."""
    stored = json.loads(exchange.body)
    if isinstance(stored, list):
        return web.json_response({})  # a JSON patch
    stored["metadata"] |= {"uid": "never-stored", "resourceVersion": "1"}
    return web.json_response(stored)


async def frozen(exchange: Exchange) -> web.StreamResponse:
    """A watch that stays open and tells nothing, not even a bookmark; one in place of a list, what is there alone."""
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(exchange.request)
    if "sendInitialEvents" in exchange.request.query:
        await response.write(await exchange.until(b"k8s.io/initial-events-end"))
    await asyncio.Event().wait()
    return response


def ended(event: Mapping[str, Any] | None = None) -> Action:
    """A watch that ends as soon as it began, after this event."""

    async def act(exchange: Exchange) -> web.StreamResponse:
        text = "" if event is None else json.dumps(event) + "\n"
        return web.Response(text=text, content_type="application/json")

    return act


def watch_error(status: int) -> Action:
    """A watch that is answered 200 and tells of an error: how the API server ends one that runs."""
    said = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": _REASONS[status]}
    return ended({"type": "ERROR", "object": {**said, "message": "says the test's proxy"}})


class Recording:
    """Answers that were given once, to be given again when they are long out of date."""

    def __init__(self) -> None:
        self._replies: dict[str, Reply] = {}

    async def record(self, exchange: Exchange) -> web.StreamResponse:
        """Pass it on, and keep it."""
        reply = await exchange.forward()
        self._replies[exchange.request.path_qs] = reply
        return passed_on(reply)

    async def play(self, exchange: Exchange) -> web.StreamResponse:
        """Answer what was answered then. What was never asked is asked now."""
        reply = self._replies.get(exchange.request.path_qs)
        return passed_on(reply or await exchange.forward())
