"""One load, watched by Prometheus 2 and Prometheus 3 at once: every test here looks at what the two have stored.

The dispatchers have ended by then. What is asked is asked about the moment of the last scrape while all was as it is
known: values are exact then, since a counter that began at zero is extrapolated to nothing beyond its samples.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import DEFAULT_PREFIX
from notification_operator.spec.alert_rules import AlertName
from tests.controller.pipelines import eventually
from tests.debian import program
from tests.metrics import Scrape
from tests.observability.load import Products, Running, load, running
from tests.observability.servers import Prometheus, built, prometheus

SECONDS = 60.0
GONE = (AlertName.DISPATCHER_DOWN.value, "shop", "quiet")
FIRING = {GONE} | {(alert.value, "shop", "bookings") for alert in set(AlertName) - {AlertName.DISPATCHER_DOWN}}
"""All of the alerts there are: those of a pipeline in trouble, and the one of a pipeline that is gone."""


@dataclass(frozen=True)
class Watched:
    """What one Prometheus has seen of the load."""

    prometheus: Prometheus
    products: Products
    metrics: Scrape
    """The metrics of `bookings` in the end, as its dispatcher gives them."""
    start: float
    end: float


@pytest.fixture(scope="session")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Watched]]:
    """The load as both have seen it."""
    folder = tmp_path_factory.mktemp("observability")
    programs = {
        "Prometheus 2": program("prometheus", "prometheus"),
        "Prometheus 3": built("prometheus"),
    }
    with ExitStack() as stack:
        yield asyncio.run(_watch(programs, folder, stack))


@pytest.fixture(params=["Prometheus 2", "Prometheus 3"])
def watched(both: Mapping[str, Watched], request: pytest.FixtureRequest) -> Watched:
    """The load as one of them has seen it."""
    return both[request.param]


async def _watch(programs: Mapping[str, Path], folder: Path, stack: ExitStack) -> Mapping[str, Watched]:
    async with running(folder) as given:
        rules = [product.hastened_groups for product in given.products]
        watching = {
            name: stack.enter_context(prometheus(path, folder / name, given.scrapes, rules))
            for name, path in programs.items()
        }
        starts = {name: await asyncio.to_thread(_started, one) for name, one in watching.items()}
        metrics = await load(given)
        return {
            name: await asyncio.to_thread(_seen, one, given, metrics, starts[name]) for name, one in watching.items()
        }


def _started(one: Prometheus) -> float:
    """When it had scraped all of them, idle; until then it took them for gone."""
    eventually(lambda: len(one.instant("up == 1")) == 3 and not one.firing(), "all are scraped", SECONDS)
    return one.value("time()")


def _seen(one: Prometheus, given: Running, metrics: Scrape, start: float) -> Watched:
    """Wait until it has seen everything, and once more scraped it."""
    up = 'timestamp(up{pipeline="bookings"})'
    sent = DEFAULT_PREFIX + names.ALERTS_TOTAL + '{pipeline="bookings",outcome="sent"}'
    told = metrics.total(names.ALERTS_TOTAL, outcome="sent")
    eventually(lambda: one.value(f"sum({sent})") == told, "its last change is scraped", SECONDS)
    eventually(lambda: one.firing() == FIRING, "all alerts fire", SECONDS)
    seen = one.value(up)
    eventually(lambda: one.value(up) > seen, "it is scraped once more", SECONDS)
    return Watched(one, given.products, metrics, start, one.value(up))
