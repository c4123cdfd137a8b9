"""Label selectors: which Prometheus picks up an object that was made for it, and what it lacks where none does.

`monitoring` asks for ServiceMonitors and PrometheusRules. Selectors are Kubernetes' own: null selects what the caller
says, `{}` selects everything.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

import msgspec

Labels = Mapping[str, str]
Prometheus = Mapping[str, Any]


class Selects(Enum):
    """Whether a Prometheus picks an object up."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "it goes by labels that may not be read"


@dataclass(frozen=True, slots=True)
class Made:
    """A kind of object that a Prometheus selects, by the fields of the Prometheus that do so."""

    kind: str
    selector: str
    namespace_selector: str
    field: str
    """Where in a pipeline's spec its labels are set."""


MONITOR = Made(
    "ServiceMonitor", "serviceMonitorSelector", "serviceMonitorNamespaceSelector", "monitoring.serviceMonitor.labels"
)
RULE = Made("PrometheusRule", "ruleSelector", "ruleNamespaceSelector", "monitoring.prometheusRule.labels")


@dataclass(frozen=True, slots=True)
class Candidate:
    """One such object."""

    made: Made
    namespace: str
    labels: Labels
    namespace_labels: Labels | None
    """Labels of its namespace; None when they may not be read."""

    def selected_by(self, prometheus: Prometheus) -> Selects:
        """Whether this Prometheus picks it up."""
        spec = prometheus.get("spec") or {}
        if not matches(spec.get(self.made.selector), self.labels, absent_selects=False):
            return Selects.NO
        namespaces = spec.get(self.made.namespace_selector)
        if self.namespace_labels is None and _looks(namespaces):
            return Selects.UNKNOWN
        own_namespace = prometheus["metadata"]["namespace"] == self.namespace
        found = matches(namespaces, self.namespace_labels or {}, absent_selects=own_namespace)
        return Selects.YES if found else Selects.NO

    def advice(self, prometheuses: Sequence[Prometheus]) -> str:
        """Why none of these picks it up, as far as can be known, and what to do."""
        found = "; ".join(sorted(f"{name_of(one)} {self._lack(one)}" for one in prometheuses))
        selects = "is known to select" if self.unsure(prometheuses) else "selects"
        return f"No Prometheus {selects} the {self.made.kind}: {found}."

    def unsure(self, prometheuses: Sequence[Prometheus]) -> bool:
        """Whether one of these may pick it up."""
        return any(self.selected_by(one) is Selects.UNKNOWN for one in prometheuses)

    def _lack(self, prometheus: Prometheus) -> str:
        selector = (prometheus.get("spec") or {}).get(self.made.selector)
        wanted = ((selector or {}).get("matchLabels") or {}).items()
        if missing := sorted(f"{key}: {value}" for key, value in wanted if self.labels.get(key) != value):
            return f"wants the label {', '.join(missing)}; set it in spec.{self.made.field}"
        if selector is None:
            return f"selects no {self.made.kind} at all ({self.made.selector} is not set)"
        if not matches(selector, self.labels, absent_selects=False):
            return f"asks for other labels (see its {self.made.selector})"
        if self.selected_by(prometheus) is Selects.UNKNOWN:
            return (
                f"goes by this namespace's labels, which the operator may not read (see its "
                f"{self.made.namespace_selector})"
            )
        return f"does not look into this namespace (see its {self.made.namespace_selector})"


class _Metadata(msgspec.Struct, frozen=True, rename="camel"):
    name: str
    namespace: str
    uid: str
    resource_version: str


class _Spec(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    service_monitor_selector: dict[str, Any] | None = None
    service_monitor_namespace_selector: dict[str, Any] | None = None
    rule_selector: dict[str, Any] | None = None
    rule_namespace_selector: dict[str, Any] | None = None


class _Selectors(msgspec.Struct, frozen=True):
    metadata: _Metadata
    spec: _Spec = _Spec()


def trimmed(content: bytes) -> bytes:
    """The JSON of a Prometheus, without what no choice depends on: its status changes all the time."""
    return msgspec.json.encode(msgspec.json.decode(content, type=_Selectors))


def name_of(prometheus: Prometheus) -> str:
    """A Prometheus' name for people."""
    metadata = prometheus["metadata"]
    return f"{prometheus['kind']} {metadata['namespace']}/{metadata['name']}"


def looks_at_namespace(prometheus: Prometheus) -> bool:
    """Whether its choice depends on the labels of a namespace."""
    spec = prometheus.get("spec") or {}
    return any(_looks(spec.get(made.namespace_selector)) for made in (MONITOR, RULE))


def _looks(selector: Mapping[str, Any] | None) -> bool:
    """Whether a selector's choice depends on any label."""
    return any((selector or {}).get(part) for part in ("matchLabels", "matchExpressions"))


def matches(selector: Mapping[str, Any] | None, labels: Labels, *, absent_selects: bool) -> bool:
    """A Kubernetes label selector: null is `absent_selects`, `{}` selects everything."""
    if selector is None:
        return absent_selects
    wanted = (selector.get("matchLabels") or {}).items()
    return all(labels.get(key) == value for key, value in wanted) and all(
        _expression(expression, labels) for expression in selector.get("matchExpressions") or ()
    )


def _expression(expression: Mapping[str, Any], labels: Labels) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels
