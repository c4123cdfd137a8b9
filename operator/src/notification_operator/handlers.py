"""kopf's side: it watches the pipelines, and every event of theirs becomes a key. The only module that imports kopf.

`run` starts `watch_pipelines` beside the workers, for as long as `discovery` finds the API. Nothing is decided here:
kopf's own handling of creation, update and retry would write annotations and finalizers onto the pipelines, with the
whole spec in them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import kopf

from notification_operator.credentials import Credentials
from notification_operator.errors import OperatorError
from notification_operator.group import GROUP, PLURAL, VERSION
from notification_operator.naming import OPERATOR
from notification_operator.workqueue import Key

_SERVER_SECONDS = 300
_SILENT_SECONDS = 90.0
_WATCHER = f"watcher for {PLURAL}.{VERSION}.{GROUP}@"
_BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 21, 30)
_PAGE = 50  # pipelines: with their statuses half a megabyte, and decoded many times that
_KEPT_SECONDS = 0.1  # kopf's workers hold on to the last event of each pipeline for so long; zero would spin


class Seen(Protocol):
    """Takes a pipeline that is there, as it is."""

    def __call__(self, key: Key, pipeline: Mapping[str, Any], /, *, listed: bool) -> None:
        """`listed`: it is told of because it is there, not because it changed."""


Gone = Callable[[Key, Mapping[str, Any]], None]
"""Takes a pipeline that is deleted, as it was."""


class _Endless(Sequence[float]):
    """Back-offs that never run out. kopf gives a watch up when they do, and lives on without it."""

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: Any) -> Any:
        return _BACKOFFS[min(index, len(_BACKOFFS) - 1)]


class _NoDifferences(kopf.StatusDiffBaseStorage):
    """Of what changed between two events kopf tells handlers of changes, of which there are none here.

    To work it out for each event takes a tenth of the processor time of a start with many pipelines.
    """

    def build(self, **_: Any) -> Any:
        return {}

    def fetch(self, **_: Any) -> Any:
        return None


class Watchers:
    """The tasks of one kopf that watch pipelines, found by their names: kopf goes on when one of them dies."""

    def __init__(self) -> None:
        self._known: set[asyncio.Task[Any]] = set()

    def died(self) -> bool:
        """Whether one ended by itself."""
        return any(task.done() for task in self._look())

    def work(self) -> bool:
        """Whether there are any, and none has ended."""
        return bool(self._look()) and not self.died()

    def _look(self) -> set[asyncio.Task[Any]]:
        found = {task for task in asyncio.all_tasks() if task.get_name().startswith(_WATCHER)}
        self._known = {task for task in self._known | found if not task.cancelled()}
        return self._known


async def watch_pipelines(
    credentials: Credentials,
    namespaces: Sequence[str],
    seen: Seen,
    gone: Gone,
    spawned: Callable[[], None],
) -> None:
    """Run kopf until cancelled: `seen` for each pipeline that is listed or changes, `gone` for each that is deleted.

    Raises OperatorError when kopf ends, which it does when one of its watches is told anything that it doesn't expect.
    Both are given the pipeline as it was then. `spawned` is called when kopf has just taken SIGTERM and SIGINT over.
    """
    # Below INFO kopf logs whole objects.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # How it ends is told in one line by whoever called, not once more by each of its tasks with a traceback.
    for part in ("orchestration", "running"):
        logging.getLogger(f"kopf._core.reactor.{part}").setLevel(logging.CRITICAL)
    # Not kopf.operator: when it ends it cancels every task of this process that was made after it.
    tasks = await kopf.spawn_tasks(
        registry=_registry(credentials, seen, gone),
        settings=_settings(),
        # Else it asks for the name of this user, and that of an image has none. It is for peering, which is off.
        identity=OPERATOR,  # type: ignore[arg-type]
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
    )
    spawned()
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        why = [f"{task.get_name()}: {task.exception() or 'it ended'}" for task in done if not task.cancelled()]
        raise OperatorError(f"kopf ended by itself: {'; '.join(why)}")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _registry(
    credentials: Credentials,
    seen: Seen,
    gone: Gone,
) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await _connection(credentials)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def pipeline_event(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002
        key = Key(body["metadata"]["namespace"], body["metadata"]["name"])
        if type == "DELETED":
            gone(key, body)
        else:
            seen(key, body, listed=type is None)

    return registry


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    # It would list and watch all namespaces and all definitions; `discovery` knows when there is something to watch.
    settings.scanning.disabled = True
    settings.persistence.diffbase_storage = _NoDifferences()
    settings.persistence.progress_storage = kopf.StatusProgressStorage()
    # It would kill this process ten minutes after it was stopped.
    settings.process.ultimate_exiting_timeout = None
    settings.networking.error_backoffs = _Endless()
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.client_timeout = _SERVER_SECONDS + 30
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = _SILENT_SECONDS
    settings.watching.chunk_size = _PAGE
    settings.queueing.idle_timeout = _KEPT_SECONDS
    return settings


async def _connection(credentials: Credentials) -> kopf.ConnectionInfo:
    certificate = credentials.certificate or (None, None)
    user, password = credentials.basic_auth or (None, None)
    return kopf.ConnectionInfo(
        server=credentials.server,
        ca_path=credentials.ca_path,
        insecure=credentials.insecure,
        username=user,
        password=password,
        token=await credentials.token(),
        certificate_path=certificate[0],
        private_key_path=certificate[1],
    )
