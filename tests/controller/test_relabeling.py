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
        r"\w+\d{99}\W*[\s\D_-]",
        r"([0-9]{1,3}[.]){3}[0-9]{1,3}",
        "http://é:",
    ],
)
def test_what_people_write_is_accepted(regex: str) -> None:
    assert accepted(regex)


@pytest.mark.parametrize(
    "regex",
    [
        *("a{", "{x}", "a**", "(?x)a", "(?is)a", r"\Qa\E", r"\123", r"\p{Greek}", r"\pL"),
        *("[a[b]", "[a&&b]", "[]a]", "[[:foo:]]", r"[\d-z]", r"[a-\d]", r"[\b]", r"\<a\>"),
        *("(a{99}){2}", "(a{2}){10}", "((a{9}){9}){9}", "((a)b){2}"),
    ],
)
def test_what_engines_read_differently_is_refused(regex: str) -> None:
    assert not accepted(regex)


@pytest.mark.parametrize(
    "regex", ["[^a]{99}" * 32, "([^a]{9}){9}" * 21, r"\W{99}" * 42, "(a|(b*)*)*" * 25, "(a+)+" * 51]
)
def test_what_is_accepted_is_small_and_fast_however_long_it_is(regex: str) -> None:
    assert accepted(regex)
    assert matches_whole(regex, "b" * 5000) in (True, False)
