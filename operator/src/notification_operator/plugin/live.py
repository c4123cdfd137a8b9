"""The live numbers of pipelines: scrapes their dispatchers, each through a forwarded port that stays open meanwhile.

`status` looks twice, and `top` again and again. What keeps a dispatcher from answering is kept beside the readings of
the others.
"""

from __future__ import annotations

import http.client
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Self
from urllib.parse import urlsplit

from notification_dispatcher.metric_names import METRICS_PATH
from notification_operator.plugin import readings
from notification_operator.plugin.errors import PluginError
from notification_operator.plugin.forward import Forward
from notification_operator.plugin.kubectl import Kubectl
from notification_operator.plugin.pipelines import Pipeline, Pod
from notification_operator.plugin.readings import Fleet, Reading

_AT_ONCE = 8
_SCRAPE_SECONDS = 10.0
MOST = 48
"""So many dispatchers are looked at: each costs a kubectl, of some 20 MB."""


class _Target(NamedTuple):
    """One dispatcher."""

    namespace: str
    pipeline: str
    pod: str
    port: int
    prefix: str


@dataclass(slots=True)
class _Seen:
    """A pipeline's dispatchers, by pod."""

    before: dict[str, Reading] = field(default_factory=dict)
    now: dict[str, Reading] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


class Live:
    """Scrapes dispatchers. Use as a context manager."""

    def __init__(self, kubectl: Kubectl) -> None:
        self._kubectl = kubectl
        self._forwards: dict[_Target, Forward] = {}
        self._seen: dict[tuple[str, str], _Seen] = {}
        self._pool = ThreadPoolExecutor(_AT_ONCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._pool.shutdown(cancel_futures=True)
        self._close(list(self._forwards))

    def look(self, fleets: Iterable[tuple[Pipeline, list[Pod]]]) -> None:
        """Scrape the ready pods of these pipelines; of those that are gone nothing is kept."""
        targets = [
            _Target(pipeline.namespace, pipeline.name, pod.name, pipeline.port, pipeline.metrics_prefix)
            for pipeline, pods in fleets
            for pod in pods
            if pod.ready
        ]
        self._close([known for known in self._forwards if known not in targets])
        seen: dict[tuple[str, str], _Seen] = {}
        looked = [*targets[:MOST]]
        for target, found in zip(looked, self._pool.map(self._scrape, looked), strict=True):
            key = target.namespace, target.pipeline
            one = seen.setdefault(key, _Seen(before=self._seen[key].now if key in self._seen else {}))
            if isinstance(found, Reading):
                one.now[target.pod] = found
            else:
                one.problems.append(found)
        for target in targets[MOST:]:
            one = seen.setdefault((target.namespace, target.pipeline), _Seen())
            one.problems.append(f"{target.pod}: {MOST} dispatchers are looked at, and this is one more: name pipelines")
        self._seen = seen

    def of(self, pipeline: Pipeline) -> Fleet | None:
        """What its dispatchers say; None where none has answered."""
        seen = self._seen.get((pipeline.namespace, pipeline.name))
        return readings.fleet(seen.before, seen.now) if seen is not None and seen.now else None

    def problems(self, pipeline: Pipeline) -> list[str]:
        """Why dispatchers have not answered."""
        seen = self._seen.get((pipeline.namespace, pipeline.name))
        return seen.problems if seen is not None else []

    def _scrape(self, target: _Target) -> Reading | str:
        """The reading, or what is in its way."""
        try:
            if target not in self._forwards:
                self._forwards[target] = Forward(self._kubectl, target.namespace, target.pod, target.port)
        except PluginError as error:
            return error.message
        try:
            return readings.read(_get(self._forwards[target].url + METRICS_PATH), target.prefix, time.monotonic())
        except (OSError, http.client.HTTPException, ValueError) as error:
            # The next look takes a new way. What kubectl complained of is the cause.
            cause = self._forwards.pop(target).close() or str(error) or type(error).__name__
            return f"{target.pod} does not tell its metrics: {cause}"

    def _close(self, targets: Iterable[_Target]) -> None:
        for target in targets:
            self._forwards.pop(target).close()


def _get(url: str) -> str:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=_SCRAPE_SECONDS)
    try:
        connection.request("GET", parts.path)
        answer = connection.getresponse()
        content = answer.read().decode(errors="replace")
    finally:
        connection.close()
    if answer.status != http.client.OK:
        raise ValueError(f"it answered {answer.status}")
    return content
