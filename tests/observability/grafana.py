"""Asks what a board asks, as Grafana does: fills its variables from Prometheus, and each query with them.

Time is short here: Prometheus scrapes every second, and the intervals that panels ask for are shortened too.
Sources: https://grafana.com/docs/grafana/latest/datasources/prometheus/template-variables/ and
https://grafana.com/docs/grafana/latest/dashboards/variables/variable-syntax/
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.observability.servers import Prometheus, Series

SCRAPE_SECONDS = 1
_SHORTENED = 5
_MOST_POINTS = 1000
_UNITS = {"s": 1, "m": 60}

Chosen = Mapping[str, Sequence[str]]
"""The selected values of each variable."""


@dataclass(frozen=True)
class Query:
    """One query, as Prometheus is asked."""

    name: str
    """Panel and reference."""
    expr: str
    legend: str
    instant: bool
    step: float

    def called(self, one: Series) -> str:
        """What one of its series is called on the panel."""
        return re.sub(r"{{(\w+)}}", lambda found: one.labels.get(found[1], ""), self.legend)


@dataclass(frozen=True)
class View:
    """A board, opened on a range of time."""

    board: Mapping[str, Any]
    prometheus: Prometheus
    start: float
    end: float

    def offered(self, chosen: Chosen | None = None) -> dict[str, list[str]]:
        """What each variable offers, in their order, where these values of the others are chosen; else all of them."""
        found: dict[str, list[str]] = {}
        for variable in self._variables:
            query = self._filled(variable["query"]["query"], chosen or {})
            asked = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
            assert asked is not None, query
            found[variable["name"]] = self.prometheus.label_values(asked[2], asked[1], self.start, self.end)
        return found

    def queries(self, chosen: Chosen | None = None, rate_interval: str = "") -> Iterator[Query]:
        """Every query of every panel, once for each value it is repeated for. A rate interval replaces Grafana's."""
        for panel in self._panels:
            for values in self._repetitions(panel, chosen or {}):
                for target in panel["targets"]:
                    yield self._query(panel, target, values, rate_interval)

    def annotations(self) -> Iterator[Query]:
        """The queries of the annotations."""
        for one in self.board["annotations"]["list"]:
            yield Query(one["name"], self._filled(one["expr"], {}), "", False, _seconds(one["step"]))

    def ask(self, query: Query) -> list[Series]:
        """The answer that a panel is drawn from."""
        if query.instant:
            return self.prometheus.instant(query.expr, self.end)
        steps = (self.end - self.start) // query.step
        return self.prometheus.range(query.expr, self.end - steps * query.step, self.end, query.step)

    def value(self, title: str, legend: str, chosen: Chosen | None = None, rate_interval: str = "") -> dict[str, float]:
        """What one line of a panel shows in the end, by what the series are called."""
        (query,) = [
            one
            for one in self.queries(chosen, rate_interval)
            if one.name.rpartition(" ")[0] == title and one.legend == legend
        ]
        answer = self.prometheus.instant(query.expr, self.end)
        return {query.called(one): one.values[0] for one in answer}

    @property
    def _variables(self) -> list[dict[str, Any]]:
        return [variable for variable in self.board["templating"]["list"] if variable["type"] == "query"]

    @property
    def _panels(self) -> list[dict[str, Any]]:
        panels = [inner for outer in self.board["panels"] for inner in (outer, *outer.get("panels", []))]
        return [panel for panel in panels if panel["type"] != "row"]

    def _repetitions(self, panel: Mapping[str, Any], chosen: Chosen) -> Iterator[Chosen]:
        repeated = panel.get("repeat")
        if repeated is None:
            yield chosen
            return
        for value in chosen.get(repeated) or self.offered(chosen)[repeated]:
            yield {**chosen, repeated: [value]}

    def _query(self, panel: Mapping[str, Any], target: Mapping[str, Any], chosen: Chosen, rate_interval: str) -> Query:
        points = panel.get("maxDataPoints", _MOST_POINTS)
        step = max(_seconds(panel.get("interval", "0s")), (self.end - self.start) / points, SCRAPE_SECONDS)
        rate = rate_interval or f"{math.ceil(max(step + SCRAPE_SECONDS, 4 * SCRAPE_SECONDS))}s"
        expr = self._filled(target["expr"].replace("$__rate_interval", rate), chosen)
        repeated = [] if "repeat" not in panel else chosen[panel["repeat"]]
        title = panel["title"].replace(f"${panel.get('repeat')}", "".join(repeated))
        return Query(f"{title} {target['refId']}", expr, target["legendFormat"], target["instant"], step)

    def _filled(self, text: str, chosen: Chosen) -> str:
        for variable in self._variables:
            values = chosen.get(variable["name"])
            text = text.replace(f'${variable["name"]}"', f'{_interpolated(values, variable["allValue"])}"')
        assert "$" not in text, text
        return text


def _interpolated(values: Sequence[str] | None, everything: str) -> str:
    """As Grafana's Prometheus source writes a variable that takes several values; All is written as it stands."""
    if values is None:
        return everything
    escaped = [re.sub(r"[$^*{}\[\]'+?.()|\\]", lambda found: "\\\\" + found[0], value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def _seconds(interval: str) -> float:
    return int(interval[:-1]) * _UNITS[interval[-1]] / _SHORTENED
