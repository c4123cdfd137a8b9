"""The Secrets that pipelines refer to: each watched by its own name, so that no list of all Secrets is ever needed.

`reconcile` reads them here, and is called again when one changes. A watch lives for as long as a pipeline needs it.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from notification_operator.cluster import Cluster
from notification_operator.errors import ForbiddenError
from notification_operator.kinds import SECRET
from notification_operator.metrics import OperatorMetrics
from notification_operator.store import Store
from notification_operator.watching import Watch
from notification_operator.workqueue import Key, RetryLater

_FIRST_LIST_SECONDS = 10.0

SecretName = tuple[str, str]
"""Namespace and name."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A Secret as it was last seen."""

    values: Mapping[str, bytes] | None = field(repr=False)
    """By key; None: it isn't there."""
    stale: bool = False
    """It may no longer be read: whether it changed since, nobody can tell."""


@dataclass(slots=True)
class _Watched:
    watch: Watch
    store: Store
    task: asyncio.Task[None]
    readers: set[Key] = field(default_factory=set)


class SourceSecrets:
    """Watches of single Secrets, by need."""

    def __init__(
        self, group: asyncio.TaskGroup, cluster: Cluster, metrics: OperatorMetrics, changed: Callable[[Key], None]
    ) -> None:
        """The watches run in `group`: one that ends by itself would leave a value that is never seen to change."""
        self._group = group
        self._cluster = cluster
        self._metrics = metrics
        self._changed = changed
        self._watched: dict[SecretName, _Watched] = {}
        self._needed: dict[Key, frozenset[str]] = {}
        """By reader, so that what one of them needs no more is found without a look at all others'."""

    def need(self, reader: Key, names: set[str]) -> None:
        """Say which Secrets of its namespace a pipeline reads from now on: all others are let go."""
        before = self._needed.pop(reader, frozenset())
        if names:
            self._needed[reader] = frozenset(names)
        for name in names - before:
            self._watch((reader.namespace, name)).readers.add(reader)
        for name in before - names:
            self._let_go(reader, (reader.namespace, name))

    async def read(self, namespace: str, name: str) -> Reading:
        """The Secret; what it last held while it cannot be read.

        Of one that was never seen: raises ForbiddenError when it may not be read, RetryLater when the API server
        doesn't answer.
        """
        watched = self._watched[namespace, name]
        try:
            # Not wait_for: before Python 3.12 it loses a cancellation that comes at a bad time.
            async with asyncio.timeout(_FIRST_LIST_SECONDS):
                await watched.watch.synced.wait()
        except TimeoutError:
            raise RetryLater(f"the Secret {name} could not be read yet") from None
        failure, stored = watched.watch.failure, watched.store.get(namespace, name)
        forbidden = isinstance(failure, ForbiddenError)
        if stored is not None:
            return Reading(values_of(stored.decoded()), stale=forbidden)
        if failure is None:
            return Reading(None)
        raise failure if forbidden else RetryLater(f"the Secret {name} could not be read yet")

    def _let_go(self, reader: Key, secret: SecretName) -> None:
        watched = self._watched[secret]
        watched.readers.discard(reader)
        if not watched.readers:
            watched.task.cancel()
            del self._watched[secret]

    def _watch(self, secret: SecretName) -> _Watched:
        if secret not in self._watched:
            namespace, name = secret

            def changed(*_: object) -> None:
                for reader in watched.readers:
                    self._changed(reader)

            store = Store(changed)
            watch = Watch(self._cluster, self._metrics, SECRET, store)
            selector = {"fieldSelector": f"metadata.name={name}"}
            running = watch.run(namespace, selector, changed)
            task = self._group.create_task(running, name=f"watch-secret-{namespace}/{name}")
            watched = self._watched[secret] = _Watched(watch, store, task)
        return self._watched[secret]


def values_of(secret: Mapping[str, Any]) -> dict[str, bytes]:
    """What a Secret holds, by key."""
    return {key: b64decode(value) for key, value in (secret.get("data") or {}).items()}
