"""The reference that people read: it is the definition's, has every field, and its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from notification_operator import crd, reference

COMMITTED = Path(__file__).parents[2] / "docs" / "reference" / "notificationpipeline.md"
SECTIONS = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", COMMITTED.read_text(), re.MULTILINE | re.DOTALL))


def fields(path: str, schema: crd.Schema) -> Iterator[tuple[str, str]]:
    """Each field: the object that it stands in, and its name."""
    for name, field in schema.get("properties", {}).items():
        yield path, name
        yield from fields(f"{path}.{name}", field)
        yield from fields(f"{path}.{name}[]", field.get("items", {}))


def test_the_committed_file_is_what_the_definition_generates() -> None:
    assert COMMITTED.read_text() == reference.markdown(), "run `make generate`"


def test_every_field_has_its_line() -> None:
    found = list(fields("spec", crd.spec_schema()))
    assert len(found) > 200
    assert [(path, name) for path, name in found if f"\n| `{name}` | " not in SECTIONS[path]] == []


def test_every_link_leads_to_a_section() -> None:
    anchors = {re.sub(r"[^a-z0-9]", "", title.lower()) for title in SECTIONS}
    linked = set(re.findall(r"\]\(#([^)]*)\)", COMMITTED.read_text()))
    assert linked
    assert linked <= anchors


def test_no_cell_breaks_its_table() -> None:
    for section in SECTIONS.values():
        lines = [line for line in section.splitlines() if line.startswith("|")]
        assert {line.replace("\\|", "").count("|") for line in lines} == {5}
