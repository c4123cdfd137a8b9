"""The webhook channel: each notification as a JSON POST. Made by `registry`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from notification_dispatcher.channels import trace_headers
from notification_dispatcher.channels.base import Delivery
from notification_dispatcher.channels.http import HttpClient, Request
from notification_dispatcher.channels.signing import signature
from notification_dispatcher.clock import Clock, rfc3339
from notification_dispatcher.job import Lease


class _Body(msgspec.Struct, frozen=True):
    id: str
    type: str
    attempt: int
    timestamp: str
    """When it was accepted, RFC 3339."""
    payload: msgspec.Raw


class WebhookChannel:
    """One endpoint."""

    def __init__(
        self,
        client: HttpClient,
        clock: Clock,
        url: str,
        headers: Mapping[str, str],
        *,
        keys: Sequence[bytes] = (),
        allow_private: bool,
    ) -> None:
        """`keys` sign each request; with several, each of them does."""
        self._client = client
        self._clock = clock
        self._url = url
        self._headers = {**headers, "Content-Type": "application/json"}
        self._keys = keys
        self._allow_private = allow_private

    async def deliver(self, job: Lease) -> Delivery:
        """POST the job. Its id is the idempotency key: the same for every attempt."""
        body = msgspec.json.encode(
            _Body(job.id, job.type, job.attempt, rfc3339(job.accepted_ms), msgspec.Raw(job.payload))
        )
        timestamp = self._clock.wall_ms() // 1000
        headers = {
            **self._headers,
            "Idempotency-Key": job.id,
            "webhook-id": job.id,
            "webhook-timestamp": str(timestamp),
        }
        if job.trace:
            headers |= trace_headers.current.get()
        if self._keys:
            headers["webhook-signature"] = signature(self._keys, job.id, timestamp, body)
        return await self._client.post(Request(self._url, body, headers, self._allow_private))
