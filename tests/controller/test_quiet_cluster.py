"""What controllers write about children and Prometheuses all day long is nothing to reconcile for; what counts is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.controller.pipelines import POSTGRESQL, apply, condition, eventually, get, manifest, ready
from tests.operator_process import OperatorProcess

SCALER = "horizontalpodautoscaler/booking"
BUDGET = "poddisruptionbudget/booking"
PROMETHEUS = "prometheus/kps"
PROMETHEUS_STATUS = {"paused": False, "replicas": 1, "unavailableReplicas": 0, "updatedReplicas": 1}
TIMES = 5


@pytest.fixture
def scaled(cluster: Cluster, namespace: str, operator: OperatorProcess) -> None:
    """A pipeline that is Ready, with an autoscaler, and a Prometheus that selects nothing of it."""
    create = ("create", "secret", "generic", "database", "--from-literal=uri=postgresql://u:p@db/jobs")
    cluster.run_kubectl("-n", namespace, *create)
    selects = {"serviceMonitorSelector": {"matchLabels": {"release": "kps"}}}
    body = {"apiVersion": "monitoring.coreos.com/v1", "kind": "Prometheus", "metadata": {"name": "kps"}}
    cluster.run_kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps({**body, "spec": selects}))
    autoscaling = {"minReplicas": 2, "maxReplicas": 4}
    apply(cluster, namespace, manifest(**POSTGRESQL, autoscaling=autoscaling, alerts={}))
    ready(cluster, namespace)

    def settled() -> bool:
        found = (get(cluster, namespace, name) for name in (SCALER, BUDGET))
        pods = get(cluster, namespace, "deployment/booking")["status"]
        return pods.get("readyReplicas") == pods.get("replicas") == 2 and all(one.get("status") for one in found)

    eventually(settled, "all of it runs", 60)


def patch(cluster: Cluster, namespace: str, name: str, change: dict[str, Any], *options: str) -> None:
    words = ("patch", name, "--type=merge", *options, "-p", json.dumps(change))
    cluster.run_kubectl("-n", namespace, *words)


def test_statuses_that_nobody_reads_cause_no_reconciliation(
    cluster: Cluster, namespace: str, operator: OperatorProcess, scaled: None
) -> None:
    statuses: dict[str, Any] = {
        SCALER: lambda number: {"desiredReplicas": 2, "currentReplicas": number},
        BUDGET: lambda number: {"expectedPods": number},
        PROMETHEUS: lambda number: {**PROMETHEUS_STATUS, "availableReplicas": number},
    }
    before = operator.reconciles()
    for name, status in statuses.items():
        for number in range(TIMES):
            patch(cluster, namespace, name, {"status": status(number)}, "--subresource=status")
    for number in range(TIMES):
        patch(cluster, namespace, PROMETHEUS, {"spec": {"replicas": number + 2}})

    # Each watch tells in order: what it tells of next shows that it has told of all that.
    patch(cluster, namespace, SCALER, {"spec": {"maxReplicas": 9}})
    eventually(lambda: get(cluster, namespace, SCALER)["spec"]["maxReplicas"] == 4, "a hand edit is repaired")
    patch(cluster, namespace, BUDGET, {"metadata": {"labels": {"app.kubernetes.io/managed-by": "me"}}})
    label = "app.kubernetes.io/managed-by"
    eventually(lambda: get(cluster, namespace, BUDGET)["metadata"]["labels"][label] != "me", "and another")
    patch(cluster, namespace, PROMETHEUS, {"spec": {"serviceMonitorSelector": {"matchLabels": None}}})

    def selected() -> bool:
        found = condition(get(cluster, namespace, "npl", "booking"), "MonitoringSelected")
        return bool(found["reason"] == "Selected")

    eventually(selected, "a selector that changed is followed")
    assert before + 3 <= operator.reconciles() <= before + 3 + 2, "a repair can be looked at once more"
