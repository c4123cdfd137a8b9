"""What is told of a pipeline as it happens: each change of a verdict is an event on it. `reporting` posts them.

A verdict that is first given and fine is no news, and neither is `Ready`, which only repeats the others. Everything
here is a pure function. An event's name follows from what it says and of whom: whoever says the same again, after a
restart or on another node, finds it and counts it up.
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from notification_operator.kinds import EVENT, PIPELINE
from notification_operator.naming import OPERATOR
from notification_operator.status import ConditionType, Reason

_MOST_BYTES = 1024
"""Of a note: the API server counts bytes, and refuses more."""

_FINE = frozenset(
    {
        Reason.APPLIED,
        Reason.AVAILABLE,
        Reason.CONFIGURED,
        Reason.DISABLED,
        Reason.PAUSED,
        Reason.ROLLING_OUT,
        Reason.SCALED_TO_ZERO,
        Reason.SELECTED,
        Reason.SELECTION_UNKNOWN,
    }
)
"""What goes as somebody wants it to. Every other reason warns, whatever its verdict."""


@dataclass(frozen=True, slots=True)
class Transition:
    """One verdict that is another than it was."""

    condition: str
    reason: str
    note: str

    @classmethod
    def to(cls, condition: Mapping[str, Any]) -> Self:
        """The change to this condition."""
        return cls(condition["type"], condition["reason"], _shortened(condition["message"]))

    @property
    def warns(self) -> bool:
        """Whether somebody should look."""
        return self.reason not in _FINE


def transitions(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Transition]:
    """What changed from one status to the next: verdicts and their reasons, not their words alone."""
    known = {condition["type"]: condition for condition in before.get("conditions", [])}
    found = []
    for condition in after["conditions"]:
        previous = known.get(condition["type"])
        transition = Transition.to(condition)
        if condition["type"] == ConditionType.READY:
            continue
        if transition.warns if previous is None else _differ(previous, condition):
            found.append(transition)
    return found


def build(pipeline: Mapping[str, Any], transition: Transition, now: str) -> dict[str, Any]:
    """The event on a stored pipeline, as it is made the first time. `now` is a MicroTime."""
    metadata = pipeline["metadata"]
    # The note too: it cannot be changed in an event that exists, and would go on naming what was missing last time.
    key = "\n".join((metadata["uid"], transition.condition, transition.reason, transition.note))
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.name,
        "metadata": {
            "name": f"{metadata['name']}.{hashlib.sha256(key.encode()).hexdigest()[:16]}",
            "namespace": metadata["namespace"],
        },
        "regarding": {
            "apiVersion": PIPELINE.api_version,
            "kind": PIPELINE.name,
            "namespace": metadata["namespace"],
            "name": metadata["name"],
            "uid": metadata["uid"],
        },
        "type": "Warning" if transition.warns else "Normal",
        "reason": transition.reason,
        "action": transition.condition,
        "note": transition.note,
        "eventTime": now,
        "reportingController": OPERATOR,
        "reportingInstance": socket.gethostname()[:128],
    }


def repeated(stored: Mapping[str, Any], now: str) -> dict[str, Any]:
    """The change that counts one more occurrence of a stored event."""
    count = (stored.get("series") or {}).get("count", 1) + 1
    return {"series": {"count": count, "lastObservedTime": now}}


def _differ(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return (one["status"], one["reason"]) != (other["status"], other["reason"])


def _shortened(message: str) -> str:
    encoded = message.encode()
    if len(encoded) <= _MOST_BYTES:
        return message
    mark = "…"
    return encoded[: _MOST_BYTES - len(mark.encode())].decode(errors="ignore") + mark
