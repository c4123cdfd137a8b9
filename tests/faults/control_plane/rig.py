"""One operator under test: its namespace, its proxy, its process, a person's hand, and what is seen of it all.

The sweep makes one for each plan; the tests of watches and outages make theirs.
"""

from __future__ import annotations

import asyncio
import uuid
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from notification_dispatcher.variables import Variable
from notification_operator.kinds import NAMESPACE, PIPELINE, SECRET, Kind
from notification_operator.resources.base import Context
from notification_operator.settings import DEFAULT_IMAGE
from tests.controller.pipelines import manifest
from tests.faults.control_plane.forks import ForkedOperator
from tests.faults.control_plane.observer import Observer, View
from tests.faults.control_plane.proxy import ApiProxy, Upstream
from tests.faults.control_plane.states import Wanted
from tests.pod import free_port

NAME = "booking"
URL = "https://hooks.slack.example/services/first"
SECONDS = 60.0
FOLLOW_SECONDS = 40.0
"""Within this time of the end of an outage it must work again: a watch's longest back-off is thirty seconds."""

_POLL = 0.05


@dataclass(eq=False)
class Bench:
    """What all rigs share."""

    upstream: Upstream
    observer: Observer
    folder: Path
    left: list[Hand] = field(default_factory=list)
    """Those whose namespaces are still there."""
    _numbers: list[int] = field(default_factory=list)

    def place(self, name: str) -> Path:
        """A folder for a rig's files."""
        self._numbers.append(len(self._numbers))
        folder = self.folder / f"{self._numbers[-1]:03}-{name}"
        folder.mkdir()
        return folder


class Hand:
    """A person with kubectl, in one namespace."""

    def __init__(self, observer: Observer, namespace: str) -> None:
        self._observer = observer
        self._call = observer.call
        self._namespace = namespace
        self.there = False
        """Whether the namespace is there, and not being deleted."""
        self.version = 0
        """The resourceVersion of the pipeline's last change by this hand."""

    async def prepare(self, url: str = URL) -> None:
        """Make the namespace, and the Secret that the pipeline refers to."""
        await self._call("POST", NAMESPACE.path(), {"metadata": {"name": self._namespace}})
        self.there = True
        secret = {"metadata": {"name": "slack"}, "data": {"url": b64encode(url.encode()).decode()}}
        await self._call("POST", SECRET.path(self._namespace), secret)

    async def create(self, name: str = NAME, **spec: Any) -> None:
        """Apply a pipeline, the smallest one where nothing else is said."""
        self._changed(await self._call("POST", PIPELINE.path(self._namespace), manifest(name, **spec)))

    async def change(self, spec: Mapping[str, Any]) -> None:
        """Change its spec."""
        self._changed(await self._call("PATCH", PIPELINE.path(self._namespace, NAME), {"spec": spec}))

    def _changed(self, stored: Mapping[str, Any]) -> None:
        self.version = int(stored["metadata"]["resourceVersion"])

    async def rotate(self, url: str) -> None:
        """Put another URL into the Secret."""
        data = {"url": b64encode(url.encode()).decode()}
        await self._call("PATCH", SECRET.path(self._namespace, "slack"), {"data": data})

    async def delete(self, kind: Kind = PIPELINE, name: str = NAME) -> None:
        """Delete the pipeline, or a child of it."""
        await self._call("DELETE", kind.path(self._namespace, name))

    async def found(self, path: str) -> bool:
        """Whether there is such an object."""
        return await self._observer.exists(path)

    async def recreate(self) -> None:
        """Delete the pipeline, and make it again while its children are still going."""
        await self.delete()
        await self.create()

    async def clear(self) -> None:
        """Delete every pipeline."""
        await self._call("DELETE", PIPELINE.path(self._namespace))

    async def leave(self) -> None:
        """Delete the namespace, without waiting for it."""
        self.there = False
        await self._call("DELETE", NAMESPACE.path(None, self._namespace))


def wanted(url: str = URL) -> Wanted:
    """What the pipeline comes to when its Secret holds this URL."""
    alerts = {Variable.SLACK_ALERT_WEBHOOK_URL.value: url.encode()}
    return Wanted(NAME, Context(DEFAULT_IMAGE, slack_alerts=alerts))


@dataclass(eq=False)
class Rig:
    """One operator and all around it."""

    namespace: str
    hand: Hand
    view: View
    proxy: ApiProxy
    operator: ForkedOperator
    port: int

    async def brought(self, url: str = URL) -> None:
        """Start from nothing, and wait until the pipeline and its children are as they should be."""
        await self.hand.prepare()
        self.operator.start()
        await self.hand.create()
        await self.right(url)

    async def right(self, url: str = URL) -> None:
        """Wait until the pipeline is what its spec says."""
        await self.until(lambda: self.is_right(url), "the pipeline and its children are as they should be")

    def is_right(self, url: str = URL) -> bool:
        """Whether what the hand changed last was seen, and all is as it should be."""
        seen = int(self.view.pipeline(NAME).get("metadata", {}).get("resourceVersion", 0))
        return seen >= self.hand.version and wanted(url).reached(self.view)

    async def until(self, look: Callable[[], object], expectation: str, seconds: float = SECONDS) -> None:
        """Wait for events until it is so."""
        assert await self.view.until(look, seconds), f"not within {seconds:.0f} s: {expectation}: {self.operator.log}"

    async def reconciled(self) -> None:
        """Wait until the operator, however often it was started, has brought a reconciliation to its end."""
        name = "notification_operator_reconciles"
        await self.metric_until(name, lambda value: value > 0, result="success")

    async def metric_until(self, name: str, right: Callable[[float], bool], **labels: str) -> float:
        """Wait until a metric of the operator's is right; returns it."""
        async with asyncio.timeout(SECONDS):
            while not right(value := await self.metric(name, **labels)):  # noqa: ASYNC110  another process
                await asyncio.sleep(_POLL)
        return value

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples with these labels; 0 while the operator doesn't answer."""
        found = await self._get("/metrics")
        families = text_string_to_metric_families(found[1]) if found else ()
        return sum(
            sample.value
            for family in families
            if family.name == name
            for sample in family.samples
            if labels.items() <= sample.labels.items() and not sample.name.endswith("_created")
        )

    async def healthy(self) -> bool:
        """Whether it lives and its liveness probe succeeds."""
        found = await self._get("/healthz")
        return found is not None and found[0] == HTTPStatus.OK

    async def sick(self) -> str:
        """Wait until the liveness probe fails, or the process has ended; returns what it says."""
        async with asyncio.timeout(SECONDS):
            while (found := await self._get("/healthz")) is not None and found[0] == HTTPStatus.OK:  # noqa: ASYNC110
                await asyncio.sleep(_POLL)
        return "" if found is None else found[1]

    async def works_or_restarts(self) -> str:
        """Have a change followed; else its liveness must fail, and a kubelet's restart heals. Returns which it was."""
        await self.hand.change({"alerts": {"failureThreshold": 77}})
        with suppress(TimeoutError):
            async with asyncio.timeout(FOLLOW_SECONDS):
                while await self.healthy():
                    if await self.view.until(self.is_right, 1):
                        return "works"
        assert not await self.healthy(), f"it neither works nor says so: {self.operator.log}"
        await self.operator.crash()
        await self.right()
        return "restarted"

    async def _get(self, path: str) -> tuple[int, str] | None:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as session:
            try:
                async with session.get(path) as answer:
                    return answer.status, await answer.text()
            except aiohttp.ClientConnectionError:
                return None


@asynccontextmanager
async def rig(bench: Bench, name: str, options: Sequence[str] = ()) -> AsyncIterator[Rig]:
    """A rig for the time of the block. Nothing is started or made yet."""
    namespace = f"faults-{uuid.uuid4().hex[:12]}"
    hand, view = Hand(bench.observer, namespace), bench.observer.view(namespace)
    async with ApiProxy(bench.upstream) as proxy:
        folder, port = bench.place(name), free_port()
        arguments = ("--kubeconfig", str(proxy.kubeconfig(folder / "kubeconfig")), "--namespace", namespace)
        server = ("--metrics-host", "127.0.0.1", "--metrics-port", str(port), "--log-format", "json")
        operator = ForkedOperator((*arguments, *server, *options), folder / "operator.log")
        try:
            yield Rig(namespace, hand, view, proxy, operator, port)
        finally:
            await operator.stop()
            if hand.there:
                # The namespace waits for the end: to delete one costs the API server as much as a whole plan.
                await hand.clear()
                bench.left.append(hand)
