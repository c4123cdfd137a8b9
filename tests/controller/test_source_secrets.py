"""Reading the Secrets that pipelines refer to, where the API server plays no part."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client import CollectorRegistry

from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials, Identity
from notification_operator.fence import Fence
from notification_operator.kinds import SECRET
from notification_operator.metrics import OperatorMetrics
from notification_operator.source_secrets import SourceSecrets, _Watched
from notification_operator.store import Store
from notification_operator.watching import Watch


@pytest.mark.parametrize("later", range(6))
async def test_a_cancellation_beside_the_first_list_is_not_lost(later: int) -> None:
    metrics = OperatorMetrics(CollectorRegistry())
    cluster = Cluster(Credentials(Identity("http://127.0.0.1:1")), metrics, Fence(lambda: 0.0))
    secrets = SourceSecrets(asyncio.TaskGroup(), cluster, metrics, lambda _: None)
    store = Store(lambda _: None)
    watch = Watch(cluster, metrics, SECRET, store)
    listing = asyncio.create_task(watch.synced.wait())
    secrets._watched["plannivo", "slack"] = _Watched(watch, store, listing)  # type: ignore[arg-type]

    reading = asyncio.create_task(secrets.read("plannivo", "slack"))
    await asyncio.sleep(0)
    watch.synced.set()
    for _ in range(later):
        await asyncio.sleep(0)
    refused = not reading.cancel()
    await asyncio.wait((reading,))
    assert reading.cancelled() or refused, "it went on, and the operator would not end"
