"""A destination that answers as it is told, and a job to send there: for the tests of channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from notification_dispatcher.job import Lease, Rank
from tests.serving import served

CANARY = "sUp3rS3cr3tCanary"


def lease(payload: bytes = b'{"student": "Ada"}', attempt: int = 1) -> Lease:
    """A job that a worker has."""
    return Lease(
        seq=1,
        id="b-1",
        type="booking-created",
        payload=payload,
        rank=Rank.NORMAL,
        channels=None,
        done={},
        attempt=attempt,
        accepted_ms=1_750_000_000_000,
        due_ms=1_750_000_000_000,
        eligible_at=0.0,
    )


class Destination:
    """A server that answers as it is told, and remembers what it got."""

    def __init__(self) -> None:
        self.answer: Callable[[], web.Response] = lambda: web.Response(status=204)
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.paths: list[str] = []
        self.url = ""

    async def handle(self, request: web.Request) -> web.Response:
        self.paths.append(request.path)
        self.requests.append((dict(request.headers), await request.read()))
        return self.answer()


@asynccontextmanager
async def listening() -> AsyncIterator[Destination]:
    """A destination on a free port. Its path is a secret."""
    made = Destination()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", made.handle)
    async with served(application) as server:
        made.url = f"{server}/{CANARY}"
        yield made
