"""What every handler of the HTTP interface does: who may ask, how much is read, and the form of answers.

`app` and `dead_letter_api` use it. Source of the problems' form: RFC 9457.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec
import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from notification_dispatcher.errors import RequestError
from notification_dispatcher.messages import words_of
from notification_dispatcher.settings import Settings

logger = structlog.get_logger(__name__)

RETRY_SOON = {"Retry-After": "5"}

_BODY_SECONDS = 30.0
"""A body that takes longer to arrive is not waited for."""

Content = TypeVar("Content")


class Problem(msgspec.Struct, omit_defaults=True):
    """What is wrong with a request."""

    type: str
    title: str
    status: int
    detail: str = ""


def authorize(request: Request, settings: Settings) -> None:
    """Raise RequestError unless the request has the token, where one is set or must be."""
    token = settings.live.api_token
    if token is None and settings.fixed.api_token_required:
        raise RequestError(503, "the API's token is not there yet, so that nobody can be let in", RETRY_SOON)
    if token is None:
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.get_secret_value().encode()):
        raise RequestError(401, "a bearer token is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})


async def read_body(request: Request, most: int) -> bytes:
    """The body, as far as it may go. Nothing of it is looked at before it is all there."""
    if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, "Content-Type: must be application/json")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise RequestError(415, "Content-Encoding: compressed bodies are not taken")
    too_large = RequestError(413, f"the body is larger than {most} bytes", {"Connection": "close"})
    announced = request.headers.get("Content-Length", "")
    if announced.isdigit() and int(announced) > most:
        raise too_large
    chunks, size = [], 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for chunk in request.stream():
                size += len(chunk)
                if size > most:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        raise RequestError(408, f"the body did not arrive within {_BODY_SECONDS:g} s") from None
    except ClientDisconnect:
        raise RequestError(400, "the body ended early") from None
    return b"".join(chunks)


def decoded(body: bytes, kind: type[Content]) -> Content:
    """A body as what it must be. Raises RequestError with the field."""
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.ValidationError as error:
        raise RequestError(400, words_of(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise RequestError(400, "the body is not JSON") from None


def json_response(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of JSON. Bytes are JSON already."""
    encoded = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(encoded, status, headers, media_type="application/json")


def problem(status: int, detail: str, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """What is wrong, as problem+json."""
    content = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail, **more}
    return Response(msgspec.json.encode(content), status, headers, media_type="application/problem+json")


async def refused(_: Request, error: Exception) -> Response:
    """The answer to a RequestError."""
    assert isinstance(error, RequestError)  # noqa: S101  that is what it is registered for
    return problem(error.status, str(error), error.headers)


async def unavailable(_: Request, error: Exception) -> Response:
    """The answer while the queue cannot store."""
    logger.error("nothing can be stored", action="queue_unavailable", why=str(error))
    return problem(503, "the queue cannot store now; nothing of the request was taken", RETRY_SOON)


async def http_exception(_: Request, error: Exception) -> Response:
    """The answer to what Starlette refuses: no such path, no such method."""
    assert isinstance(error, HTTPException)  # noqa: S101  that is what it is registered for
    return problem(error.status_code, error.detail, error.headers)


async def bug(_: Request, __: Exception) -> Response:
    """The answer to what should not be."""
    return problem(500, "an error in the dispatcher; its log says more")
