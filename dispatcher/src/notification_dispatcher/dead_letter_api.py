"""Dead letters over HTTP: list them, queue them again, delete them. `app` has the routes.

All of it is for people who clean up after an outage: the same filters everywhere, nothing in bulk without being asked
for, and bounded steps: who wants more asks again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import RequestError
from notification_dispatcher.http_exchange import RETRY_SOON, authorize, decoded, json_response, read_body
from notification_dispatcher.job import JobReport, JobState
from notification_dispatcher.metric_names import RemovalReason
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.queues.base import DeadFilter, JobQueue, Place
from notification_dispatcher.routes import InForce

_PAGE = 100
_MOST = 1000
CURSOR_PATTERN = "^[0-9]{1,18}-[0-9]{1,18}$"
_FILTERS = ("type", "channel", "reason")


class Selection(msgspec.Struct, forbid_unknown_fields=True):
    """Which dead letters: those that match all that is given."""

    type: str | None = None
    channel: str | None = None
    """One of the channels that they could not be delivered through."""
    reason: str | None = None
    all: bool = False
    """Must be true where nothing else is given."""
    limit: Annotated[int, msgspec.Meta(ge=1, le=_MOST)] = _MOST


class DeadLetters(msgspec.Struct, rename="camel", omit_defaults=True):
    """A page of dead letters, the latest first."""

    notifications: list[JobReport]
    next_cursor: str = ""
    """Where the next page starts; absent on the last."""


class Replayed(msgspec.Struct):
    """How many were queued again. As many as the limit: there may be more."""

    replayed: int


class Deleted(msgspec.Struct):
    """How many were deleted. As many as the limit: there may be more."""

    deleted: int


@dataclass(frozen=True, slots=True)
class DeadLetterApi:
    """The handlers."""

    in_force: InForce
    queue: JobQueue
    monitor: Monitor
    clock: Clock

    async def list(self, request: Request) -> Response:
        """A page of dead letters."""
        authorize(request, self.in_force.settings)
        query = _query(request, {"state", *_FILTERS, "limit", "cursor"})
        if query.get("state", "dead") != JobState.DEAD:
            raise RequestError(400, "state: only dead letters can be listed: state=dead")
        count = _limit(query, _PAGE)
        found = await self.queue.dead_letters(_filter(query), _place(query.get("cursor")), count + 1)
        page = DeadLetters([letter.report for letter in found[:count]])
        if len(found) > count:
            page.next_cursor = _cursor(found[count - 1].place)
        return json_response(200, page)

    async def replay_one(self, request: Request) -> Response:
        """Queue one again."""
        job_id = await self._dead(request)
        replayed = await self.queue.replay(DeadFilter(job_id=job_id), self.in_force.live.limits, 1)
        if not replayed:
            raise RequestError(429, "the queue is full", RETRY_SOON)
        self.monitor.replayed(replayed)
        return json_response(202, Replayed(1))

    async def delete_one(self, request: Request) -> Response:
        """Delete one."""
        job_id = await self._dead(request)
        deleted = await self.queue.discard(DeadFilter(job_id=job_id), 1)
        self.monitor.discarded(len(deleted), RemovalReason.DELETED)
        return Response(status_code=204)

    async def replay(self, request: Request) -> Response:
        """Queue many again, the oldest first, as far as there is room."""
        authorize(request, self.in_force.settings)
        chosen = decoded(await read_body(request, self.in_force.live.max_body_bytes), Selection)
        replayed = await self.queue.replay(_chosen(chosen), self.in_force.live.limits, chosen.limit)
        self.monitor.replayed(replayed)
        return json_response(200, Replayed(len(replayed)))

    async def delete(self, request: Request) -> Response:
        """Delete many, the oldest first."""
        authorize(request, self.in_force.settings)
        query = _query(request, {*_FILTERS, "all", "limit"})
        if query.get("all", "false") not in {"true", "false"}:
            raise RequestError(400, "all: must be true or false")
        chosen = Selection(**_filters(query), all=query.get("all") == "true", limit=_limit(query, _MOST))
        deleted = await self.queue.discard(_chosen(chosen), chosen.limit)
        self.monitor.discarded(len(deleted), RemovalReason.DELETED)
        return json_response(200, Deleted(len(deleted)))

    async def _dead(self, request: Request) -> str:
        """The id of the dead letter that the path names."""
        authorize(request, self.in_force.settings)
        job_id: str = request.path_params["id"]
        report = await self.queue.report(job_id)
        if report is None:
            raise RequestError(404, "there is no such notification")
        if report.state is not JobState.DEAD:
            raise RequestError(409, f"the notification is {report.state}, and not a dead letter")
        return job_id


def _query(request: Request, known: set[str]) -> dict[str, str]:
    unknown = sorted(set(request.query_params) - known)
    if unknown:
        raise RequestError(400, f"{unknown[0]}: there is no such parameter; there are {', '.join(sorted(known))}")
    return dict(request.query_params)


def _filters(query: dict[str, str]) -> dict[str, str]:
    return {name: query[name] for name in _FILTERS if name in query}


def _filter(query: dict[str, str]) -> DeadFilter:
    return DeadFilter(job_type=query.get("type"), channel=query.get("channel"), reason=query.get("reason"))


def _chosen(chosen: Selection) -> DeadFilter:
    which = DeadFilter(job_type=chosen.type, channel=chosen.channel, reason=chosen.reason)
    if which == DeadFilter() and not chosen.all:
        raise RequestError(400, "say which: type, channel or reason; or all, which means every dead letter")
    return which


def _limit(query: dict[str, str], default: int) -> int:
    text = query.get("limit", str(default))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _MOST:
        raise RequestError(400, f"limit: must be a whole number from 1 to {_MOST}")
    return int(text)


def _cursor(place: Place) -> str:
    return f"{place.dead_ms}-{place.seq}"


def _place(cursor: str | None) -> Place | None:
    if cursor is None:
        return None
    found = re.fullmatch(CURSOR_PATTERN, cursor, re.ASCII)
    if found is None or cursor.endswith("\n"):
        raise RequestError(400, "cursor: it is not one of ours; take nextCursor from the page before")
    dead_ms, _, seq = cursor.partition("-")
    return Place(int(dead_ms), int(seq))
