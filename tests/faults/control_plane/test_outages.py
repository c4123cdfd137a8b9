"""The API server answers nothing but errors for a minute and a half: afterwards the operator works, or says it is sick.

A watch that gives up after some retries, in a process that lives on, is what users of kopf complain of most. All
outages run at the same time, each with an operator of its own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import pytest
import pytest_asyncio

from notification_operator.kinds import PIPELINE
from tests.faults.control_plane.actions import refused
from tests.faults.control_plane.rig import Bench, rig

pytestmark = pytest.mark.asyncio(loop_scope="module")

OUTAGE_SECONDS = 90.0
STATUSES = (500, 503, 403)
PLACES = ("everywhere", "pipelines")

Outages = Mapping[tuple[int, str], asyncio.Task[str]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outages(request: pytest.FixtureRequest, bench: Bench) -> AsyncIterator[Outages]:
    """Every chosen outage, begun."""
    chosen = [
        (int(str(item.callspec.params["status"])), str(item.callspec.params["place"]))
        for item in request.session.items
        if isinstance(item, pytest.Function) and item.originalname == test_it_works_afterwards_or_is_restarted.__name__
    ]
    begun = {
        (status, place): asyncio.create_task(outage(bench, status, place), name=f"{status} {place}")
        for status, place in chosen
    }
    yield begun
    for task in begun.values():
        task.cancel()
    await asyncio.gather(*begun.values(), return_exceptions=True)


async def outage(bench: Bench, status: int, place: str) -> str:
    """One of them: what it took to have the operator follow again."""
    async with rig(bench, f"{status}-{place}") as broken:
        await broken.brought()
        with broken.proxy.fault(
            lambda call: place == "everywhere" or call.resource == PIPELINE.plural, refused(status)
        ):
            broken.proxy.cut()
            await asyncio.sleep(OUTAGE_SECONDS / 2)
            await broken.hand.change({"alerts": {"failureThreshold": 7}})
            await asyncio.sleep(OUTAGE_SECONDS / 2)
        return await broken.works_or_restarts()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("status", STATUSES)
async def test_it_works_afterwards_or_is_restarted(
    outages: Outages, status: int, place: str, record_property: Callable[[str, object], None]
) -> None:
    record_property("afterwards", await outages[status, place])
