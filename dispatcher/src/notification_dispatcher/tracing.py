"""Carries the callers' trace from the POST to the delivery. `intake` takes it up, `attempt` goes on with it.

A job keeps what the caller sent. With the OpenTelemetry API alone, it is passed on to the destination as it is; with
the SDK and an exporter (the extra `otel`, and the variables OTEL_…), each delivery is a span of that trace.
Source: W3C Trace Context, level 1; OpenTelemetry's semantic conventions for messaging.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import msgspec
from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.util.types import AttributeValue

from notification_dispatcher.channels.base import Channel, Delivery, Outcome
from notification_dispatcher.channels.trace_headers import FIELDS, current
from notification_dispatcher.errors import SettingsError
from notification_dispatcher.job import Lease

TRACEPARENT = "(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}"
"""Of a version that is known, or of a later one that looks the same."""

_TRACESTATE_CHARACTERS = 512

_tracer = trace.get_tracer("notification_dispatcher")


def carried(headers: Mapping[str, str]) -> str:
    """What a request's headers say of its trace, as a job keeps it; empty when they say nothing usable."""
    parent = headers.get("traceparent", "")
    if re.fullmatch(TRACEPARENT, parent) is None:
        # The specification has an invalid header ignored, and its companion with it.
        return ""
    state = headers.get("tracestate", "")
    found = {"traceparent": parent}
    if state and len(state) <= _TRACESTATE_CHARACTERS and state.isascii() and state.isprintable():
        found["tracestate"] = state
    return msgspec.json.encode(found).decode()


async def deliver(channel: Channel, name: str, job: Lease) -> Delivery:
    """Deliver a job that has a trace, as a span of it."""
    carrier: dict[str, str] = msgspec.json.decode(job.trace)
    attributes: dict[str, AttributeValue] = {
        "messaging.system": "notification-dispatcher",
        "messaging.operation.type": "process",
        "messaging.message.id": job.id,
        "messaging.destination.name": name,
        "notification.type": job.type,
        "notification.attempt": job.attempt,
    }
    context = propagate.extract(carrier)
    with _tracer.start_as_current_span(f"deliver {job.type}", context, SpanKind.CONSUMER, attributes) as span:
        headers: dict[str, str] = {}
        propagate.inject(headers)
        token = current.set({field: headers[field] for field in FIELDS if field in headers})
        try:
            delivery = await channel.deliver(job)
        finally:
            current.reset(token)
        if delivery.outcome is not Outcome.DELIVERED:
            span.set_status(StatusCode.ERROR, delivery.detail)
        return delivery


def export(environment: Mapping[str, str]) -> Callable[[], None]:
    """Send spans where the variables OTEL_… say, if they say anything. Returns what flushes and ends that.

    Raises SettingsError when they do and the extra is not installed.
    """
    if not any(environment.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")):
        return lambda: None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            ["OTEL_EXPORTER_OTLP_ENDPOINT is set, and the exporter is not there: install the extra otel, or unset it."]
        ) from None
    name = environment.get("OTEL_SERVICE_NAME", "notification-dispatcher")
    provider = TracerProvider(resource=Resource.create({"service.name": name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)
    return provider.shutdown
