"""Brings one child to what it should be, with as few requests as that takes. `reconcile` does so for all at once.

Five cases: nothing differs → no request; it should not exist and is ours → delete; it is missing → create; it differs →
apply; it is somebody else's → leave it alone and say so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import msgspec
import structlog

from notification_operator import compare, ownership
from notification_operator.cluster import Cluster
from notification_operator.errors import ApiError, ConflictError, OwnershipError
from notification_operator.pipeline import Pipeline
from notification_operator.resources import Child
from notification_operator.resources.base import Manifest
from notification_operator.status import ChildState, ChildStatus
from notification_operator.store import Known, Stored
from notification_operator.watching import Watches

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Written:
    """Which children one reconciliation wrote: a line of the log for all of them."""

    applied: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)


class Applier:
    """Compares children with what is live, and writes what differs."""

    def __init__(self, cluster: Cluster, watches: Watches) -> None:
        self._cluster = cluster
        self._watches = watches

    @contextmanager
    def writing(self, pipeline: Pipeline) -> Iterator[Written]:
        """For the time in which a pipeline's children are brought to what they should be. Tells what was written."""
        written = Written()
        try:
            yield written
        finally:
            if done := {what: children for what, children in asdict(written).items() if children}:
                logger.info(
                    "children",
                    action="children_written",
                    namespace=pipeline.namespace,
                    pipeline=pipeline.name,
                    **done,
                )

    def concerned(self, pipeline: Pipeline, child: Child, manifest: Manifest | None) -> bool:
        """Whether there is anything to do or to say of a child."""
        known = self._watches.store(child.kind).get(pipeline.namespace, child.name(pipeline.name))
        return manifest is not None or known is not None

    async def bring(
        self, pipeline: Pipeline, child: Child, manifest: Manifest | None, written: Written
    ) -> ChildStatus | None:
        """Make the child what `manifest` says (None: absent). Returns what became of it; None for one that isn't there.

        Nothing of the API server's errors is raised: each is the child's own, and the others go on.
        """
        name = child.name(pipeline.name)
        if child.kind.optional and self._watches.absent(child.kind):
            if manifest is None:
                return None
            return ChildStatus(child.kind.name, name, ChildState.UNAVAILABLE, f"{child.kind.name} is not installed")
        try:
            if manifest is None:
                if not child.kept:
                    await self._remove(pipeline, child, name, written)
                return None
            await self._apply(pipeline, child, compare.stamped(manifest), written)
        except OwnershipError as error:
            return ChildStatus(child.kind.name, name, ChildState.CONFLICT, str(error))
        except ApiError as error:
            return ChildStatus(child.kind.name, name, ChildState.FAILED, f"{child.kind.name} {name}: {error}")
        return ChildStatus(child.kind.name, name, ChildState.APPLIED)

    async def _apply(self, pipeline: Pipeline, child: Child, manifest: Manifest, written: Written) -> None:
        store = self._watches.store(child.kind)
        name = manifest["metadata"]["name"]
        known = store.get(pipeline.namespace, name)
        with store.writing(pipeline.namespace, name):
            try:
                live = None if known is None else await self._whole(child, known)
                wrote = await self._write(pipeline, child, manifest, live)
            except ConflictError as error:
                if not error.status:
                    raise
                # The server has another object than the watch told of, or one without our label.
                live = await self._cluster.get(child.kind, pipeline.namespace, name)
                if live is None:
                    raise
                wrote = await self._change(pipeline, child, manifest, live)
        if wrote:
            written.applied.append(f"{child.kind.name} {name}")

    async def _whole(self, child: Child, known: Stored) -> Mapping[str, Any] | None:
        """An object with all that is in it; None where it has just gone."""
        if known.known is not Known.OUTLINE:
            return known.decoded()
        live = await self._cluster.get(child.kind, known.meta.namespace, known.meta.name)
        if live is not None:
            self._watches.store(child.kind).put_answer(msgspec.json.encode(live))
        return live

    async def _write(
        self, pipeline: Pipeline, child: Child, manifest: Manifest, live: Mapping[str, Any] | None
    ) -> bool:
        """Make the object, or change it. Returns whether that took a write."""
        if live is not None:
            return await self._change(pipeline, child, manifest, live)
        metadata = await self._cluster.create(manifest)
        made = msgspec.json.encode({**compare.shortened(manifest), "metadata": metadata})
        # No watch tells how the rest of an outlined kind is: what was asked for is what counts.
        self._watches.store(child.kind).put_answer(made, assumed=not child.kind.outlined)
        return True

    async def _change(self, pipeline: Pipeline, child: Child, manifest: Manifest, live: Mapping[str, Any]) -> bool:
        """Make a live object what it should be, if it is ours. Returns whether that took a write."""
        _check_owner(live, pipeline, child, manifest["metadata"]["name"])
        if _terminating(live):
            raise ConflictError("it is being deleted, and is made anew once it has gone")
        if compare.same(live, manifest):
            return False
        if operations := ownership.handover(live, manifest):
            await self._cluster.edit(child.kind, live, operations)
        # Of all objects with this name, only the one that was looked at may be changed.
        manifest["metadata"]["uid"] = live["metadata"]["uid"]
        self._watches.store(child.kind).put_answer(await self._cluster.apply(manifest))
        return True

    async def _remove(self, pipeline: Pipeline, child: Child, name: str, written: Written) -> None:
        known = self._watches.store(child.kind).get(pipeline.namespace, name)
        live = None if known is None else known.decoded()
        if known is None or live is None or not pipeline.owns(live) or _terminating(live):
            return
        await self._cluster.delete(child.kind, pipeline.namespace, name, known.meta.uid)
        written.deleted.append(f"{child.kind.name} {name}")


def _terminating(live: Mapping[str, Any]) -> bool:
    """Whether it only waits for finalizers: what is written to it goes with it."""
    return "deletionTimestamp" in live["metadata"]


def _check_owner(live: Mapping[str, Any], pipeline: Pipeline, child: Child, name: str) -> None:
    if pipeline.owns(live):
        return
    predecessor = any(
        owner["kind"] == "NotificationPipeline" and owner["name"] == pipeline.name
        for owner in live["metadata"].get("ownerReferences", [])
    )
    if predecessor:
        raise ConflictError(f"{child.kind.name} {name} of a deleted pipeline of this name is still being removed")
    raise OwnershipError(
        f"{child.kind.name} {name} exists and belongs to somebody else: rename it or the pipeline, or delete it"
    )
