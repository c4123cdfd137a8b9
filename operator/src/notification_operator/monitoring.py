"""Will a Prometheus pick up what was made for it? The question that `kubectl get servicemonitor` doesn't answer.

prometheus-operator reads a ServiceMonitor only where a Prometheus (or PrometheusAgent) selects both its labels and its
namespace; kube-prometheus-stack selects `release: <name>` by default, so that one made without that label sits there,
and nothing happens. `reconcile` puts this module's verdict into the condition MonitoringSelected. It says Selected, not
Scraped: flags and permissions of a Prometheus cannot be seen from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from notification_operator.pipeline import Pipeline
from notification_operator.status import Condition, ConditionType, Reason

Labels = Mapping[str, str]

_KINDS = {"prometheuses": "Prometheus", "prometheusagents": "PrometheusAgent"}


@dataclass(frozen=True, slots=True)
class MonitoringView:
    """What can be seen of the cluster's monitoring."""

    absent: bool
    """The ServiceMonitor API is not installed."""

    prometheuses: Sequence[Mapping[str, Any]] | None
    """Every Prometheus and PrometheusAgent; None when they may not be read."""

    namespace_labels: Labels | None
    """Labels of the pipeline's namespace; None when they may not be read."""


def judge(pipeline: Pipeline, monitor: Mapping[str, Any], view: MonitoringView) -> Condition:
    """The condition MonitoringSelected for a ServiceMonitor as it is in the cluster; empty while there is none."""
    if not pipeline.spec.monitoring.service_monitor.enabled:
        return _condition("False", Reason.DISABLED, "spec.monitoring.serviceMonitor.enabled is false.")
    if view.absent:
        return _condition(
            "Unknown",
            Reason.MONITORING_API_ABSENT,
            "The cluster has no ServiceMonitor API (prometheus-operator is not installed): scrape the Service "
            f"{pipeline.name} yourself, or install it, and the ServiceMonitor follows.",
        )
    if bindings := _fresh_bindings(monitor):
        return _by_bindings(bindings)
    if view.prometheuses is None:
        return _condition(
            "Unknown",
            Reason.SELECTION_UNKNOWN,
            "The operator may not list Prometheus objects, so it cannot tell whether one selects the ServiceMonitor.",
        )
    labels = monitor.get("metadata", {}).get("labels", {})
    for prometheus in view.prometheuses:
        if _selects(prometheus, pipeline.namespace, labels, view.namespace_labels):
            metadata = prometheus["metadata"]
            return _condition(
                "True",
                Reason.SELECTED,
                f"{prometheus['kind']} {metadata['namespace']}/{metadata['name']} selects the ServiceMonitor.",
            )
    return _condition("False", Reason.NO_PROMETHEUS_SELECTS, _advice(view.prometheuses, labels))


@dataclass(frozen=True, slots=True)
class _Binding:
    """What prometheus-operator itself says of a ServiceMonitor and one Prometheus that selects it."""

    prometheus: str
    accepted: bool
    why: str


def _fresh_bindings(monitor: Mapping[str, Any]) -> list[_Binding]:
    """What prometheus-operator says of the ServiceMonitor as it is now; it says so since 0.86, if it is told to."""
    generation = monitor.get("metadata", {}).get("generation")
    return [
        _Binding(
            f"{_KINDS.get(binding['resource'], binding['resource'])} {binding['namespace']}/{binding['name']}",
            accepted=condition["status"] == "True",
            why=condition.get("message") or condition.get("reason") or "it does not say why",
        )
        for binding in (monitor.get("status") or {}).get("bindings") or ()
        for condition in binding.get("conditions") or ()
        if condition["type"] == "Accepted" and condition.get("observedGeneration") == generation
    ]


def _by_bindings(bindings: Sequence[_Binding]) -> Condition:
    refused = "; ".join(f"{one.prometheus} refuses it: {one.why}" for one in bindings if not one.accepted)
    accepted = [one.prometheus for one in bindings if one.accepted]
    if not accepted:
        return _condition("False", Reason.REJECTED, f"The ServiceMonitor is selected, and not taken: {refused}.")
    message = f"{', '.join(accepted)} has accepted the ServiceMonitor."
    return _condition("True", Reason.SELECTED, f"{message} But {refused}." if refused else message)


def looks_at_namespace(prometheus: Mapping[str, Any]) -> bool:
    """Whether its choice depends on the labels of a namespace."""
    return bool((prometheus.get("spec") or {}).get("serviceMonitorNamespaceSelector"))


def matches(selector: Mapping[str, Any] | None, labels: Labels | None, *, absent_selects: bool) -> bool:
    """A Kubernetes label selector: null is `absent_selects`, `{}` selects everything.

    Labels that may not be read (None) count as matching only where the selector doesn't look at them.
    """
    if selector is None:
        return absent_selects
    known = labels or {}
    wanted = (selector.get("matchLabels") or {}).items()
    return all(known.get(key) == value for key, value in wanted) and all(
        _expression(expression, known) for expression in selector.get("matchExpressions") or ()
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


def _selects(prometheus: Mapping[str, Any], namespace: str, labels: Labels, namespace_labels: Labels | None) -> bool:
    spec = prometheus.get("spec") or {}
    own_namespace = prometheus["metadata"]["namespace"] == namespace
    return matches(spec.get("serviceMonitorSelector"), labels, absent_selects=False) and matches(
        spec.get("serviceMonitorNamespaceSelector"), namespace_labels, absent_selects=own_namespace
    )


def _advice(prometheuses: Sequence[Mapping[str, Any]], labels: Labels) -> str:
    if not prometheuses:
        return "No Prometheus object is in sight: create one that selects the ServiceMonitor."
    found = []
    for prometheus in prometheuses:
        selector = (prometheus.get("spec") or {}).get("serviceMonitorSelector")
        metadata = prometheus["metadata"]
        name = f"{prometheus['kind']} {metadata['namespace']}/{metadata['name']}"
        missing = {
            key: value for key, value in ((selector or {}).get("matchLabels") or {}).items() if labels.get(key) != value
        }
        if missing:
            wanted = ", ".join(f"{key}: {value}" for key, value in sorted(missing.items()))
            found.append(f"{name} wants the label {wanted}; set it in spec.monitoring.serviceMonitor.labels")
        elif selector is None:
            found.append(f"{name} selects no ServiceMonitor at all (serviceMonitorSelector is not set)")
        elif not matches(selector, labels, absent_selects=False):
            found.append(f"{name} asks for other labels (see its serviceMonitorSelector)")
        else:
            found.append(f"{name} does not look into this namespace (see its serviceMonitorNamespaceSelector)")
    return f"No Prometheus selects the ServiceMonitor: {'; '.join(sorted(found))}."


def _condition(status: Any, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.MONITORING_SELECTED, status, reason, message)
