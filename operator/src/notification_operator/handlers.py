"""kopf's side: it watches the pipelines, and every event of theirs becomes a key. The only module that imports kopf.

`run` starts `watch_pipelines` beside the workers. Nothing is decided here: kopf's own handling of creation, update and
retry would write annotations and finalizers onto the pipelines, with the whole spec in them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import kopf

from notification_operator.credentials import Credentials
from notification_operator.spec import GROUP, PLURAL, VERSION
from notification_operator.workqueue import Key

_SERVER_SECONDS = 300
_SILENT_SECONDS = 90.0
_WATCHER = f"watcher for {PLURAL}.{VERSION}.{GROUP}@"
_BACKOFFS = (1, 1, 2, 3, 5, 8, 13, 21, 30)


class _Endless(Sequence[float]):
    """Back-offs that never run out. kopf gives a watch up when they do, and lives on without it."""

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, index: Any) -> Any:
        return _BACKOFFS[min(index, len(_BACKOFFS) - 1)]


class Watchers:
    """kopf's tasks that watch pipelines, found by their names: kopf goes on when one of them dies."""

    def __init__(self) -> None:
        self._known: set[asyncio.Task[Any]] = set()

    def died(self) -> bool:
        """Whether one ended by itself. kopf cancels those whose namespace or definition is gone."""
        found = {task for task in asyncio.all_tasks() if task.get_name().startswith(_WATCHER)}
        self._known = {task for task in self._known | found if not task.cancelled()}
        return any(task.done() for task in self._known)


async def watch_pipelines(
    credentials: Credentials,
    namespaces: Sequence[str],
    seen: Callable[[Key, Mapping[str, Any]], None],
    gone: Callable[[Key, Mapping[str, Any]], None],
    started: asyncio.Event,
) -> None:
    """Run kopf until cancelled: `seen` for each pipeline that is there or changes, `gone` for each that is deleted.

    Both are given the pipeline as it was then.
    `started` is set once kopf runs; it has taken SIGTERM and SIGINT over by then.
    """
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await _connection(credentials)

    @kopf.on.event(GROUP, VERSION, PLURAL, registry=registry)
    async def pipeline_event(type: str | None, body: kopf.Body, **_: Any) -> None:  # noqa: A002
        told = gone if type == "DELETED" else seen
        told(Key(body["metadata"]["namespace"], body["metadata"]["name"]), body)

    # Below INFO kopf logs whole objects.
    logging.getLogger("kopf").setLevel(logging.WARNING)
    await kopf.operator(
        registry=registry,
        settings=_settings(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        ready_flag=started,
    )


def _settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.networking.error_backoffs = _Endless()
    settings.networking.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.watching.server_timeout = _SERVER_SECONDS
    settings.watching.client_timeout = _SERVER_SECONDS + 30
    settings.watching.connect_timeout = 5
    settings.watching.inactivity_timeout = _SILENT_SECONDS
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
