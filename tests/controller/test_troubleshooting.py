"""What people read when a condition isn't True: every condition and every reason is in it, and nothing that isn't."""

from __future__ import annotations

import re
from pathlib import Path

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
