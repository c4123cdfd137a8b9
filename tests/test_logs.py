"""What both processes log: one line an event, and no value of a local variable, whatever goes wrong."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import structlog
from notification_dispatcher import logs
logs.configure({form!r}, "debug")
def work(url):
    raise RuntimeError("it broke")
try:
    work("https://hooks.slack.example/" + "can" + "ary")
except RuntimeError:
    structlog.get_logger().exception("event", action="failed")
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_traceback_shows_no_values(form: str) -> None:
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(form=form)], capture_output=True, text=True, check=True
    )
    assert "it broke" in answer.stderr
    assert "failed" in answer.stderr
    assert "work" in answer.stderr
    assert "canary" not in answer.stderr
    if form == "json":
        assert len(answer.stderr.splitlines()) == 1


LIBRARY = """
import logging
import structlog
from notification_dispatcher import logs
logs.configure("json", {level!r})
for name in ("a_library", "notification_operator.run"):
    for say in (structlog.get_logger(name), logging.getLogger(name)):
        say.debug("debug of " + name)
        say.warning("warning of " + name)
"""


@pytest.mark.parametrize(
    ("level", "ours", "theirs"),
    [("debug", ["debug", "warning"], ["warning"]), ("error", [], [])],
    ids=["debug", "error"],
)
def test_libraries_tell_warnings_alone(level: str, ours: list[str], theirs: list[str]) -> None:
    program = [sys.executable, "-c", LIBRARY.format(level=level)]
    answer = subprocess.run(program, capture_output=True, text=True, check=True)
    for name, expected in (("notification_operator.run", ours), ("a_library", theirs)):
        told = [word for word in ("debug", "warning") if f"{word} of {name}" in answer.stderr]
        assert told == expected, name
