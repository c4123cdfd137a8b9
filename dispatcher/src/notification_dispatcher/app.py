"""The HTTP interface. `run` makes it and serves it.

What a caller did wrong is answered as problem+json with a sentence that names the field. A 202 means stored: what it
reports as queued is on disk.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from notification_dispatcher import http_exchange, openapi, tracing
from notification_dispatcher.alerts import Watcher
from notification_dispatcher.channels.base import Outcome
from notification_dispatcher.clock import Clock
from notification_dispatcher.dead_letter_api import DeadLetterApi
from notification_dispatcher.errors import QueueUnavailableError, RequestError
from notification_dispatcher.http_exchange import RETRY_SOON, authorize, json_response, problem, read_body
from notification_dispatcher.intake import Intake
from notification_dispatcher.messages import Results
from notification_dispatcher.metric_names import METRICS_PATH
from notification_dispatcher.metrics import Metrics
from notification_dispatcher.monitor import Monitor
from notification_dispatcher.queues.base import JobQueue
from notification_dispatcher.routes import InForce
from notification_dispatcher.slack_alerts import SlackAlerts
from notification_dispatcher.worker import Worker

_KEY_CHARACTERS = 128

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
    alerts: Watcher
    clock: Clock
    draining: bool = False
    """Set when the process is told to stop: nothing new is taken."""


def make_app(parts: Parts) -> Starlette:
    """The application."""
    api = _Api(parts)
    dead = DeadLetterApi(parts.in_force, parts.queue, parts.monitor, parts.clock)
    return Starlette(
        routes=[
            _route("/api/notifications", POST=api.post_notifications, GET=dead.list),
            _route("/api/notifications/{id:path}/replay", POST=dead.replay_one),
            _route("/api/notifications/{id:path}", GET=api.get_notification, DELETE=dead.delete_one),
            _route("/api/dead-letters/replay", POST=dead.replay),
            _route("/api/dead-letters", DELETE=dead.delete),
            _route("/api/alerts/test", POST=api.test_alert),
            _route(METRICS_PATH, GET=api.get_metrics),
            _route("/openapi.json", GET=api.get_openapi),
            _route("/healthz", GET=api.healthz),
            _route("/readyz", GET=api.readyz),
        ],
        exception_handlers={
            RequestError: http_exchange.refused,
            QueueUnavailableError: http_exchange.unavailable,
            HTTPException: http_exchange.http_exception,
            Exception: http_exchange.bug,
        },
    )


def _route(path: str, **handlers: Handler) -> Route:
    """One route for all of a path's methods, so that a wrong one is told every right one."""

    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return Route(path, handle, methods=list(handlers))


class _Api:
    """The handlers."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._openapi = openapi.document()

    async def post_notifications(self, request: Request) -> Response:
        """Take a batch."""
        authorize(request, self._parts.in_force.settings)
        if self._parts.draining:
            raise RequestError(503, "the dispatcher is shutting down", RETRY_SOON)
        key = _idempotency_key(request)
        body = await read_body(request, self._parts.in_force.live.max_body_bytes)
        taken = await self._parts.intake.take(body, tracing.carried(request.headers), key)
        if taken.recalled is not None:
            return json_response(202, taken.recalled, {"Idempotency-Replayed": "true"})
        if taken.rejected:
            return problem(429, "the queue is full", RETRY_SOON, results=taken.results)
        return json_response(202, Results(taken.results))

    async def get_notification(self, request: Request) -> Response:
        """Say where a job is."""
        authorize(request, self._parts.in_force.settings)
        report = await self._parts.queue.report(request.path_params["id"])
        if report is None:
            raise RequestError(404, "there is no such notification: it was evicted, never queued, or is forgotten")
        return json_response(200, report)

    async def test_alert(self, request: Request) -> Response:
        """Send a test alert to Slack, and say what came back."""
        authorize(request, self._parts.in_force.settings)
        delivery = await self._parts.slack.test(self._parts.queue.counts().depth, self._parts.worker.active)
        if delivery is None:
            raise RequestError(409, "no Slack webhook is configured: set spec.alerts.slack, or SLACK_ALERT_WEBHOOK_URL")
        if delivery.outcome is not Outcome.DELIVERED:
            raise RequestError(502, f"Slack did not take the alert: {delivery.detail}")
        return json_response(200, {"status": "sent"})

    async def get_openapi(self, _: Request) -> Response:
        """What there is, for programs."""
        return json_response(200, self._openapi)

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


def _idempotency_key(request: Request) -> str | None:
    """The request's key, with or without the quotes of a structured field.

    Source: draft-ietf-httpapi-idempotency-key-header-06.
    """
    text = request.headers.get("Idempotency-Key")
    if text is None:
        return None
    key = text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text
    if not 1 <= len(key) <= _KEY_CHARACTERS or not key.isascii() or not key.isprintable():
        raise RequestError(400, f"Idempotency-Key: must be 1 to {_KEY_CHARACTERS} printable ASCII characters")
    return key
