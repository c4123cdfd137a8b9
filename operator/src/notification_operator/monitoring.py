"""Will a Prometheus pick up what was made for it? The question that `kubectl get servicemonitor` doesn't answer.

prometheus-operator reads a ServiceMonitor only where a Prometheus (or PrometheusAgent) selects both its labels and its
namespace; kube-prometheus-stack selects `release: <name>` by default, so that one made without that label sits there,
and nothing happens. The same holds for a PrometheusRule. `reconcile` puts this module's verdict into the condition
MonitoringSelected. It says Selected, not Scraped: flags and permissions of a Prometheus cannot be seen from here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from notification_operator.pipeline import Pipeline
from notification_operator.selection import MONITOR, RULE, Candidate, Labels, Made, Selects, name_of
from notification_operator.status import Condition, ConditionType, Reason

_KINDS = {"prometheuses": "Prometheus", "prometheusagents": "PrometheusAgent"}


@dataclass(frozen=True, slots=True)
class MonitoringView:
    """What can be seen of the cluster's monitoring."""

    absent: bool
    """The ServiceMonitor API is not installed."""

    prometheuses: Sequence[Mapping[str, Any]] = ()
    """Every Prometheus and PrometheusAgent that is in sight."""

    namespace_labels: Labels | None = None
    """Labels of the pipeline's namespace; None when they may not be read."""

    unseen: str = ""
    """Why there may be others, in a sentence; empty where all are in sight."""

    hidden: str = ""
    """Why the ServiceMonitor is not in sight even if it is there; empty where it would be."""


def judge(pipeline: Pipeline, monitor: Mapping[str, Any], rule: Mapping[str, Any], view: MonitoringView) -> Condition:
    """The condition MonitoringSelected, for a ServiceMonitor and a PrometheusRule as they are in the cluster.

    Each is empty where there is none.
    """
    if not pipeline.spec.monitoring.service_monitor.enabled:
        return _condition("False", Reason.DISABLED, "spec.monitoring.serviceMonitor.enabled is false.")
    if view.absent:
        return _condition(
            "Unknown",
            Reason.MONITORING_API_ABSENT,
            "The cluster has no ServiceMonitor API (prometheus-operator is not installed): scrape the Service "
            f"{pipeline.name} yourself, or install it, and the ServiceMonitor follows.",
        )
    found = _scrape(pipeline, monitor, view)
    evaluators = [one for one in view.prometheuses if (one.get("spec") or {}).get(RULE.selector) is not None]
    candidate = _candidate(RULE, pipeline, rule, view)
    # Those without a selector for rules evaluate none, and leave them to something that cannot be seen: a ThanosRuler.
    if not rule or not evaluators or _selecting(candidate, evaluators):
        return found
    if found.status == "True":
        return _selected_by_none(candidate, evaluators, view, found.message)
    return _condition(found.status, found.reason, f"{found.message} {candidate.advice(evaluators)}")


def _scrape(pipeline: Pipeline, monitor: Mapping[str, Any], view: MonitoringView) -> Condition:
    if bindings := _fresh_bindings(monitor):
        return _by_bindings(bindings)
    if not monitor:
        message = "The ServiceMonitor is not there: ResourcesApplied says why."
        if view.hidden:
            message = f"The ServiceMonitor cannot be seen: {view.hidden}."
        return _condition("Unknown", Reason.SELECTION_UNKNOWN, message)
    candidate = _candidate(MONITOR, pipeline, monitor, view)
    if selecting := _selecting(candidate, view.prometheuses):
        return _condition("True", Reason.SELECTED, f"{name_of(selecting[0])} selects the ServiceMonitor.")
    return _selected_by_none(candidate, view.prometheuses, view)


def _selecting(candidate: Candidate, prometheuses: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [one for one in prometheuses if candidate.selected_by(one) is Selects.YES]


def _selected_by_none(
    candidate: Candidate, prometheuses: Sequence[Mapping[str, Any]], view: MonitoringView, before: str = ""
) -> Condition:
    """None of these surely selects it. False only where nothing can be that isn't known."""
    message = candidate.advice(prometheuses) if prometheuses else "No Prometheus object is in sight."
    if view.unseen or candidate.unsure(prometheuses):
        said = filter(None, (before, message, view.unseen))
        return _condition("Unknown", Reason.SELECTION_UNKNOWN, " ".join(said))
    if not prometheuses:
        message += f" Create one that selects the {candidate.made.kind}."
    return _condition("False", Reason.NO_PROMETHEUS_SELECTS, " ".join(filter(None, (before, message))))


def _candidate(made: Made, pipeline: Pipeline, live: Mapping[str, Any], view: MonitoringView) -> Candidate:
    return Candidate(made, pipeline.namespace, live.get("metadata", {}).get("labels", {}), view.namespace_labels)


@dataclass(frozen=True, slots=True)
class _Binding:
    """What prometheus-operator itself says of a ServiceMonitor and one Prometheus that selects it."""

    prometheus: str
    accepted: bool
    why: str


def _fresh_bindings(monitor: Mapping[str, Any]) -> list[_Binding]:
    """What prometheus-operator says of the ServiceMonitor as it is now, if it is told to say so."""
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


def _condition(status: Any, reason: Reason, message: str) -> Condition:
    return Condition(ConditionType.MONITORING_SELECTED, status, reason, message)
