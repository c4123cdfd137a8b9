"""What all tests of the operator's faults share: the way to the API server, and the observer beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.cluster import Cluster, Mode
from tests.faults.control_plane.observer import Observer
from tests.faults.control_plane.proxy import Upstream
from tests.faults.control_plane.rig import Bench


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bench(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Bench]:
    async with Upstream(cluster.kubeconfig) as upstream, Observer(upstream) as observer:
        made = Bench(upstream, observer, tmp_path_factory.mktemp("rigs"))
        yield made
        if cluster.mode is Mode.CURRENT:
            # Every other cluster ends with the session.
            await asyncio.gather(*(hand.leave() for hand in made.left))
