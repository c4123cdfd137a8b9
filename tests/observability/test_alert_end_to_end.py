"""One alert from a dispatcher's backlog to Slack, in each mode.

The Prometheus is real, so is the Alertmanager, with the sample's routes; the receivers note who was told. Everybody is
told once that it fires and once that it is over, by whom the mode says, and of a dispatcher that is gone by
Alertmanager in every mode.
"""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiohttp import web

from notification_dispatcher import metric_names as names
from notification_operator.spec.alerts import AlertMode
from tests.controller.pipelines import parsed
from tests.controller.test_alertmanager_routes import SAMPLE
from tests.dispatcher.dispatcher_process import DispatcherProcess
from tests.observability.load import MONITORING, Destinations
from tests.observability.product import Product
from tests.observability.servers import alertmanager, built, prometheus
from tests.serving import served

pytestmark = pytest.mark.prometheus

SECONDS = 60.0
MODES = {"slack": AlertMode.IN_PROCESS, "page": AlertMode.ALERTMANAGER, "each": AlertMode.BOTH}
"""Pipelines, by name."""
JOBS = 8
RULES = {
    "NotificationBacklogGrowth": {"for": "0s"},
    # Longer than a Prometheus that has just started takes to find its targets.
    "NotificationDispatcherDown": {"for": "15s"},
}

Told = Counter[tuple[str, str, str]]
"""Who was told, what, and of which pipeline: how often."""


class Inbox:
    """A server that notes what arrives: from the dispatchers, for the team and for the pager."""

    def __init__(self) -> None:
        self.told: Told = Counter()
        self._arrived = asyncio.Condition()
        self._server = ""

    def url(self, who: str) -> str:
        """Where to tell someone."""
        return f"{self._server}/{who}"

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Take what comes."""
        application = web.Application()
        application.add_routes([web.post("/{who}", self._take)])
        async with served(application) as self._server:
            yield

    async def until(self, told: Told) -> None:
        """Wait until this much has been told, or more."""
        try:
            async with asyncio.timeout(SECONDS), self._arrived:
                await self._arrived.wait_for(lambda: told <= self.told)
        except TimeoutError:
            raise AssertionError(f"not within {SECONDS:.0f} s: {told - self.told}; there is {self.told}") from None

    async def _take(self, request: web.Request) -> web.Response:
        who = request.match_info["who"]
        async with self._arrived:
            self.told.update((who, *one) for one in READERS[who](await request.json()))
            self._arrived.notify_all()
        return web.Response(text="ok")


def _of_the_dispatcher(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    title, _, whose = body["text"].partition(" \N{EN DASH} ")
    return [(title, _name(whose))]


def _of_slack(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    title: str = body["attachments"][0]["title"]
    return [(title.split(maxsplit=1)[0], _name(title))]


def _name(text: str) -> str:
    """The pipeline that is named in it."""
    return text.partition("shop/")[2].split()[0].rstrip(":")


def _of_the_pager(body: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(body["groupLabels"]["alertname"], alert["labels"]["pipeline"]) for alert in body["alerts"]]


READERS: Mapping[str, Callable[[Mapping[str, Any]], list[tuple[str, str]]]] = {
    "dispatcher": _of_the_dispatcher,
    "team": _of_slack,
    "pager": _of_the_pager,
}


def product(name: str, mode: AlertMode, destination: str, slack_url: str) -> Product:
    """A pipeline in this mode, whose one worker is soon busy."""
    slack = {"webhookSecretRef": {"name": "slack", "key": "url"}, "allowPrivateAddresses": True}
    pipeline = parsed(
        name,
        "shop",
        channels=[{"name": "crm", "webhook": {"url": destination, "allowPrivateAddresses": True}}],
        workers={"concurrency": 1, "timeout": "1h"},
        alerts={"mode": mode, "slack": slack, "backlogThreshold": 3, "latencyThreshold": "1h", "rules": RULES},
        monitoring=MONITORING,
    )
    return Product(pipeline, slack_url)


def sample(folder: Path, inbox: Inbox) -> dict[str, Any]:
    """The sample configuration of Alertmanager with these receivers, and without the time that it gathers alerts."""
    config: dict[str, Any] = yaml.safe_load(SAMPLE.read_text())
    config["route"] |= {"group_wait": "0s", "group_interval": "1s"}
    receivers = {receiver["name"]: receiver for receiver in config["receivers"]}
    receivers["pager"]["webhook_configs"][0]["url"] = inbox.url("pager")
    secret = folder / "slack-url"
    secret.write_text(inbox.url("team"))
    receivers["team"]["slack_configs"][0]["api_url_file"] = str(secret)
    return config


async def test_each_mode_tells_once_that_it_fires_and_once_that_it_is_over(tmp_path: Path) -> None:
    inbox, destinations = Inbox(), Destinations()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(inbox.listening())
        await stack.enter_async_context(destinations.listening())
        holds, slack = destinations.url("holds"), inbox.url("dispatcher")
        products = [product(name, mode, holds, slack) for name, mode in MODES.items()]
        dispatchers = [await _started(one, tmp_path, stack) for one in products]
        await asyncio.to_thread(_watch, products, dispatchers, inbox, tmp_path, stack)

        await asyncio.gather(*(_pile_up(one) for one in dispatchers))
        firing: Told = Counter(
            {
                ("dispatcher", "[FIRING] Backlog growth", "slack"): 1,
                ("dispatcher", "[FIRING] Backlog growth", "each"): 1,
                ("team", "[FIRING]", "page"): 1,
                ("team", "[FIRING]", "each"): 1,
            }
        )
        await inbox.until(firing)

        destinations.release()
        for one, process in zip(products, dispatchers, strict=True):
            await process.until(names.QUEUE_DEPTH, 0)
            one.configure(tmp_path / one.pipeline.name, NOTIFICATION_ALERT_COOLDOWN_MS=b"1000")
        over: Told = Counter({(who, what.replace("FIRING", "RESOLVED"), name): 1 for who, what, name in firing})
        await inbox.until(firing + over)

        for process in dispatchers:
            await process.end(signal.SIGKILL)
        gone: Told = Counter({("pager", "NotificationDispatcherDown", name): 1 for name in MODES})
        await inbox.until(gone)
        assert inbox.told == firing + over + gone


async def _started(one: Product, folder: Path, stack: AsyncExitStack) -> DispatcherProcess:
    process = one.dispatcher(folder / one.pipeline.name)
    await process.start()
    stack.push_async_callback(process.end, signal.SIGKILL)
    return process


def _watch(
    products: list[Product], dispatchers: list[DispatcherProcess], inbox: Inbox, folder: Path, stack: AsyncExitStack
) -> None:
    router = stack.enter_context(alertmanager(folder / "router", sample(folder, inbox)))
    scrapes = [
        one.scrape_config(process.url.removeprefix("http://"))
        for one, process in zip(products, dispatchers, strict=True)
    ]
    rules = [one.hastened_groups for one in products]
    stack.enter_context(prometheus(built("prometheus"), folder / "watch", scrapes, rules, router))


async def _pile_up(dispatcher: DispatcherProcess) -> None:
    answer = await dispatcher.post([{"type": "booking-created", "id": f"b-{n}", "payload": {}} for n in range(JOBS)])
    assert answer.json()["results"][-1]["status"] == "queued"
