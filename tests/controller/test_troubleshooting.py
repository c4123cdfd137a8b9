"""What people read when a condition isn't True: every condition and every reason is in it, and nothing that isn't."""

from __future__ import annotations

import re
from pathlib import Path

from notification_operator.advice import SECTIONS, advice, with_tables
from notification_operator.status import ConditionType, Reason

TEXT = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()


def test_every_condition_has_its_section() -> None:
    titles = {part for title in re.findall(r"^## (.+)$", TEXT, re.MULTILINE) for part in title.split(", ")}
    assert set(ConditionType) - {ConditionType.READY} <= titles
    assert TEXT.index("`Ready` sums") < TEXT.index("## ResourcesApplied")


def test_every_reason_is_explained_and_no_other() -> None:
    rows = re.findall(r"^\| (`[^|]+) \|", TEXT, re.MULTILINE)
    explained = {reason for row in rows for reason in re.findall(r"`(\w+)`", row)}
    assert explained | {"Ready"} == set(Reason)


def test_every_link_leads_somewhere() -> None:
    anchors = {
        title.lower().replace(" ", "-").replace(",", "") for title in re.findall(r"^## (.+)$", TEXT, re.MULTILINE)
    }
    assert set(re.findall(r"\]\(#([^)]+)\)", TEXT)) <= anchors
    for path in re.findall(r"\]\(([\w./-]+[.]md)\)", TEXT):
        assert (Path(__file__).parents[2] / "docs" / path).exists(), path


def test_the_tables_are_those_of_the_advice() -> None:
    assert with_tables(TEXT) == TEXT, "run 'make generate'"


def test_every_reason_that_is_wrong_comes_with_advice() -> None:
    silent = {
        (condition, reason)
        for title, rows in SECTIONS.items()
        for condition in set(title.split(", ")) & set(ConditionType)
        for row in rows
        for reason in row.reasons
        if not advice(ConditionType(condition), reason, "plannivo", "booking")
    }
    well = {Reason.APPLIED, Reason.AVAILABLE, Reason.CONFIGURED, Reason.SELECTED}
    assert {reason for _, reason in silent} == {*well, Reason.DISABLED}


def test_advice_is_plain_and_of_the_pipeline() -> None:
    paused = advice(ConditionType.RESOURCES_APPLIED, Reason.PAUSED, "school", "lessons")
    assert paused == """kubectl -n school patch npl lessons --type merge -p '{"spec":{"paused":false}}'"""
    assert advice(ConditionType.ALERTING_CONFIGURED, Reason.SECRET_FORBIDDEN, "school", "lessons").endswith(
        "rbac.listSecrets in the chart."
    )
