"""A watch that begins with what is there, in place of a list: for kinds of which nobody should have to grant a list.

`watching` reads such watches through here. An operator whose account may list all Secrets is one that many refuse.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping

import msgspec

from notification_operator.answers import WatchEvent
from notification_operator.errors import TransientError
from notification_operator.store import ObjectMeta

PARAMETERS = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan"}
"""What asks for it, beside a watch from no resourceVersion."""

_LAST = "k8s.io/initial-events-end"
_SECONDS = 30.0  # as long as a list may take


class _Meta(ObjectMeta, frozen=True, rename="camel"):
    annotations: Mapping[str, str] = {}


class _Object(msgspec.Struct, frozen=True):
    metadata: _Meta


async def beginning(
    events: AsyncIterator[WatchEvent], trim: Callable[[bytes], bytes], seconds: float = _SECONDS
) -> tuple[list[bytes], str]:
    """Read such a watch until it has told what is there: as a list's objects, and the resourceVersion of the whole.

    What is told after that is left in `events`. Raises TransientError when it ends before that, or doesn't come to it.
    """
    there: dict[tuple[str, str], bytes] = {}
    try:
        async with asyncio.timeout(seconds):
            async for event in events:
                meta = msgspec.json.decode(event.object, type=_Object).metadata
                if event.type == "BOOKMARK" and _LAST in meta.annotations:
                    return list(there.values()), meta.resource_version
                _take(there, (meta.namespace, meta.name), event, trim)
    except TimeoutError:
        raise TransientError(f"a watch did not tell within {seconds:.0f} s what is there") from None
    raise TransientError("a watch ended before it had told what is there")


def _take(
    there: dict[tuple[str, str], bytes], key: tuple[str, str], event: WatchEvent, trim: Callable[[bytes], bytes]
) -> None:
    # What changes meanwhile is told in between.
    if event.type == "DELETED":
        there.pop(key, None)
    elif event.type != "BOOKMARK":
        there[key] = trim(bytes(event.object))
