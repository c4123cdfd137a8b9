"""Reading the Secrets that pipelines refer to, where the API server plays no part."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from notification_operator.answers import WatchEvent
from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials, Identity
from notification_operator.fence import Fence
from notification_operator.kinds import SECRET
from notification_operator.metrics import OperatorMetrics
from notification_operator.source_secrets import SecretName, SourceSecrets, _Watched
from notification_operator.store import Store
from notification_operator.watching import Watch
from notification_operator.workqueue import Key


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


class Silent:
    """An API server that never answers, and knows what it is being asked for."""

    def __init__(self) -> None:
        self.watched: set[tuple[str | None, str]] = set()

    async def watch(
        self, _: object, namespace: str | None, selector: Mapping[str, str], __: str
    ) -> AsyncGenerator[WatchEvent, None]:
        one = (namespace, selector["fieldSelector"])
        self.watched.add(one)
        try:
            await asyncio.Event().wait()
            yield cast("WatchEvent", None)
        finally:
            self.watched.discard(one)


class Unseen(dict[SecretName, _Watched]):
    """Secrets that nobody may go through, so that a pipeline costs the same however many there are."""

    def __iter__(self) -> Iterator[SecretName]:
        raise AssertionError("all Secrets were looked at")

    items = keys = values = __iter__  # type: ignore[assignment]


async def test_a_secret_is_watched_while_a_pipeline_needs_it_and_no_others_are_looked_at() -> None:
    server, metrics = Silent(), OperatorMetrics(CollectorRegistry())
    ours, theirs = Key("a", "booking"), Key("a", "mail")

    async def settled(*names: tuple[str, str]) -> None:
        wanted = {(namespace, f"metadata.name={name}") for namespace, name in names}
        async with asyncio.timeout(10):
            while server.watched != wanted:  # noqa: ASYNC110  tasks begin and end in turns of the loop
                await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        secrets = SourceSecrets(group, cast("Cluster", server), metrics, lambda _: None)
        secrets._watched = Unseen()
        secrets.need(ours, {"slack", "token"})
        secrets.need(theirs, {"slack"})
        secrets.need(Key("b", "booking"), {"slack"})
        await settled(("a", "slack"), ("a", "token"), ("b", "slack"))
        secrets.need(ours, {"database"})
        await settled(("a", "slack"), ("a", "database"), ("b", "slack"))
        for reader in (ours, theirs, Key("b", "booking"), Key("b", "never seen")):
            secrets.need(reader, set())
        await settled()
        assert not secrets._needed
