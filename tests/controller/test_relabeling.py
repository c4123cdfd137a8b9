"""Regular expressions of relabelings are read as Prometheus reads them, where Python's own would not be."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from notification_operator.spec.relabeling import Relabeling, matches_whole


@pytest.mark.parametrize(
    ("regex", "text", "matches"),
    [
        ("pipe.*", "pipeline", True),
        ("pipe", "pipeline", False),
        ("a|pipeline", "pipeline", True),
        ("(?i)PIPELINE", "pipeline", True),
        ("[[:lower:]]+", "pipeline", True),
        (r"\pL+", "pipeline", True),
        (".+", "", False),
    ],
)
def test_the_whole_text_must_match(regex: str, text: str, matches: bool) -> None:
    assert matches_whole(regex, text) is matches


@pytest.mark.parametrize("regex", ["(", "a(?=b)", "(?!a)b", r"(a)\1", "a{2,1}", "[z-a]"])
def test_what_prometheus_cannot_read_is_refused(regex: str) -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        matches_whole(regex, "")


def accepted(regex: str) -> bool:
    try:
        Relabeling.model_validate({"action": "drop", "regex": regex}, strict=False)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize(
    "regex",
    [
        "plannivo_python_.+",
        "^(a|b)$",
        "(?i)abc",
        "(?P<team>[a-z]+)_(?:x|y)",
        "[^a-z0-9_-]{2,8}?",
        "[[:alpha:]_]+",
        r"\{\[a\]\}\\.",
        r"\p{Greek}\d*",
        "http://é:",
    ],
)
def test_what_people_write_is_accepted(regex: str) -> None:
    assert accepted(regex)


@pytest.mark.parametrize("regex", ["a{", "{x}", "a**", "[a[b]", "[a&&b]", r"\Qa\E", r"\123", "(?x)a", "(?is)a", "[]a]"])
def test_what_engines_read_differently_is_refused(regex: str) -> None:
    assert not accepted(regex)
