"""One stage for all tests of a module: to build it takes seconds, and to ask about it changes little."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.cluster import Cluster
from tests.plugin.stage import Stage, stage


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def booking(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """A pipeline called booking, with one dispatcher, Ready."""
    namespace = f"test-{uuid.uuid4().hex[:10]}"
    cluster.run_kubectl("create", "namespace", namespace)
    folder: Path = tmp_path_factory.mktemp("stage")
    async with stage(cluster, namespace, folder) as built:
        yield built
    cluster.run_kubectl("delete", "namespace", namespace, "--wait=false")
