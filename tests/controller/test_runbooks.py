"""The runbooks: one for each alert, and what they tell people to look at exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from notification_dispatcher.metric_names import DEFAULT_PREFIX, Alert, FailureReason
from notification_operator.alerting_rules import rule_groups
from notification_operator.dashboards import pipeline_board
from notification_operator.spec.alert_rules import AlertName
from tests.controller.promql import is_published, selectors
from tests.controller.test_alerting_rules import INPUT
from tests.controller.test_dashboards import INPUT as BOARD
from tests.controller.test_dashboards import all_panels

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "runbooks"
RUNBOOKS = sorted(path for path in FOLDER.glob("*.md") if path.name != "README.md")
SECTIONS = ["What it means", "What to look at", "What to do", "Silence"]
RECORDED = {rule["record"] for group in rule_groups(INPUT) for rule in group["rules"] if "record" in rule}
PANELS = {panel["title"] for panel in all_panels(pipeline_board(BOARD))}

each_runbook = pytest.mark.parametrize("path", RUNBOOKS, ids=lambda path: path.stem)


def section(text: str, name: str) -> str:
    return text.split(f"## {name}\n", 1)[1].split("\n## ", 1)[0]


def test_every_link_of_an_alert_leads_to_one_and_the_list_has_all() -> None:
    linked = {name.short for name in AlertName} | {alert.value for alert in Alert}
    assert {path.stem for path in RUNBOOKS} == linked
    listed = re.findall(r"\]\(([a-z_]+)[.]md\)", (FOLDER / "README.md").read_text())
    assert sorted(listed) == sorted(linked)


@pytest.mark.parametrize("name", AlertName)
def test_it_is_about_its_alert_and_can_be_silenced(name: AlertName) -> None:
    text = (FOLDER / f"{name.short}.md").read_text()
    assert text.startswith(f"# {name}\n")
    assert f"amtool silence add alertname={name} namespace=plannivo pipeline=booking " in section(text, "Silence")


@each_runbook
def test_it_has_every_section(path: Path) -> None:
    assert re.findall(r"^## (.+)$", path.read_text(), re.MULTILINE) == SECTIONS


@each_runbook
def test_its_queries_are_valid_and_about_what_exists(path: Path) -> None:
    found = re.findall(r"```promql\n(.+?)```", path.read_text(), re.DOTALL)
    assert found
    for query in found:
        for selected in selectors(query):
            assert {("namespace", "=", "plannivo"), ("pipeline", "=", "booking")} <= selected.matchers
            known = selected.metric == "up" or selected.metric in RECORDED
            assert known or is_published(selected, DEFAULT_PREFIX), selected.metric


@each_runbook
def test_its_panels_are_on_the_board(path: Path) -> None:
    named = re.findall(r"(?<![*\w])[*]([^*\n]+)[*](?![*\w])", section(path.read_text(), "What to look at"))
    assert named
    assert set(named) <= PANELS


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.md")), ids=lambda path: path.stem)
def test_its_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", path.read_text()):
        assert (path.parent / target).resolve().is_file(), target


def test_every_reason_of_a_failure_has_its_advice() -> None:
    advised = set(re.findall(r"`([a-z0-9_]+)`", section((FOLDER / "failure_spike.md").read_text(), "What to do")))
    assert {reason.value for reason in FailureReason} - {"unknown"} <= advised
