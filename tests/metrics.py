"""Reads a dispatcher's metrics as a scrape would: the demo and the tests compare them with what they know."""

from __future__ import annotations

from collections.abc import Mapping

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from notification_dispatcher.metric_names import DEFAULT_PREFIX, METRICS_PATH


class Scrape:
    """One scrape."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.families: Mapping[str, Metric] = {family.name: family for family in text_string_to_metric_families(text)}

    @classmethod
    async def of(cls, url: str) -> Scrape:
        """Scrape the dispatcher at this address."""
        async with httpx.AsyncClient(trust_env=False) as client:
            answer = await client.get(url + METRICS_PATH)
            answer.raise_for_status()
            return cls(answer.text)

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels; `name` without the prefix. KeyError: there are none."""
        full = DEFAULT_PREFIX + name
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == full and labels.items() <= sample.labels.items()
        ]
        if not found:
            raise KeyError(f"{full}{labels or ''}")
        return sum(found)
