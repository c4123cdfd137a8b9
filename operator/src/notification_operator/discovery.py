"""Whether the API server knows NotificationPipelines at all: asked now and then, so that nobody need list definitions.

`run` starts the watch of the pipelines through here. kopf would learn of a definition that comes later by watching all
definitions of the cluster, which is a permission that few like to grant; the API group's own document says the same,
and every account may read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from notification_operator.clock import Clock
from notification_operator.cluster import Cluster
from notification_operator.errors import ApiError, OperatorError
from notification_operator.kinds import PIPELINE

_LOOK_SECONDS = 10.0
_ABSENT = "the cluster has no NotificationPipeline API: kubectl apply --server-side -f crds/"

Work = Callable[[], Coroutine[Any, Any, None]]

logger = structlog.get_logger(__name__)


class Discovery:
    """Looks for the pipelines' API, and runs what needs it for as long as it is there."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self._served: bool | None = None
        self._failure: ApiError | None = None

    @property
    def problem(self) -> str | None:
        """What is to be said of an API that is missing, or of which nobody knows yet; None: it is there."""
        if self._served is None:
            why = "nobody has asked yet" if self._failure is None else str(self._failure)
            return f"it isn't known yet whether the cluster has the NotificationPipeline API: {why}"
        return None if self._served else _ABSENT

    async def run(self, work: Work, works: Callable[[], bool]) -> None:
        """Do the work, which has no end of its own, while the API is served, until cancelled.

        It is begun anew when it raises OperatorError, as it does when the API goes away under it, and when a look finds
        that it doesn't do what it should: `works` tells. Whatever else it raises is raised.
        """
        while True:
            while not await self._look():
                await self._clock.sleep(_LOOK_SECONDS)
            try:
                await self._while_served(work, works)
            except OperatorError as error:
                logger.warning("discovery", action="watch_ended", why=str(error))
                await self._clock.sleep(_LOOK_SECONDS)

    async def _while_served(self, work: Work, works: Callable[[], bool]) -> None:
        working = asyncio.create_task(work(), name="with the API")
        leaving = asyncio.create_task(self._until_it_should_end(works), name="discovery")
        try:
            await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            working.cancel()
            leaving.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)
        for task in (working, leaving):
            if not task.cancelled():
                task.result()

    async def _until_it_should_end(self, works: Callable[[], bool]) -> None:
        while True:
            await self._clock.sleep(_LOOK_SECONDS)
            if not await self._look():
                return
            if not works():
                logger.warning("discovery", action="watch_restarted", why="nothing watches the pipelines")
                return

    async def _look(self) -> bool:
        """Whether the API is served; as far as is known, where the API server doesn't answer."""
        before = self._served
        try:
            self._served = await self._cluster.serves(PIPELINE)
        except ApiError as error:
            if type(error) is not type(self._failure):
                logger.warning("discovery", action="discovery_failed", why=str(error))
            self._failure = error
            return bool(before)
        self._failure = None
        if before is not False and not self._served:
            logger.warning("discovery", action="definition_absent", why=_ABSENT)
        if before is False and self._served:
            logger.info("discovery", action="definition_served")
        return self._served
