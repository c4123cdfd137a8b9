"""Puts the operator together and runs it until it is told to stop. Called by `__main__`.

Every operator watches; one at a time reconciles. A standby knows all that the leader knows, so that its first write
comes as soon as it leads.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from notification_operator import __version__, compare, handlers, naming, pods, selection
from notification_operator.clock import SystemClock
from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials
from notification_operator.discovery import Discovery
from notification_operator.errors import ApiError
from notification_operator.fence import Fence
from notification_operator.kinds import (
    CHILDREN,
    CONFIG_MAP,
    DEPLOYMENT,
    PIPELINE,
    POD,
    PROMETHEUS,
    PROMETHEUS_AGENT,
    SERVICE_MONITOR,
    Kind,
)
from notification_operator.leader import Elector, Work, identity
from notification_operator.lease import ClusterLeases
from notification_operator.metrics import OperatorMetrics
from notification_operator.reconcile import Reconciler
from notification_operator.reporting import EventPoster, Reporter
from notification_operator.roster import Roster
from notification_operator.server import serving
from notification_operator.settings import Settings
from notification_operator.source_secrets import SourceSecrets
from notification_operator.store import ObjectMeta, Store, head, without_status
from notification_operator.watching import Watches
from notification_operator.workqueue import Key, Urgency, WorkQueue

_ROLLOUT_SECONDS = 0.25
"""A Deployment and its pods change several times within a second while they roll out: one look is enough for all."""
_TRIMS: Mapping[Kind, Callable[[bytes], bytes]] = {
    CONFIG_MAP: compare.trimmed,
    DEPLOYMENT: bytes,
    SERVICE_MONITOR: bytes,
}
"""What is kept of a child. Of two the status is read: how many dispatchers serve, and who has taken the monitor."""
_WATCH_LAG = 10.0  # seconds within which a watch that works has told of a change

logger = structlog.get_logger(__name__)


class Operator:
    """The running operator: what it knows of, and the tasks that keep it going."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._scopes: Sequence[str | None] = settings.namespaces or (None,)
        self._metrics = OperatorMetrics(CollectorRegistry())
        self._clock = SystemClock()
        self._fence = Fence(self._clock.monotonic)
        self._queue: WorkQueue | None = None
        self._reporter: Reporter | None = None
        self._pipelines = Roster(self._scopes)
        self._watchers = handlers.Watchers()
        self._discovery: Discovery | None = None
        self._elector: Elector | None = None
        self._watching = asyncio.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Reconcile until SIGTERM or SIGINT."""
        self._take_signals()
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(self._serving())
            cluster = await stack.enter_async_context(self._cluster())
            logger.info("operator", action="started", version=__version__, server=self._credentials.server, port=port)
            work = asyncio.create_task(self._work(cluster), name="operator")
            stop = asyncio.create_task(self._stopped.wait(), name="stop")
            await asyncio.wait((work, stop), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                logger.info("operator", action="stopping")
            for task in (work, stop):
                task.cancel()
            done = await asyncio.gather(work, stop, return_exceptions=True)
            if isinstance(done[0], Exception):
                raise done[0]
        logger.info("operator", action="stopped")

    def _serving(self) -> AbstractAsyncContextManager[int]:
        return serving(self._settings, self._metrics, self._unready, self._ailment)

    def _cluster(self) -> Cluster:
        return Cluster(self._credentials, self._metrics, self._fence, self._settings.request_seconds)

    async def _work(self, cluster: Cluster) -> None:
        watches = self._watches(cluster)
        discovery = self._discovery = Discovery(cluster, self._clock)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watches.run(), name="watches")
                # A first look at the children before any pipeline: else each would be asked for, one by one.
                await watches.synced()
                group.create_task(discovery.run(self._watch_pipelines, self._watch_works), name="pipelines")
                group.create_task(self._resync(cluster, discovery), name="resync")
                group.create_task(self._lead(cluster, partial(self._reconcile, cluster, watches)), name="leader")
                self._watching.set()
                logger.info("operator", action="ready", namespaces=self._settings.namespaces or "all")
        finally:
            self._watching.clear()

    async def _lead(self, cluster: Cluster, work: Work) -> None:
        """Do the work whenever this operator leads; without an election that is always."""
        if not self._settings.leader_elect:
            self._fence.open()
            self._metrics.leader.set(1)
            await work()
            return
        leases = ClusterLeases(cluster, self._settings.lease_namespace, self._settings.lease_name)
        self._elector = Elector(leases, self._fence, self._clock, self._metrics, identity())
        await self._elector.run(work)

    async def _reconcile(self, cluster: Cluster, watches: Watches) -> None:
        """Reconcile until cancelled. Nothing that is made here outlives the time of leading."""
        queue = self._queue = WorkQueue(self._metrics)
        events = EventPoster(cluster, self._metrics, queue.calm)
        reporter = Reporter(cluster, self._clock, events, self._metrics.verdicts)
        self._reporter = reporter
        try:
            self._requeue_all()
            async with asyncio.TaskGroup() as group:
                secrets = SourceSecrets(group, cluster, self._metrics, queue.add)
                reconciler = Reconciler(cluster, watches, secrets, reporter, self._settings.dispatcher_image)
                group.create_task(events.run(), name="events")
                group.create_task(queue.run(reconciler.reconcile, self._settings.workers), name="reconcile")
        finally:
            self._queue = self._reporter = None
            self._metrics.verdicts.clear()
            queue.close()

    def _unready(self) -> str | None:
        """What keeps this operator from leading, or from taking over: None once all that is watched was listed."""
        if self._discovery is None or not self._watching.is_set():
            return "the watches are starting"
        if self._settings.leader_elect and not self._can_lead():
            return "the Lease cannot be reached: see the log"
        return self._discovery.problem

    def _ailment(self) -> str | None:
        """What only a restart can heal."""
        if self._watchers.died():
            return "a watch of the pipelines ended, and nothing starts it again"
        if self._pipelines.lost:
            return "the watch of the pipelines missed changes twice"
        return None

    def _can_lead(self) -> bool:
        return self._elector is not None and self._elector.able

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopped.set)

    async def _watch_pipelines(self) -> None:
        self._watchers = handlers.Watchers()
        try:
            await handlers.watch_pipelines(
                self._credentials, self._settings.namespaces, self._seen, self._gone, self._take_signals
            )
        finally:
            # Nothing tells of them from now on; those that are gone with their API leave something to clear up.
            for key in self._pipelines.clear():
                self._enqueue(key)

    def _watch_works(self) -> bool:
        return self._watchers.work()

    def _watches(self, cluster: Cluster) -> Watches:
        watches = Watches(cluster, self._metrics, self._scopes)
        ours = {"labelSelector": naming.PIPELINE_LABEL}
        for kind in CHILDREN:
            changed = self._rollout_moved if kind is DEPLOYMENT else self._child_changed
            trim = _TRIMS.get(kind, without_status)
            watches.add(kind, ours, Store(changed, trim=trim), self._requeue_all)
        own_pods = Store(self._rollout_moved, trim=pods.trimmed, by_pipeline=True)
        watches.add(POD, ours, own_pods, self._requeue_all)
        for kind in (PROMETHEUS, PROMETHEUS_AGENT):
            kept = Store(lambda _: self._requeue_all(), trim=selection.trimmed)
            watches.add(kind, {}, kept, self._requeue_all)
        return watches

    async def _resync(self, cluster: Cluster, discovery: Discovery) -> None:
        """The safety net: list the pipelines ourselves every so often, and look at each of them."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            if discovery.problem:
                continue
            for namespace in self._scopes:
                try:
                    contents, version = await cluster.list(PIPELINE, namespace, {})
                except ApiError as error:
                    logger.warning("resync", action="resync_failed", why=str(error))
                    continue
                listed = {Key(meta.namespace, meta.name): meta.version for meta in map(head, contents)}
                for key in listed:
                    self._enqueue(key, Urgency.IN_TURN)
                await self._check_watch(namespace, listed, int(version))

    async def _check_watch(self, namespace: str | None, listed: Mapping[Key, int], version: int) -> None:
        # What changed just before the list may still be on its way.
        await asyncio.sleep(min(_WATCH_LAG, self._settings.resync_seconds))
        missed = self._pipelines.check(namespace, listed, version)
        if not missed:
            return
        self._metrics.watch_missed.inc(len(missed))
        logger.warning("resync", action="watch_missed", namespace=namespace or "all", pipelines=len(missed))
        for key in missed:
            self._enqueue(key)

    def _seen(self, key: Key, pipeline: Mapping[str, Any], *, listed: bool) -> None:
        new = key not in self._pipelines
        self._pipelines.seen(key, int(pipeline["metadata"]["resourceVersion"]))
        # Of one that was not known, changes of its children were not heeded either.
        if new or self._reporter is None or not self._reporter.reported(key, pipeline):
            self._enqueue(key, Urgency.IN_TURN if listed else Urgency.CHANGED)

    def _gone(self, key: Key, pipeline: Mapping[str, Any]) -> None:
        self._pipelines.gone(key, int(pipeline["metadata"]["resourceVersion"]))
        self._enqueue(key)

    def _child_changed(self, meta: ObjectMeta) -> None:
        key = Key(meta.namespace, meta.labels.pipeline)
        # What a pipeline that is gone has left is the garbage collector's.
        if key in self._pipelines:
            self._enqueue(key)

    def _rollout_moved(self, meta: ObjectMeta) -> None:
        key = Key(meta.namespace, meta.labels.pipeline)
        if key in self._pipelines and self._queue is not None:
            self._queue.add_after(key, _ROLLOUT_SECONDS, Urgency.ROLLOUT)

    def _requeue_all(self) -> None:
        for key in self._pipelines:
            self._enqueue(key, Urgency.IN_TURN)

    def _enqueue(self, key: Key, urgency: Urgency = Urgency.CHANGED) -> None:
        # A standby only remembers which pipelines there are: it looks at all of them when it begins to lead.
        if self._queue is not None:
            self._queue.add(key, urgency)
