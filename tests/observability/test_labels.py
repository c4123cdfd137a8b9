"""Every label that a query of a board or a rule names is there, and so is every value: else it selects nothing.

What is there is read off a dispatcher's own metrics and the labels of its target.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
from promql_parser import AggModifierType, AggregateExpr, BinaryExpr, Call, ParenExpr

from notification_dispatcher import metric_names as names
from notification_dispatcher.metric_names import DEFAULT_PREFIX
from notification_operator.dashboards import fleet_board
from tests.controller.pipelines import parsed
from tests.controller.promql import selectors
from tests.controller.promtool import promtool
from tests.controller.test_dashboards import charts
from tests.dispatcher.rig import rigged
from tests.metrics import Scrape
from tests.observability.product import Product

TARGET = {"namespace", "pipeline", "job", "instance", "pod", "container", "endpoint", "service"}
"""Labels of a target of a ServiceMonitor, as `test_queries` sees them on a real Prometheus."""
OWN = {"up": TARGET, "ALERTS": {"alertname", "alertstate", "severity", "namespace", "pipeline", "job_type"}}
"""Labels of what Prometheus itself makes."""
CHOSEN = {"namespace", "pipeline", "job", "instance", "job_type", "channel", "le"}
"""Labels whose values are the user's."""

Values = Mapping[str, Mapping[str, set[str]]]
"""Metric → label → its values."""


@pytest.fixture(scope="module")
def scrape(tmp_path_factory: pytest.TempPathFactory) -> Scrape:
    """A dispatcher's metrics, from its start."""

    async def read() -> Scrape:
        async with rigged(tmp_path_factory.mktemp("rig")) as rig:
            return rig.scrape()

    return asyncio.run(read())


@pytest.fixture(scope="module")
def published(scrape: Scrape) -> Values:
    """What it publishes."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in scrape.families.values():
        for sample in family.samples:
            for label, value in sample.labels.items():
                found[sample.name][label].add(value)
            found.setdefault(sample.name, defaultdict(set))
    return found


def queries() -> list[str]:
    """Every query of both boards and every rule."""
    product = Product(parsed(), "")
    panels = [panel for board in (fleet_board(), product.board) for panel in charts(board)]
    asked = [target["expr"] for panel in panels for target in panel["targets"]]
    return [
        query.replace("$__rate_interval", "5m")
        for query in (*asked, *(rule["expr"] for group in product.groups for rule in group["rules"]))
    ]


def recorded() -> dict[str, set[str]]:
    """Labels of the recordings: what the outermost aggregation leaves, or else what recordings that they read have."""
    rules = [rule for group in Product(parsed(), "").groups for rule in group["rules"] if "record" in rule]
    left = {rule["record"]: [labels for labels, _ in grouped(promql_parser.parse(rule["expr"]))] for rule in rules}
    return {name: labels[0] - {"le"} if labels else {"namespace", "pipeline"} for name, labels in left.items()}


def labels_of(metric: str, published: Values) -> set[str]:
    known = {**OWN, **recorded()}
    return known[metric] if metric in known else published[metric].keys() | TARGET


@pytest.mark.parametrize("query", queries())
def test_each_label_that_selects_is_there(query: str, published: Values) -> None:
    for selected in selectors(query):
        for label, _, _ in selected.matchers:
            assert label in labels_of(selected.metric, published), f"{label} of {selected.metric}"


@pytest.mark.parametrize("query", queries())
def test_each_value_that_selects_is_there(query: str, published: Values) -> None:
    for selected in selectors(query):
        for label, operator, value in selected.matchers:
            if selected.metric in OWN or selected.metric in recorded() or label in CHOSEN:
                continue
            wanted = set(value.split("|")) if operator == "=~" else {value}
            assert wanted <= published[selected.metric][label], f"{selected.metric}: {label}{operator}{value}"


@pytest.mark.parametrize("query", queries())
def test_each_label_that_is_added_up_by_is_there(query: str, published: Values) -> None:
    for labels, inner in grouped(promql_parser.parse(query)):
        for selected in selectors(inner.prettify()):
            assert labels <= labels_of(selected.metric, published), f"{labels} of {selected.metric}"


def grouped(node: Any) -> Iterator[tuple[set[str], Any]]:
    """Each aggregation: by which labels, and of what."""
    match node:
        case AggregateExpr():
            if node.modifier is not None:
                assert node.modifier.type == AggModifierType.By
                yield set(node.modifier.labels), node.expr
            yield from grouped(node.expr)
        case BinaryExpr():
            yield from grouped(node.lhs)
            yield from grouped(node.rhs)
        case Call():
            for argument in node.args:
                yield from grouped(argument)
        case ParenExpr():
            yield from grouped(node.expr)


def test_promtool_has_nothing_against_the_metrics_but_two_names(scrape: Scrape, tmp_path: Path) -> None:
    answer = promtool("check", "metrics", cwd=tmp_path, given=scrape.text)
    # The guide's own names, which are a contract with its readers.
    guide = (names.JOB_DURATION_MS, names.JOB_WAIT_DURATION_MS)
    said = [f"{DEFAULT_PREFIX}{name} metric names should not contain abbreviated units" for name in guide]
    assert (answer.stdout + answer.stderr).splitlines() == said


def test_each_metric_is_on_a_board(published: Values) -> None:
    """What is published and never shown is found by nobody at three in the morning."""
    shown = {selected.metric for query in queries() for selected in selectors(query)}
    ours = {metric for metric in published if metric.startswith(f"{DEFAULT_PREFIX}notification_")}
    unseen = {metric for metric in ours if not shown & {metric, re.sub("_(count|sum|bucket)$", "_bucket", metric)}}
    assert unseen == set()
