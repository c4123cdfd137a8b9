"""Templates of Prometheus, for what an alert tells people. Used by the modules that make alerts."""

from __future__ import annotations

import json

COUNT = '{{ $value | printf "%.0f" }}'
"""The alert's value, as a whole number."""


def literal(text: str) -> str:
    """Text as a template that yields just that text."""
    return text.replace("{{", '{{ "{{" }}')


def value_of(expr: str, unit: str) -> str:
    """Template of a query's one value, as it is when the alert is evaluated."""
    value = '{{ . | first | value | printf "%.0f" }}'
    return f"{{{{ with query {_go(expr)} }}}}{value}{{{{ else }}}}?{{{{ end }}}} {unit}"


def each_of(expr: str, label: str) -> str:
    """Template of a query's values, each with what its label says."""
    item = f'{{{{ .Labels.{label} }}}} {{{{ .Value | printf "%.0f" }}}}'
    return f"{{{{ range $i, $s := query {_go(expr)} }}}}{{{{ if $i }}}}, {{{{ end }}}}{item}{{{{ end }}}}"


def _go(text: str) -> str:
    """A string literal of Go's templates. JSON's escapes are Go's too; braces must not end the action."""
    return json.dumps(text).replace("{{", r"{\u007b").replace("}}", r"}\u007d")
