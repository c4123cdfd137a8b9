"""What becomes of a line of a log."""

from __future__ import annotations

import json

import pytest

from notification_operator.plugin.log_lines import Line, Wanted, read


def line(**fields: object) -> Line:
    [found] = read("booking-5bf5-x7k2p", [f"2026-11-25T03:00:00.5Z {json.dumps(fields)}\n"])
    return found


def test_fields_follow_the_event_and_blanks_are_quoted() -> None:
    found = line(
        event="job failed", action="job_failed", level="info", why="no answer", job="b-1", kept=["a", "b"], n=1
    )
    assert found.as_text(several=False) == (
        '2026-11-25T03:00:00Z  INFO     job failed  why="no answer" job=b-1 kept=["a", "b"] n=1'
    )
    assert found.as_text(several=True).startswith("2026-11-25T03:00:00Z  x7k2p  INFO ")


def test_an_exception_is_shown_below_with_its_place() -> None:
    raised = [{"exc_type": "OSError", "exc_value": "disk full", "frames": [{"filename": "a.py", "lineno": 7}]}]
    told = line(event="queue unavailable", level="error", exception=raised).as_text(several=False)
    assert told.splitlines()[1] == "    OSError: disk full (a.py:7)"


@pytest.mark.parametrize("text", ["{not json", "[1, 2]", "plain", "", "{}"])
def test_what_is_no_json_stays_as_it_is(text: str) -> None:
    [found] = read("pod", [f"2026-11-25T03:00:00.5Z {text}"])
    assert found.as_text(several=False) == f"2026-11-25T03:00:00Z  {text}"
    assert json.loads(found.as_json())["event"] == text


def test_nothing_of_a_line_moves_the_cursor() -> None:
    [plain] = read("pod", ["2026-11-25T03:00:00.5Z a\x1b[2Jb"])
    assert "\x1b" not in plain.as_text(several=False)
    assert "\x1b" not in line(event="x\x1b[2J", level="info", why="\x1b]0;title\x07").as_text(several=False)


@pytest.mark.parametrize(
    ("wanted", "levels"),
    [
        (None, ["debug", "info", "warning", "error", ""]),
        ("warning", ["warning", "error", ""]),
        ("error", ["error", ""]),
    ],
)
def test_a_level_means_it_and_those_above(wanted: str | None, levels: list[str]) -> None:
    lines = [line(event="x", level=level) for level in ("debug", "info", "warning", "error", "")]
    assert [found.fields["level"] for found in lines if Wanted(wanted, None).wants(found)] == levels


def test_an_action_means_that_one_alone() -> None:
    assert Wanted(None, "job_failed").wants(line(event="x", action="job_failed"))
    assert not Wanted(None, "job_failed").wants(line(event="x", action="started"))
