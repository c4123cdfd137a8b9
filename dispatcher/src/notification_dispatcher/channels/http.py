"""One POST to a destination: what `webhook`, `slack` and the alert sender have in common.

Redirects are not followed (they would lead around the address guard), bodies are read up to a bound, cookies and proxy
variables are ignored. No URL is ever part of what is returned or raised: the path of a webhook is often its credential.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from http import HTTPStatus
from types import TracebackType
from typing import NamedTuple, Self

import aiohttp
from yarl import URL

from notification_dispatcher import __version__
from notification_dispatcher.channels.addresses import PublicResolver, check_literal
from notification_dispatcher.channels.base import DELIVERED, Delivery, Outcome
from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import BlockedAddressError
from notification_dispatcher.metric_names import FailureReason
from notification_dispatcher.retry import parse_retry_after

_ANSWER_BYTES = 65_536
"""Read so that the connection can be used again: as much as has come with the head, and so nothing that is endless. Of
an answer that is longer, the rest is dropped, with the connection."""

_RETRIED = {HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS}


class Request(NamedTuple):
    """What is to be posted."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    allow_private: bool


class HttpClient:
    """Connections to destinations. Use as an async context manager."""

    def __init__(self, clock: Clock, connections: int = 1024) -> None:
        self._clock = clock
        self._connections = connections

    async def __aenter__(self) -> Self:
        self._public = self._session(PublicResolver())
        self._private = self._session(None)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._public.close()
        await self._private.close()

    async def post(self, request: Request) -> Delivery:
        """POST once. Whatever the destination does, this returns; how long it may take is the caller's to say."""
        session = self._private if request.allow_private else self._public
        # Made here: aiohttp would look up each time what kind of payload bytes are.
        body = aiohttp.BytesPayload(request.body)
        try:
            url = URL(request.url)
            if not request.allow_private:
                check_literal(url.host or "")
            async with session.post(url, data=body, headers=request.headers, allow_redirects=False) as answer:
                await answer.content.read(_ANSWER_BYTES)
                return self._judge(answer)
        except TimeoutError:
            return Delivery(Outcome.RETRY, FailureReason.TIMEOUT, "the connection timed out")
        except BlockedAddressError as error:
            return Delivery(Outcome.FAILED, FailureReason.BLOCKED_ADDRESS, str(error))
        except (aiohttp.InvalidURL, ValueError):
            return Delivery(Outcome.FAILED, FailureReason.NOT_CONFIGURED, "the URL is not one")
        except (aiohttp.ClientError, OSError) as error:
            return _not_reached(error)

    def _session(self, resolver: PublicResolver | None) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(limit=self._connections, resolver=resolver, keepalive_timeout=30)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            headers={"User-Agent": f"notification-dispatcher/{__version__}"},
            trust_env=False,
            auto_decompress=False,
        )

    def _judge(self, answer: aiohttp.ClientResponse) -> Delivery:
        status = answer.status
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return DELIVERED
        detail = f"answered {status}"
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _RETRIED:
            server = status >= HTTPStatus.INTERNAL_SERVER_ERROR
            reason = FailureReason.HTTP_5XX if server else FailureReason.HTTP_4XX
            after = parse_retry_after(answer.headers.get("Retry-After"), self._clock.wall_ms())
            return Delivery(Outcome.RETRY, reason, detail, after)
        return Delivery(Outcome.FAILED, FailureReason.HTTP_4XX, detail)


def timed_out(seconds: float) -> Delivery:
    """What an attempt came to that had to be cancelled."""
    return Delivery(Outcome.RETRY, FailureReason.TIMEOUT, f"no answer within {seconds:g} s")


def _not_reached(error: Exception) -> Delivery:
    """What kept a connection from being made, in words without a URL."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    if isinstance(cause, BlockedAddressError):
        return Delivery(Outcome.FAILED, FailureReason.BLOCKED_ADDRESS, str(cause))
    if isinstance(error, (aiohttp.ClientSSLError, ssl.SSLError)):
        return Delivery(Outcome.RETRY, FailureReason.TLS, "no TLS connection")
    return Delivery(Outcome.RETRY, FailureReason.CONNECTION, f"no connection ({type(cause).__name__})")
