"""The operator's own alerts, as the chart renders them: each fires when it should, and leads to a page that helps."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from notification_operator.metrics import OperatorMetrics
from tests.controller import promtool
from tests.controller.promql import selectors
from tests.controller.promtool import Groups, Story
from tests.deploy.helm import NAME, ROOT, Helm
from tests.deploy.values_file import values_schema

FOLDER = ROOT / "docs" / "runbooks" / "operator"
PAGES = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
SECTIONS = ["What it means", "What to look at", "What to do", "Silence"]
OWN = {("namespace", "=", NAME), ("job", "=", NAME)}
NOTICED = {"namespace": NAME}

each_page = pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)


@cache
def groups(runbook_url: str = "", disabled: Sequence[str] = (), *, scraped: bool = True) -> Groups:
    wanted = {"enabled": True, "runbookURL": runbook_url, "disabled": list(disabled)}
    objects = Helm().objects({"monitoring": {"prometheusRule": wanted, "serviceMonitor": {"enabled": scraped}}})
    found: Groups = next(one for one in objects if one["kind"] == "PrometheusRule")["spec"]["groups"]
    return found


def rules() -> list[dict[str, Any]]:
    return [rule for group in groups() for rule in group["rules"]]


def page_of(alert: str) -> str:
    return re.sub("(?<!^)([A-Z])", r"_\1", alert.removeprefix("NotificationOperator")).lower()


@cache
def published() -> set[str]:
    """Names of all series of an operator, whether or not anything was counted yet."""
    metrics = OperatorMetrics(CollectorRegistry())
    endings = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}
    return {f"{one.name}{ending}" for one in metrics.registry.collect() for ending in endings[one.type]}


def promql_is_about_what_exists(query: str) -> bool:
    found = selectors(query)
    return all(one.matchers >= OWN and one.metric in published() | {"up"} for one in found) and bool(found)


def test_prometheus_takes_them_and_they_are_about_what_the_operator_publishes(helm: Helm, tmp_path: Path) -> None:
    promtool.check(groups(), tmp_path)
    for rule in rules():
        assert promql_is_about_what_exists(rule["expr"]), rule["expr"]
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert rule["annotations"].keys() == {"summary", "description"}


def test_each_can_be_left_out_and_leads_to_its_page(helm: Helm) -> None:
    names = [rule["alert"] for rule in rules()]
    disabled = values_schema()["properties"]["monitoring"]["properties"]["prometheusRule"]["properties"]["disabled"]
    assert disabled["items"]["enum"] == names
    assert [path.stem for path in PAGES] == sorted(map(page_of, names))
    url = "https://runbooks.example.com/{alert}.md"
    linked = {rule["alert"]: rule["annotations"]["runbook_url"] for group in groups(url) for rule in group["rules"]}
    assert linked == {name: f"https://runbooks.example.com/{page_of(name)}.md" for name in names}
    left = [rule["alert"] for group in groups(disabled=(names[0], names[3])) for rule in group["rules"]]
    assert left == [name for name in names if name not in {names[0], names[3]}]


def test_where_nothing_scrapes_it_nothing_says_that_it_is_down(helm: Helm) -> None:
    names = [rule["alert"] for rule in rules()]
    left = [rule["alert"] for group in groups(scraped=False) for rule in group["rules"]]
    assert left == [name for name in names if name != "NotificationOperatorDown"]


@dataclass(frozen=True)
class Case:
    """What is scraped for an hour, every 15 seconds, and when the alert fires of it."""

    alert: str
    series: dict[str, str]
    quiet: str
    """Not yet, or not any more."""
    fires: str = ""
    """Not at all where it is empty."""
    labels: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.alert.removeprefix('NotificationOperator')}-{'fires' if self.fires else 'quiet'}"


def series(metric: str, pod: str = "a", **labels: str) -> str:
    name = metric if metric == "up" else f"notification_operator_{metric}"
    pairs = {"namespace": NAME, "job": NAME, "pod": pod, **labels}
    return name + "{" + ",".join(f'{key}="{value}"' for key, value in pairs.items()) + "}"


CASES = (
    Case("NotificationOperatorDown", {series("up"): "1x20 0x60", series("up", "b"): "1x20 0x60"}, "9m", "11m"),
    Case("NotificationOperatorDown", {}, "4m", "6m"),
    Case("NotificationOperatorDown", {series("up"): "0x240", series("up", "b"): "1x240"}, "50m"),
    Case("NotificationOperatorNotLeading", {series("leader"): "1x20 0x60", series("leader", "b"): "0x80"}, "6m", "8m"),
    Case("NotificationOperatorNotLeading", {series("leader"): "1x20 0x60", series("leader", "b"): "0x24 1x60"}, "10m"),
    Case(
        "NotificationOperatorReconcileErrors", {series("reconciles_total", result="error"): "0x40 1x200"}, "9m", "11m"
    ),
    Case("NotificationOperatorReconcileErrors", {series("reconciles_total", result="error"): "0x40 1x200"}, "27m"),
    Case(
        "NotificationOperatorRetrying",
        {
            series("reconciles_total", result="retry"): "0+6x240",
            series("reconciles_total", result="success"): "0+4x240",
        },
        "14m",
        "17m",
    ),
    Case(
        "NotificationOperatorRetrying",
        {
            series("reconciles_total", result="retry"): "0+4x240",
            series("reconciles_total", result="success"): "0+6x240",
        },
        "50m",
    ),
    Case("NotificationOperatorQueueStuck", {series("queue_oldest_age_seconds"): "0+15x240"}, "5m", "7m"),
    Case("NotificationOperatorQueueStuck", {series("queue_oldest_age_seconds"): "30x240"}, "50m"),
    Case(
        "NotificationOperatorWatchDeaths",
        {series("watch_restarts_total", kind="Secret"): "0+1x240"},
        "10m",
        "30m",
        (("kind", "Secret"),),
    ),
    Case("NotificationOperatorWatchDeaths", {series("watch_restarts_total", kind="Secret"): "0x40 8x200"}, "12m"),
    Case("NotificationOperatorWatchMissed", {series("watch_missed_total"): "0x40 2x200"}, "9m", "11m"),
    Case(
        "NotificationOperatorForbidden",
        {series("api_requests_total", verb="PATCH", code="403"): "0+1x240"},
        "10m",
        "20m",
        (("verb", "PATCH"),),
    ),
    Case("NotificationOperatorForbidden", {series("api_requests_total", verb="PATCH", code="200"): "0+1x240"}, "50m"),
)


def test_every_alert_has_its_case() -> None:
    assert {case.alert for case in CASES if case.fires} == {rule["alert"] for rule in rules()}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_fires_when_it_should_and_not_before(helm: Helm, case: Case, tmp_path: Path) -> None:
    story = Story(case.series).firing(case.quiet, case.alert)
    if case.fires:
        severity = next(rule for rule in rules() if rule["alert"] == case.alert)["labels"]["severity"]
        story.firing(case.fires, case.alert, {**NOTICED, "severity": severity, **dict(case.labels)})
    story.holds(only(case.alert), tmp_path)


def only(alert: str) -> Groups:
    return [{**group, "rules": [one for one in group["rules"] if one["alert"] == alert]} for group in groups()]


def blocks(text: str, language: str) -> Iterable[str]:
    return re.findall(rf"```{language}\n(.+?)```", text, re.DOTALL)


@each_page
def test_a_page_has_every_section_and_can_be_silenced(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == SECTIONS
    alert = text.partition("\n")[0].removeprefix("# ")
    assert page_of(alert) == path.stem
    assert f"amtool silence add alertname={alert} namespace={NAME} " in text
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (path.parent / target).is_file(), target


@each_page
def test_a_pages_queries_are_about_what_the_operator_publishes(path: Path) -> None:
    for query in blocks(path.read_text(), "promql"):
        assert promql_is_about_what_exists(query), query


@each_page
def test_a_page_looks_for_log_lines_that_the_operator_writes(path: Path) -> None:
    source = "".join(one.read_text() for one in (ROOT / "operator" / "src").rglob("*.py"))
    for action in re.findall(r'"action": [*]"([a-z_]+)"', path.read_text()):
        assert f'action="{action}"' in source, action


def test_the_list_of_pages_has_all() -> None:
    listed = re.findall(r"\]\(([a-z_]+)[.]md\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == [path.stem for path in PAGES]
