"""Safe pieces of PromQL, used by `queries` for boards and by `alerting_rules` for rules."""

from __future__ import annotations

from collections.abc import Sequence

_ESCAPES = str.maketrans(
    {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\x00", "$": "\\x24", "[": "\\x5b"}
)
"""`$` and `[` as codes, since Grafana replaces `$name`, `${name}` and `[[name]]` wherever they stand."""


def quote(text: str) -> str:
    """A PromQL string literal that holds just this text."""
    return f'"{text.translate(_ESCAPES)}"'


def selector(metric: str, matchers: Sequence[str]) -> str:
    """The series of a metric that match."""
    return f"{metric}{{{','.join(matchers)}}}" if matchers else metric


def is_exactly(label: str, value: str) -> str:
    """Match one value of a label."""
    return f"{label}={quote(value)}"


def is_one_of(label: str, values: Sequence[str]) -> str:
    """Match any of a few plain values, which must mean nothing special in a regular expression."""
    return f"{label}=~{quote('|'.join(values))}"
