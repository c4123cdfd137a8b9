"""One child: what is asked for and what is written, by how much is known of it."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any, cast

import msgspec
import pytest

from notification_operator.applier import Applier
from notification_operator.cluster import Cluster
from notification_operator.kinds import Kind
from notification_operator.naming import PIPELINE_LABEL
from notification_operator.resources import CHILDREN, Child
from notification_operator.resources.base import Context, Manifest
from notification_operator.store import Known, ObjectMeta, Store
from notification_operator.watching import Watches
from tests.controller.pipelines import parsed

PIPELINE = parsed()
DASHBOARD: Child = CHILDREN[-1]


def wanted() -> Manifest:
    made = DASHBOARD.build(PIPELINE, Context("dispatcher:1"))
    assert made is not None
    return made


class Server:
    """The API server, and what it was asked."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.version = 10
        self.tell: Store | None = None

    async def get(self, _kind: Kind, _namespace: str, name: str) -> dict[str, Any] | None:
        self.asked.append("get")
        return copy.deepcopy(self.objects.get(name))

    async def create(self, manifest: Mapping[str, Any]) -> msgspec.Raw:
        self.asked.append("create")
        return msgspec.Raw(json.dumps(self.store(manifest)["metadata"]).encode())

    async def apply(self, manifest: Mapping[str, Any]) -> bytes:
        self.asked.append("apply")
        return json.dumps(self.store(manifest)).encode()

    async def edit(self, _kind: Kind, _live: Mapping[str, Any], _operations: Any) -> None:
        self.asked.append("edit")

    def store(self, manifest: Mapping[str, Any]) -> dict[str, Any]:
        """Make it so. The watch may tell of it before the write's own answer is there."""
        self.version += 1
        made: dict[str, Any] = json.loads(json.dumps(manifest))
        made["metadata"] |= {"uid": "1", "resourceVersion": str(self.version)}
        self.objects[made["metadata"]["name"]] = made
        if self.tell is not None:
            self.tell.put_outline(outline(made))
        return made


def outline(whole: Mapping[str, Any]) -> bytes:
    return json.dumps({"kind": "PartialObjectMetadata", "metadata": whole["metadata"]}).encode()


class Rig:
    """An applier, the server behind it, and what the watch of dashboards has told."""

    def __init__(self) -> None:
        self.server = Server()
        self.changes: list[ObjectMeta] = []
        self.known = Store(self.changes.append)
        self.applier = Applier(cast(Cluster, self.server), cast(Watches, self))

    def absent(self, _: Kind) -> bool:
        """As `Watches` has it."""
        return False

    def store(self, _: Kind) -> Store:
        """As `Watches` has it."""
        return self.known

    async def bring(self) -> list[str]:
        """Bring the dashboard to what it should be; returns what the server was asked for that."""
        self.server.asked.clear()
        with self.applier.writing(PIPELINE) as written:
            found = await self.applier.bring(PIPELINE, DASHBOARD, wanted(), written)
        assert found is not None
        assert found.state.value == "Applied", found.message
        assert len(written.applied) == len({"create", "apply"} & set(self.server.asked))
        return list(self.server.asked)


@pytest.fixture
def rig() -> Rig:
    return Rig()


@pytest.mark.parametrize("told_first", [False, True], ids=["answer first", "event first"])
async def test_what_was_made_is_known_and_no_news(rig: Rig, told_first: bool) -> None:
    rig.server.tell = rig.known if told_first else None
    assert await rig.bring() == ["create"]
    assert await rig.bring() == []
    assert rig.changes == []


async def test_what_somebody_else_touched_is_asked_for_once(rig: Rig) -> None:
    await rig.bring()
    (live,) = rig.server.objects.values()
    rig.known.put_outline(outline(rig.server.store(live)))
    assert len(rig.changes) == 1
    assert await rig.bring() == ["get"]
    assert await rig.bring() == []


async def test_what_somebody_else_changed_is_put_right(rig: Rig) -> None:
    await rig.bring()
    (live,) = rig.server.objects.values()
    rig.known.put_outline(outline(rig.server.store({**live, "data": {}})))
    assert await rig.bring() == ["get", "apply"]
    assert await rig.bring() == []


async def test_what_has_just_gone_is_made_anew(rig: Rig) -> None:
    await rig.bring()
    (live,) = rig.server.objects.values()
    rig.known.put_outline(outline(rig.server.store(live)))
    rig.server.objects.clear()
    assert await rig.bring() == ["get", "create"]
    found = rig.known.get(PIPELINE.namespace, live["metadata"]["name"])
    assert found is not None
    assert (found.known, found.meta.labels.pipeline) == (Known.WHOLE, live["metadata"]["labels"][PIPELINE_LABEL])
