"""Says what became of a pipeline: its status, and an event for each verdict that changed. `reconcile` calls it.

The status is the truth and is written first, or the reconciliation fails. Events are a courtesy: they wait in a short
queue of their own, let pipelines that wait go first, and one that cannot be posted is counted and forgotten.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import structlog

from notification_operator import events, status
from notification_operator.clock import Clock
from notification_operator.cluster import Cluster
from notification_operator.errors import ApiError, ConflictError
from notification_operator.metrics import EventResult, OperatorMetrics, Verdicts
from notification_operator.status import Condition
from notification_operator.workqueue import Key

logger = structlog.get_logger(__name__)

_MOST_WAITING = 5000
_LONGEST_DELAY = 60.0
"""Seconds."""


class EventPoster:
    """Posts events one after the other. It needs `create` and `patch` on `events.k8s.io`, and nothing else.

    `calm` waits until there is nothing more important to do; an event waits for that a minute at most.
    """

    def __init__(self, cluster: Cluster, metrics: OperatorMetrics, calm: Callable[[], Awaitable[None]]) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._calm = calm
        self._waiting: asyncio.Queue[tuple[float, Mapping[str, Any]]] = asyncio.Queue(_MOST_WAITING)
        self._complained = False

    def post(self, event: Mapping[str, Any]) -> None:
        """Have an event posted soon, or not at all where too many wait."""
        try:
            self._waiting.put_nowait((asyncio.get_running_loop().time() + _LONGEST_DELAY, event))
        except asyncio.QueueFull:
            self._metrics.event(EventResult.DROPPED)

    async def run(self) -> None:
        """Post what waits, until cancelled. In order: an event and its repetition are two writes to one object."""
        while True:
            latest, event = await self._waiting.get()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(latest):
                    await self._calm()
            try:
                await self._write(event)
            except ApiError as error:
                self._failed(event, error)
            else:
                self._metrics.event(EventResult.POSTED)
                self._complained = False

    async def _write(self, event: Mapping[str, Any]) -> None:
        try:
            await self._cluster.create(event)
        except ConflictError:
            # A change of nothing is a look at it, for which no further permission is needed.
            stored = await self._cluster.merge(event, {})
            # Else it is this very one: it was made, and the answer was lost.
            if stored.get("eventTime") != event["eventTime"]:
                await self._cluster.merge(event, events.repeated(stored, event["eventTime"]))

    def _failed(self, event: Mapping[str, Any], error: ApiError) -> None:
        self._metrics.event(EventResult.FAILED)
        if not self._complained:
            # Once: what holds for one mostly holds for all that follow.
            self._complained = True
            about = event["regarding"]
            logger.warning(
                "an event was not posted, and others may follow it",
                action="event_failed",
                namespace=about["namespace"],
                pipeline=about["name"],
                reason=event["reason"],
                why=str(error),
            )


class Reporter:
    """Writes statuses, and tells of what changed in them."""

    def __init__(self, cluster: Cluster, clock: Clock, poster: EventPoster, verdicts: Verdicts) -> None:
        self._cluster = cluster
        self._clock = clock
        self._poster = poster
        self._verdicts = verdicts
        self._reported: dict[Key, bytes] = {}

    def forget(self, pipeline: Key) -> None:
        """There is nothing more to be said of this one."""
        self._verdicts.forget(pipeline)
        self._reported.pop(pipeline, None)

    def reported(self, key: Key, pipeline: Mapping[str, Any]) -> bool:
        """Whether a pipeline is just what our last report made it: the event of that write has nothing to tell."""
        metadata = pipeline["metadata"]
        if "deletionTimestamp" in metadata or key not in self._reported:
            return False
        return self._reported[key] == status.digest(metadata, pipeline.get("status", {}))

    async def report(
        self, stored: Mapping[str, Any], conditions: Sequence[Condition], fields: Mapping[str, Any]
    ) -> None:
        """Write the status of a stored pipeline, if it differs from what is there. Raises ApiError."""
        previous = stored.get("status", {})
        wanted = status.compose(
            previous,
            stored["metadata"]["generation"],
            [status.summary(conditions), *conditions],
            fields,
            self._clock.now_rfc3339(),
        )
        metadata = stored["metadata"]
        said = {condition["type"]: condition["status"] for condition in wanted["conditions"]}
        self._verdicts.put((metadata["namespace"], metadata["name"]), said)
        if status.same(wanted, previous):
            return
        # Before the write: its event may come before its answer.
        self._reported[Key(metadata["namespace"], metadata["name"])] = status.digest(metadata, wanted)
        await self._cluster.apply_status(stored, wanted)
        for transition in events.transitions(previous, wanted):
            self._poster.post(events.build(stored, transition, self._clock.now_micro()))
        ready = wanted["conditions"][0]
        logger.info(
            "status",
            action="status_written",
            namespace=metadata["namespace"],
            pipeline=metadata["name"],
            ready=ready["status"],
            reason=ready["reason"],
            why=ready["message"],
        )
