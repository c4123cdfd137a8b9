"""Watches: what the API server holds of one kind, kept current in a `store`. `run` starts them, `reconcile` reads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from enum import Enum
from functools import partial
from http import HTTPStatus
from typing import Any

import msgspec
import structlog

from notification_operator import answers, streaming
from notification_operator.answers import WatchEvent
from notification_operator.cluster import Cluster
from notification_operator.errors import ApiError, ForbiddenError, GoneError, NotFoundError, TransientError
from notification_operator.kinds import Kind
from notification_operator.metrics import OperatorMetrics
from notification_operator.store import Store, head

_LONGEST_BACKOFF = 30.0  # seconds
_ABSENT_POLL = 10.0  # seconds: an API that is installed later is noticed within this time
_SHORTEST_WATCH = 1.0  # seconds; a server that is well ends one after minutes

Turned = Callable[[], None]

logger = structlog.get_logger(__name__)


class Served(Enum):
    """Whether the API server has a kind. A failure that says nothing of it changes nothing in what was known."""

    UNKNOWN = "unknown"
    YES = "yes"
    NO = "no"

    @staticmethod
    def all(parts: Iterable[Served]) -> Served:
        """Whether it has all of several."""
        found = set(parts)
        return next((one for one in (Served.NO, Served.UNKNOWN) if one in found), Served.YES)


class Watch:
    """List and watch one kind into a store, for ever: the loop that survives every error."""

    def __init__(self, cluster: Cluster, metrics: OperatorMetrics, kind: Kind, store: Store) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._kind = kind
        self._store = store
        self._failures = 0
        self.synced = asyncio.Event()
        """Set once the first list is in, or its API is known to be absent."""
        self.listed = False
        """A list of it was taken in, and its API has been there since."""
        self.failure: ApiError | None = None
        """Why the last try failed; None while it works."""
        self.served = Served.UNKNOWN
        """Whether the API server has this kind, as it last said."""
        self.told = 0.0
        """When it said so, by the event loop's clock."""

    async def run(self, namespace: str | None, selector: Mapping[str, str], turned: Turned) -> None:
        """Keep the store current until cancelled. `turned` is called when it begins or ceases to work."""
        while True:
            try:
                await self._list_and_watch(namespace, selector, turned)
            except GoneError as error:
                # This is how the server ends an old watch: list again at once, unless that has just been of no use.
                if self._failures:
                    await asyncio.sleep(self._failed(error, namespace, turned))
                self._failures = max(self._failures, 1)
            except ApiError as error:
                await asyncio.sleep(self._failed(error, namespace, turned))
            except msgspec.DecodeError as error:
                await asyncio.sleep(self._failed(answers.unreadable(error), namespace, turned))

    async def _list_and_watch(self, namespace: str | None, selector: Mapping[str, str], turned: Turned) -> None:
        version = "" if self._kind.streamed else await self._list(namespace, selector)
        while True:
            try:
                version = await self._follow(namespace, selector, version, turned)
            except ApiError as error:
                if version or error.status != HTTPStatus.UNPROCESSABLE_ENTITY:
                    raise
                # A server without streaming lists (before 1.34, or by choice): whoever runs it grants the list.
                version = await self._list(namespace, selector)

    async def _list(self, namespace: str | None, selector: Mapping[str, str]) -> str:
        contents, version = await self._cluster.list(self._kind, namespace, selector, self._store.trim)
        self._listed(contents, version, namespace)
        return version

    def _listed(self, contents: Iterable[bytes], version: str, namespace: str | None) -> None:
        self._store.replace(contents, namespace=namespace, version=int(version))
        self.listed = True
        self._tell(Served.YES)
        self.synced.set()

    def _works(self, turned: Turned) -> None:
        """The watch does. A list alone doesn't show that, and would be asked for again and again."""
        self._failures = 0
        if self.failure is not None:
            self.failure = None
            turned()

    async def _follow(self, namespace: str | None, selector: Mapping[str, str], version: str, turned: Turned) -> str:
        """Watch until the server ends it; returns the version to go on from. From none: what is there comes first."""
        told, began = False, asyncio.get_running_loop().time()
        parameters = selector if version else {**selector, **streaming.PARAMETERS}
        async with aclosing(self._cluster.watch(self._kind, namespace, parameters, version)) as events:
            if not version:
                contents, version = await streaming.beginning(events, self._store.trim)
                self._listed(contents, version, namespace)
                self._works(turned)
            # Not before what is there is known: without a failure, what was not told of is taken to be missing.
            working = asyncio.get_running_loop().call_later(_SHORTEST_WATCH, self._works, turned)
            try:
                async for event in events:
                    version, told = self._take(event), True
                    self._works(turned)
            finally:
                working.cancel()
        if not told and asyncio.get_running_loop().time() - began < _SHORTEST_WATCH:
            raise TransientError(f"the watch of {self._kind.plural} ended as soon as it began")
        self._works(turned)
        return version

    def _take(self, event: WatchEvent) -> str:
        meta = head(event.object)
        if event.type == "DELETED":
            self._store.remove(meta)
        elif event.type != "BOOKMARK":
            put = self._store.put_outline if self._kind.outlined else self._store.put
            put(bytes(event.object))
        return meta.resource_version

    def _tell(self, served: Served) -> None:
        self.served, self.told = served, asyncio.get_running_loop().time()

    def _failed(self, error: ApiError, namespace: str | None, turned: Turned) -> float:
        """Note the failure; returns how many seconds to wait before the next try."""
        known, self.failure = self.failure, error
        self._failures += 1
        absent = isinstance(error, NotFoundError)
        if absent:
            self._tell(Served.NO)
            self.listed = False
        if absent and self._kind.optional:
            self._store.replace((), namespace=namespace, version=None)
        else:
            self._metrics.watch_restarts.labels(self._kind.name).inc()
        if type(known) is not type(error):
            if absent and self._kind.optional:
                logger.info("watch", action="api_absent", kind=self._kind.name)
            else:
                logger.warning("watch", action="watch_failed", kind=self._kind.name, why=str(error))
            self.synced.set()
            turned()
        return _ABSENT_POLL if absent else _backoff(self._failures)


class Watches:
    """Watches of several kinds over the same namespaces, each kind with one store."""

    def __init__(self, cluster: Cluster, metrics: OperatorMetrics, namespaces: Sequence[str | None]) -> None:
        self._cluster = cluster
        self._metrics = metrics
        self._namespaces = namespaces
        self._stores: dict[Kind, Store] = {}
        self._watches: dict[Kind, dict[str | None, Watch]] = {}
        self._starts: dict[str, Callable[[], Coroutine[Any, Any, None]]] = {}

    def add(self, kind: Kind, selector: Mapping[str, str], store: Store, turned: Turned) -> None:
        """Watch this kind into the store as well, from the time that `run` is called."""
        self._stores[kind] = store
        self._watches[kind] = {}
        for namespace in self._namespaces:
            watch = Watch(self._cluster, self._metrics, kind, store)
            self._watches[kind][namespace] = watch
            name = f"watch-{kind.plural}-{namespace or 'all'}"
            self._starts[name] = partial(watch.run, namespace, selector, turned)

    def store(self, kind: Kind) -> Store:
        """What is known of this kind."""
        return self._stores[kind]

    def failure(self, kind: Kind, namespace: str) -> ApiError | None:
        """Why this kind cannot be watched in this namespace; None where it works."""
        return self._watch(kind, namespace).failure

    def unlisted(self, kind: Kind, namespace: str) -> ApiError | None:
        """Why nothing is known of this kind in this namespace; None once it was listed."""
        watch = self._watch(kind, namespace)
        return None if watch.listed else watch.failure

    def unlisted_anywhere(self, *kinds: Kind) -> ApiError | None:
        """Why one of these kinds may be there and is not known; None once all were listed, or are not served."""
        watches = (watch for kind in kinds for watch in self._watches[kind].values() if not watch.listed)
        return next((watch.failure for watch in watches if watch.failure and watch.served is not Served.NO), None)

    def forbidden(self, *kinds: Kind) -> bool:
        """One of these may not be watched in one of the namespaces at least."""
        failures = (watch.failure for kind in kinds for watch in self._watches[kind].values())
        return any(isinstance(failure, ForbiddenError) for failure in failures)

    @property
    def namespaces(self) -> Sequence[str]:
        """Those that are watched; none: all."""
        return [namespace for namespace in self._namespaces if namespace is not None]

    def served(self, *kinds: Kind) -> Served:
        """Whether the API server has all of these kinds: one fact for all namespaces, by who was told of it last."""
        return Served.all(max(self._watches[kind].values(), key=lambda watch: watch.told).served for kind in kinds)

    def absent(self, kind: Kind) -> bool:
        """The API server doesn't have this kind."""
        return self.served(kind) is Served.NO

    def _watch(self, kind: Kind, namespace: str) -> Watch:
        watches = self._watches[kind]
        return watches[None if None in watches else namespace]

    async def synced(self) -> None:
        """Wait until each kind was listed once, or is known not to work."""
        for watch in (watch for watches in self._watches.values() for watch in watches.values()):
            await watch.synced.wait()

    async def run(self) -> None:
        """Watch until cancelled."""
        async with asyncio.TaskGroup() as group:
            for name, start in self._starts.items():
                group.create_task(start(), name=name)


def _backoff(failures: int) -> float:
    longest = min(0.5 * 2.0 ** min(failures, 16), _LONGEST_BACKOFF)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  spreads load, guards nothing
