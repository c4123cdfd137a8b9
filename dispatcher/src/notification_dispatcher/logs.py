"""How both processes log: one line an event, JSON or text, with a stable `action` in each. Each `__main__` calls it."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import structlog

# Tracebacks without the values of local variables, in both forms: those can be secrets.
_tracebacks = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))

_OURS = ("notification_dispatcher", "notification_operator")
"""Of all others only warnings are told: what libraries say below that is nothing new, and may have a URL in it."""


def configure(form: str, level: str) -> None:
    """Send our lines, and those of the libraries, to standard error in one form (`json` or `text`)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    final: list[structlog.typing.Processor] = (
        [_tracebacks, _json]
        if form == "json"
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    least: int = getattr(logging, level.upper())
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(least),
        processors=[*shared, *final],
        # Not by way of `logging`, which takes five times as long for a line.
        logger_factory=_logger,
        cache_logger_on_first_use=True,
    )
    _take_over(least, [_foreign, *shared], final)


class _OfLibrary(structlog.WriteLogger):
    """Tells warnings and what is worse."""

    def debug(self, message: str) -> None:
        """Nothing."""

    info = debug


def _logger(*names: Any) -> structlog.WriteLogger:
    ours = bool(names) and str(names[0]).partition(".")[0] in _OURS
    return (structlog.WriteLogger if ours else _OfLibrary)(sys.stderr)


def _take_over(
    least: int, before: Sequence[structlog.typing.Processor], final: Sequence[structlog.typing.Processor]
) -> None:
    """Have what is logged by way of `logging` look the same."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=before,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(least, logging.WARNING), force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(least)


def _json(_: object, __: str, event: structlog.typing.EventDict) -> str:
    return msgspec.json.encode(event, enc_hook=repr).decode()


def _foreign(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    event["action"] = "library"
    return event
