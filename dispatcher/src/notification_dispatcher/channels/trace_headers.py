"""The trace headers of the delivery that runs. `tracing` sets them, the webhook channel sends them."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from types import MappingProxyType

FIELDS = ("traceparent", "tracestate")

_NONE: Mapping[str, str] = MappingProxyType({})

current: ContextVar[Mapping[str, str]] = ContextVar("trace_headers", default=_NONE)
