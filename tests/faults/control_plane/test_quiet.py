"""An operator with nothing to do does nothing: with 200 pipelines, for a minute, and after a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cluster import Cluster, Mode
from tests.faults.control_plane.proxy import WRITES, Call
from tests.faults.control_plane.rig import Bench, Rig, rig
from tests.faults.control_plane.states import settled

pytestmark = pytest.mark.asyncio(loop_scope="module")

PIPELINES = 200
STEADY_SECONDS = 60
CALM_SECONDS = 2.0
NODES = 4
"""A node takes 110 pods."""


@pytest_asyncio.fixture(loop_scope="module")
async def quiet(bench: Bench, cluster: Cluster) -> AsyncIterator[Rig]:
    """An operator that has brought all of them to Ready."""
    if cluster.mode is Mode.KWOK:
        await asyncio.to_thread(cluster.scale_nodes, NODES)
    names = {f"booking-{number}" for number in range(PIPELINES)}
    async with rig(bench, "quiet") as made:
        await made.hand.prepare()
        made.operator.start()
        for name in names:
            await made.hand.create(name)

        def ready() -> bool:
            names.difference_update([name for name in names if settled(made.view.pipeline(name))])
            return not names

        await made.until(ready, "every pipeline is Ready", 200)
        yield made


def writes(call: Call) -> bool:
    return call.verb in WRITES


async def calm(made: Rig) -> None:
    """Wait until what is under way has ended: events are posted after the status."""
    async with asyncio.timeout(60):
        before = -1
        while before != (before := made.proxy.count(writes)):  # noqa: ASYNC110  the proxy only counts
            await asyncio.sleep(CALM_SECONDS)


@pytest.mark.timeout(420)
async def test_nothing_is_written_in_a_steady_state_nor_after_a_restart(quiet: Rig) -> None:
    await calm(quiet)
    before = quiet.proxy.count(writes)
    written = await requests(quiet)
    assert written == before, "its own count and the proxy's"
    await asyncio.sleep(STEADY_SECONDS)
    assert quiet.proxy.count(writes) == before
    assert await requests(quiet) == written

    assert await quiet.operator.stop() == 0
    quiet.operator.start()
    await quiet.metric_until("notification_operator_reconciles", lambda value: value >= PIPELINES, result="success")
    await calm(quiet)
    assert quiet.proxy.count(writes) == before
    assert await requests(quiet) == 0


async def requests(quiet: Rig) -> float:
    """How many writes it says it made."""
    verbs = ("POST", "PUT", "PATCH", "DELETE")
    return sum([await quiet.metric("notification_operator_api_requests", verb=verb) for verb in verbs])
