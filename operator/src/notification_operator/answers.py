"""What the API server's answers mean: their shapes, which error a refusal is, when to ask again, where a line ends.

`cluster` reads every answer through here.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import msgspec

from notification_operator.errors import (
    AlreadyExistsError,
    ApiError,
    ConflictError,
    ForbiddenError,
    GoneError,
    NotFoundError,
    TransientError,
)

_LONGEST_PAUSE = 5.0
_TRANSIENT = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.UNAUTHORIZED}
_BY_STATUS: dict[int, type[ApiError]] = {
    HTTPStatus.FORBIDDEN: ForbiddenError,
    HTTPStatus.NOT_FOUND: NotFoundError,
    HTTPStatus.CONFLICT: ConflictError,
    HTTPStatus.GONE: GoneError,
}


_Answer = TypeVar("_Answer")


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch: what happened, and the object undecoded."""

    type: str
    object: msgspec.Raw


class _Object(msgspec.Struct):
    metadata: msgspec.Raw


class _ListMeta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class ObjectList(msgspec.Struct):
    """A page of a list, its objects undecoded."""

    metadata: _ListMeta
    items: list[msgspec.Raw]


class _Status(msgspec.Struct):
    """Kubernetes' answer to what it did not do."""

    message: str = ""
    reason: str = ""
    code: int = 0


def refusal(response: aiohttp.ClientResponse, content: bytes, *, secret: bool = False) -> ApiError:
    """The error that an answer of 400 and above is."""
    status = response.status
    said = _said(content)
    # For a Secret only the kind of refusal: the message may repeat what was sent.
    message = f"{status} {said.reason if secret else said.message or said.reason}".strip()
    if status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return TransientError(message, status=status, retry_after=_seconds(response.headers.get("Retry-After")))
    if said.reason == "AlreadyExists":
        return AlreadyExistsError(message, status=status)
    return _BY_STATUS.get(status, ApiError)(message, status=status)


def read(content: bytes, shape: type[_Answer]) -> _Answer:
    """An answer of this shape. Raises TransientError where it has another: something on the way may have given it."""
    try:
        return msgspec.json.decode(content, type=shape)
    except msgspec.DecodeError as error:
        raise unreadable(error) from error


def unreadable(error: msgspec.DecodeError) -> TransientError:
    """What such an answer is. Not in its own words, which may be anybody's."""
    return TransientError(f"the answer cannot be read: {type(error).__name__}")


def decoded(content: bytes) -> dict[str, Any]:
    """An object. Raises TransientError."""
    return read(content, dict[str, Any])


def metadata(content: bytes) -> msgspec.Raw:
    """That of an object, undecoded. Raises TransientError."""
    return read(content, _Object).metadata


def watch_error(content: msgspec.Raw) -> ApiError:
    """The error that a watch's event of type ERROR carries."""
    said = msgspec.json.decode(content, type=_Status)
    kind = GoneError if said.code == HTTPStatus.GONE else TransientError
    return kind(said.message, status=said.code)


def pause(attempt: int, retry_after: float | None) -> float:
    """Seconds before the next attempt: what the server asked for, else exponential; both bounded and jittered."""
    base = retry_after if retry_after is not None else 0.1 * 2**attempt
    return min(base, _LONGEST_PAUSE) * random.uniform(0.7, 1.3)  # noqa: S311  spreads load, guards nothing


async def lines(stream: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own reader stops at 64 KiB, and a dashboard is longer than that."""
    rest = bytearray()
    async for chunk in stream.iter_any():
        rest += chunk
        if b"\n" not in chunk:
            continue
        *whole, tail = bytes(rest).split(b"\n")
        rest = bytearray(tail)
        for line in whole:
            if line:
                yield line


def _said(content: bytes) -> _Status:
    try:
        return msgspec.json.decode(content, type=_Status)
    except msgspec.DecodeError:
        return _Status()


def _seconds(retry_after: str | None) -> float | None:
    return float(retry_after) if retry_after is not None and retry_after.isdigit() else None
