"""What callers send and are answered: the models, and the words for what is wrong with them.

`intake` decodes with them, `http_exchange` and `openapi` know them too: the document is made of what is decoded.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

import msgspec

from notification_dispatcher import tracing
from notification_dispatcher.metric_names import DropReason, Result
from notification_dispatcher.pipeline import Priority

JobType = Annotated[str, msgspec.Meta(max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")]
Key = Annotated[str, msgspec.Meta(max_length=128, pattern=r"^[!-~]([ -~]*[!-~])?\Z")]
"""Printable ASCII: it travels in headers."""
_Payload = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object"})]
_Trace = Annotated[str, msgspec.Meta(pattern=rf"^{tracing.TRACEPARENT}\Z")]


class Notification(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """One notification job."""

    type: JobType
    payload: _Payload
    """What is delivered, as it is."""
    id: Key | None = None
    """By which repetitions are recognised, and the job is found again. Default: a new one."""
    dedup_key: Key | None = None
    """What repetitions are recognised by instead of the id."""
    priority: Priority | None = None
    channels: Annotated[tuple[JobType, ...], msgspec.Meta(min_length=1, max_length=32)] | None = None
    """Where to deliver it. Default: as the job type says."""
    deliver_at: Annotated[datetime, msgspec.Meta(tz=True)] | None = None
    """When to deliver it: within a year. Default: at once."""
    traceparent: _Trace | None = None
    """The trace that it belongs to. Default: that of the request."""


class Batch(msgspec.Struct, forbid_unknown_fields=True):
    """Several notifications, each of which is taken or not by itself."""

    notifications: Annotated[list[Notification], msgspec.Meta(min_length=1)]


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """A batch whose items are still to be looked at one by one, since something is wrong with it."""

    notifications: list[msgspec.Raw]


class Head(msgspec.Struct):
    """What can be told of an item that is invalid."""

    type: Any = None
    id: Any = None


class ItemResult(msgspec.Struct, omit_defaults=True, frozen=True):
    """What became of one item."""

    id: str | None
    status: Result
    reason: DropReason | None = None
    detail: str = ""
    """For people: what is wrong with the item."""


class Results(msgspec.Struct):
    """A result for each item, in order."""

    results: list[ItemResult]


_WORDS = {
    "^[a-z0-9]([-a-z0-9]*[a-z0-9])?": "lower-case letters, digits and hyphens, such as booking-created",
    "^[!-~]([ -~]*[!-~])?": "printable ASCII characters",
    f"^{tracing.TRACEPARENT}": "a traceparent, as W3C Trace Context has it",
}


def words_of(error: Exception) -> str:
    """What msgspec says is wrong, with the field first and no regular expression."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    text, _, path = str(error).partition(" - at `$")
    for pattern, words in _WORDS.items():
        if pattern in text:
            text = f"must be {words}"
    field = path.removesuffix("`").removeprefix(".")
    return f"{field}: {text}" if field else text
