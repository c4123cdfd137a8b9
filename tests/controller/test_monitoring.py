"""Who selects a ServiceMonitor: Kubernetes' rules for selectors, and the advice where nobody does."""

from __future__ import annotations

from typing import Any

import pytest

from notification_operator.monitoring import MonitoringView, judge, matches
from notification_operator.status import Reason
from tests.controller.pipelines import parsed


def prometheus(**spec: Any) -> dict[str, Any]:
    return {"kind": "Prometheus", "metadata": {"namespace": "monitoring", "name": "kps"}, "spec": spec}


@pytest.mark.parametrize(
    ("selector", "labels", "selected"),
    [
        (None, {"a": "1"}, False),
        ({}, {}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "1", "b": "2"}, True),
        ({"matchLabels": {"a": "1"}}, {"a": "2"}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, {"a": "2"}, True),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1"]}]}, {}, False),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, {}, True),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, {"a": ""}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, {"a": ""}, False),
    ],
)
def test_selectors(selector: dict[str, Any] | None, labels: dict[str, str], selected: bool) -> None:
    assert matches(selector, labels, absent_selects=False) is selected


ALL: dict[str, Any] = {}
VERDICTS = [
    (MonitoringView(True, None, None), Reason.MONITORING_API_ABSENT, "not installed"),
    (MonitoringView(False, None, None), Reason.SELECTION_UNKNOWN, "may not list"),
    (MonitoringView(False, [], None), Reason.NO_PROMETHEUS_SELECTS, "No Prometheus object is in sight"),
    (MonitoringView(False, [prometheus()], None), Reason.NO_PROMETHEUS_SELECTS, "serviceMonitorSelector is not set"),
    (
        MonitoringView(False, [prometheus(serviceMonitorSelector=ALL)], None),
        Reason.NO_PROMETHEUS_SELECTS,
        "does not look into this namespace",
    ),
    (
        MonitoringView(False, [prometheus(serviceMonitorSelector={"matchLabels": {"release": "kps"}})], None),
        Reason.NO_PROMETHEUS_SELECTS,
        "wants the label release: kps; set it in spec.monitoring.serviceMonitor.labels",
    ),
    (
        MonitoringView(False, [prometheus(serviceMonitorSelector=ALL, serviceMonitorNamespaceSelector=ALL)], None),
        Reason.SELECTED,
        "Prometheus monitoring/kps selects",
    ),
    (
        MonitoringView(
            False,
            [prometheus(serviceMonitorSelector=ALL, serviceMonitorNamespaceSelector={"matchLabels": {"team": "a"}})],
            {"team": "a"},
        ),
        Reason.SELECTED,
        "selects",
    ),
]


@pytest.mark.parametrize(("view", "reason", "said"), VERDICTS)
def test_verdicts(view: MonitoringView, reason: Reason, said: str) -> None:
    found = judge(parsed(), {}, view)
    assert found.reason is reason
    assert said in found.message
