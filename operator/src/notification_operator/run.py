"""Puts the operator together and runs it until it is told to stop. Called by `__main__`."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack

import structlog
from prometheus_client import CollectorRegistry

from notification_operator import __version__, handlers, naming, pods
from notification_operator.clock import SystemClock
from notification_operator.cluster import Cluster
from notification_operator.credentials import Credentials
from notification_operator.errors import ApiError
from notification_operator.kinds import CHILDREN, PIPELINE, POD, PROMETHEUS, PROMETHEUS_AGENT
from notification_operator.metrics import OperatorMetrics
from notification_operator.reconcile import Reconciler
from notification_operator.server import serving
from notification_operator.settings import Settings
from notification_operator.source_secrets import SourceSecrets
from notification_operator.watching import ObjectMeta, Store, Watches, head
from notification_operator.workqueue import Key, WorkQueue

logger = structlog.get_logger(__name__)


class Operator:
    """The running operator: what it knows of, and the tasks that keep it going."""

    def __init__(self, settings: Settings, credentials: Credentials) -> None:
        self._settings = settings
        self._credentials = credentials
        self._metrics = OperatorMetrics(CollectorRegistry())
        self._queue = WorkQueue(self._metrics)
        self._pipelines: set[Key] = set()
        self._ready = asyncio.Event()
        self._stopped = asyncio.Event()

    async def run(self) -> None:
        """Reconcile until SIGTERM or SIGINT."""
        self._take_signals()
        async with AsyncExitStack() as stack:
            port = await stack.enter_async_context(serving(self._settings, self._metrics, self._ready.is_set))
            cluster = await stack.enter_async_context(Cluster(self._credentials, self._metrics))
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

    async def _work(self, cluster: Cluster) -> None:
        watches = self._watches(cluster)
        secrets = SourceSecrets(cluster, self._metrics, self._queue.add)
        reconciler = Reconciler(cluster, watches, secrets, SystemClock(), self._settings.dispatcher_image)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watches.run(), name="watches")
                # A first look at the children before any pipeline: else each would be asked for, one by one.
                await watches.synced()
                group.create_task(self._watch_pipelines(), name="pipelines")
                group.create_task(self._queue.run(reconciler.reconcile, self._settings.workers), name="reconcilers")
                group.create_task(self._resync(cluster), name="resync")
                self._ready.set()
                logger.info("operator", action="ready", namespaces=self._settings.namespaces or "all")
        finally:
            self._ready.clear()
            await secrets.close()

    def _take_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, self._stopped.set)

    async def _watch_pipelines(self) -> None:
        started = asyncio.Event()
        watch = handlers.watch_pipelines(self._credentials, self._settings.namespaces, self._seen, self._gone, started)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(watch, name="kopf")
            await started.wait()
            # kopf took the signals over, and would take five seconds to stop.
            self._take_signals()
            await running
        # It returns when a signal came before we had them back.
        self._stopped.set()

    def _watches(self, cluster: Cluster) -> Watches:
        watches = Watches(cluster, self._metrics, self._settings.namespaces or (None,))
        ours = {"labelSelector": naming.PIPELINE_LABEL}
        for kind in CHILDREN:
            watches.add(kind, ours, Store(self._child_changed), self._requeue_all)
        own_pods = Store(self._child_changed, trim=pods.trimmed, group=naming.PIPELINE_LABEL)
        watches.add(POD, ours, own_pods, self._requeue_all)
        for kind in (PROMETHEUS, PROMETHEUS_AGENT):
            watches.add(kind, {}, Store(lambda _: self._requeue_all()), self._requeue_all)
        return watches

    async def _resync(self, cluster: Cluster) -> None:
        """The safety net: list the pipelines ourselves every so often, and look at each of them."""
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            for namespace in self._settings.namespaces or (None,):
                try:
                    contents, _ = await cluster.list(PIPELINE, namespace, {})
                except ApiError as error:
                    logger.warning("resync", action="resync_failed", why=str(error))
                    continue
                for meta in map(head, contents):
                    self._seen(Key(meta.namespace, meta.name))

    def _seen(self, key: Key) -> None:
        self._pipelines.add(key)
        self._queue.add(key)

    def _gone(self, key: Key) -> None:
        self._pipelines.discard(key)
        self._queue.add(key)

    def _child_changed(self, meta: ObjectMeta) -> None:
        key = Key(meta.namespace, meta.labels.get(naming.PIPELINE_LABEL, ""))
        # What a pipeline that is gone has left is the garbage collector's.
        if key in self._pipelines:
            self._queue.add(key)

    def _requeue_all(self) -> None:
        for key in self._pipelines:
            self._queue.add(key)
