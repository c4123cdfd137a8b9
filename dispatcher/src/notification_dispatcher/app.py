"""The HTTP interface. `run` makes it and serves it.

What a caller did wrong is answered as problem+json with a sentence that names the field. A 202 means stored: what it
reports as queued is on disk.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notification_dispatcher.alerts import Alerts
from notification_dispatcher.channels.base import Outcome
from notification_dispatcher.clock import Clock
from notification_dispatcher.errors import QueueUnavailableError, RequestError
from notification_dispatcher.intake import Intake, ItemResult
from notification_dispatcher.metric_names import METRICS_PATH, DropReason, Result
from notification_dispatcher.metrics import Metrics
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.routes import InForce
from notification_dispatcher.slack_alerts import SlackAlerts
from notification_dispatcher.worker import Worker

logger = structlog.get_logger(__name__)

_BODY_SECONDS = 30.0
"""A body that takes longer to arrive is not waited for."""

_RETRY_SOON = {"Retry-After": "5"}

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(slots=True)
class Parts:
    """What the handlers need."""

    in_force: InForce
    queue: JobQueue
    intake: Intake
    worker: Worker
    monitor: Monitor
    metrics: Metrics
    slack: SlackAlerts
    alerts: Alerts
    clock: Clock
    draining: bool = False
    """Set when the process is told to stop: nothing new is taken."""


def make_app(parts: Parts) -> Starlette:
    """The application."""
    api = _Api(parts)
    return Starlette(
        routes=[
            Route("/api/notifications", api.post_notifications, methods=["POST"]),
            Route("/api/notifications/{id:path}", api.get_notification, methods=["GET"]),
            Route("/api/alerts/test", api.test_alert, methods=["POST"]),
            Route(METRICS_PATH, api.get_metrics, methods=["GET"]),
            Route("/healthz", api.healthz, methods=["GET"]),
            Route("/readyz", api.readyz, methods=["GET"]),
        ],
        exception_handlers={
            RequestError: _refused,
            QueueUnavailableError: _unavailable,
            HTTPException: _http_exception,
            Exception: _bug,
        },
    )


class _Api:
    """The handlers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def post_notifications(self, request: Request) -> Response:
        """Take a batch."""
        self._authorize(request)
        if self._parts.draining:
            raise RequestError(503, "the dispatcher is shutting down", _RETRY_SOON)
        body = await self._body(request)
        results = await self._parts.intake.take(body)
        if _all_rejected(results):
            return _problem(429, "the queue is full", _RETRY_SOON, results)
        return _json(202, {"results": results})

    async def get_notification(self, request: Request) -> Response:
        """Say where a job is."""
        self._authorize(request)
        report = await self._parts.queue.report(request.path_params["id"])
        if report is None:
            raise RequestError(404, "there is no such notification: it was delivered, evicted, or never queued")
        return _json(200, report)

    async def test_alert(self, request: Request) -> Response:
        """Send a test alert to Slack, and say what came back."""
        self._authorize(request)
        delivery = await self._parts.slack.test(self._parts.queue.counts().depth, self._parts.worker.active)
        if delivery is None:
            raise RequestError(409, "no Slack webhook is configured: set SLACK_ALERT_WEBHOOK_URL")
        if delivery.outcome is not Outcome.DELIVERED:
            raise RequestError(502, f"Slack did not take the alert: {delivery.detail}")
        return _json(200, {"status": "sent"})

    async def get_metrics(self, _: Request) -> Response:
        """Every metric, as Prometheus reads them."""
        parts = self._parts
        try:
            oldest = await parts.queue.oldest_due_ms()
        except QueueUnavailableError:
            # The last known age stays: the scrape is needed most when something is broken.
            oldest = None
        else:
            age_ms = 0 if oldest is None else max(0, parts.clock.wall_ms() - oldest)
            parts.metrics.oldest_age(age_ms / 1000)
        return Response(generate_latest(parts.metrics.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def healthz(self, _: Request) -> Response:
        """The event loop turns: that this is answered says it."""
        return PlainTextResponse("ok\n")

    async def readyz(self, _: Request) -> Response:
        """Whether notifications are taken."""
        if self._parts.draining:
            return PlainTextResponse("shutting down\n", 503)
        if not self._parts.queue.available:
            try:
                # Nobody sends anything while it isn't ready: so it must find out for itself.
                await self._parts.queue.probe()
            except QueueUnavailableError:
                return PlainTextResponse("the queue cannot store\n", 503)
        return PlainTextResponse("ok\n")

    def _authorize(self, request: Request) -> None:
        token = self._parts.in_force.live.api_token
        if token is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(
            given.strip().encode(), token.get_secret_value().encode()
        ):
            raise RequestError(401, "a bearer token is needed: Authorization: Bearer …", {"WWW-Authenticate": "Bearer"})

    async def _body(self, request: Request) -> bytes:
        """The body, as far as it may go. Nothing of it is looked at before it is all there."""
        if request.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestError(415, "Content-Type: must be application/json")
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise RequestError(415, "Content-Encoding: compressed bodies are not taken")
        most = self._parts.in_force.live.max_body_bytes
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


def _all_rejected(results: list[ItemResult]) -> bool:
    """Nothing was taken, and the queue is why."""
    return all(one.status is Result.DROPPED for one in results) and any(
        one.reason is DropReason.REJECTED for one in results
    )


def _json(status: int, content: Any) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")


def _problem(
    status: int, detail: str, headers: dict[str, str] | None = None, results: list[ItemResult] | None = None
) -> Response:
    content: dict[str, Any] = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status}
    content["detail"] = detail
    if results is not None:
        content["results"] = results
    return Response(msgspec.json.encode(content), status, headers, media_type="application/problem+json")


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RequestError)  # noqa: S101  that is what it is registered for
    return _problem(error.status, str(error), error.headers)


async def _unavailable(_: Request, error: Exception) -> Response:
    logger.error("nothing can be stored", action="queue_unavailable", why=str(error))
    return _problem(503, "the queue cannot store now; nothing of the request was taken", _RETRY_SOON)


async def _http_exception(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  that is what it is registered for
    return _problem(error.status_code, error.detail, dict(error.headers or {}))


async def _bug(_: Request, __: Exception) -> Response:
    return _problem(500, "an error in the dispatcher; its log says more")
