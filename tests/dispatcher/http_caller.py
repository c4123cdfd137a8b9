"""Calls the HTTP interface of a rig, and reads its problems: for the tests of what callers see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from notification_dispatcher.app import make_app
from tests.dispatcher.rig import Rig

GOOD = {"type": "booking-created", "payload": {"student": "Ada"}}


@asynccontextmanager
async def calling(rig: Rig) -> AsyncIterator[httpx.AsyncClient]:
    """A client. What is raised in a handler comes as the answer that a caller gets."""
    transport = httpx.ASGITransport(make_app(rig.parts), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://dispatcher") as client:
        yield client


async def post(api: httpx.AsyncClient, *items: Any, **headers: str) -> httpx.Response:
    """Post a batch. An underscore in a header's name stands for a hyphen."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return await api.post("/api/notifications", json={"notifications": items}, headers=sent)


def problem(answer: httpx.Response, status: int) -> str:
    """The sentence of a problem with this status."""
    assert (answer.status_code, answer.headers["Content-Type"]) == (status, "application/problem+json")
    content = answer.json()
    assert (content["type"], content["status"]) == ("about:blank", status)
    return str(content["detail"])
