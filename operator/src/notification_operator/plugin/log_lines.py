"""A dispatcher's log, line by line: what stands in it, and how people read it. `logs` prints through here.

Everything here is a pure function.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import click

from notification_dispatcher.text_table import printable

LEVELS = ("debug", "info", "warning", "error", "critical")
_COLOURS = {"warning": "yellow", "error": "red", "critical": "red"}
_SHOWN_APART = {"timestamp", "level", "event", "exception"}
_TO_THE_SECOND = len("2026-11-25T14:02:11")


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a pod's log."""

    pod: str
    time: str
    """When the container runtime got it; what `kubectl logs` sorts by."""
    text: str
    fields: Mapping[str, Any]
    """Of a line that is JSON; empty for one that is not, from before the log is configured or from a library."""

    def as_json(self) -> str:
        """For programs: the line, and which pod it is of."""
        fields = self.fields or {"timestamp": self.time, "event": self.text}
        return json.dumps({"pod": self.pod, **fields}, ensure_ascii=False)

    def as_text(self, *, several: bool) -> str:
        """For people; with the pod where there are several."""
        time = str(self.fields.get("timestamp", self.time))[:_TO_THE_SECOND] + "Z"
        # The end of its name tells it from the others.
        place = f"  {self.pod.rpartition('-')[2]}" if several else ""
        if not self.fields:
            return f"{time}{place}  {printable(self.text)}"
        level = str(self.fields.get("level", ""))
        mark = level.upper().ljust(7)
        if level in _COLOURS:
            mark = click.style(mark, fg=_COLOURS[level])
        event = printable(str(self.fields.get("event", "")))
        # Most events are called as their action is.
        told = _SHOWN_APART | ({"action"} if self.fields.get("action") == event.replace(" ", "_") else set())
        known = (f"{name}={_value(value)}" for name, value in self.fields.items() if name not in told)
        words = "  ".join((event, " ".join(known)))
        return "\n".join((f"{time}{place}  {mark}  {words}".rstrip(), *_traceback(self.fields.get("exception"))))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which lines somebody wants to see."""

    level: str | None
    action: str | None

    def wants(self, line: Line) -> bool:
        """Whether this is one. What is no JSON has no level, and is often the very line that says why it crashed."""
        if self.action is not None and line.fields.get("action") != self.action:
            return False
        found = line.fields.get("level")
        return self.level is None or found not in LEVELS or LEVELS.index(found) >= LEVELS.index(self.level)


def read(pod: str, lines: Iterable[str]) -> Iterator[Line]:
    """The lines that `kubectl logs --timestamps` prints of a pod."""
    for one in lines:
        time, _, text = one.rstrip("\n").partition(" ")
        yield Line(pod, time, text, _fields(text))


def _fields(text: str) -> Mapping[str, Any]:
    if not text.startswith("{"):
        return {}
    try:
        found: Mapping[str, Any] = json.loads(text)
    except ValueError:
        return {}
    return found


def _value(value: Any) -> str:
    if not isinstance(value, str):
        return printable(json.dumps(value, ensure_ascii=False))
    # What has a blank in it is quoted, so that it can be seen where it ends.
    text = printable(value)
    return text if text and " " not in text else json.dumps(text, ensure_ascii=False)


def _traceback(exception: Any) -> Iterator[str]:
    """The exceptions of a line, in the form that structlog gives them: each with the place that raised it."""
    for one in exception if isinstance(exception, list) else ():
        frames = one.get("frames") or [{}]
        place = f"{frames[-1].get('filename', '?')}:{frames[-1].get('lineno', '?')}"
        yield f"    {printable(str(one.get('exc_type')))}: {printable(str(one.get('exc_value')))} ({place})"
