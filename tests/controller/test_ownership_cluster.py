"""Whose a child's fields are, on a real API server: made by one request, and ours to take away later all the same."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notification_operator.naming import FIELD_MANAGER, PIPELINE_LABEL
from tests.cluster import Cluster
from tests.controller.pipelines import apply, condition, eventually, get, manifest, ready, slack_secret
from tests.operator_process import OperatorProcess

WRITES = ("POST", "PATCH", "PUT", "DELETE")


def noted(cluster: Cluster, namespace: str, name: str) -> list[str]:
    """By which operations our manager has set fields."""
    found = get(cluster, namespace, name, "--show-managed-fields")
    return [entry["operation"] for entry in found["metadata"]["managedFields"] if entry["manager"] == FIELD_MANAGER]


def labels_of(cluster: Cluster, namespace: str, name: str) -> dict[str, str]:
    labels: dict[str, str] = get(cluster, namespace, name)["metadata"]["labels"]
    return labels


def annotations_of(cluster: Cluster, namespace: str, name: str) -> dict[str, str]:
    annotations: dict[str, str] = get(cluster, namespace, name)["metadata"]["annotations"]
    return annotations


def test_a_pipeline_takes_one_write_for_each_child(
    cluster: Cluster, namespace: str, booking: dict[str, Any], operator: OperatorProcess
) -> None:
    children = [f"{child['kind'].lower()}/{child['name']}" for child in booking["status"]["children"]]
    assert sorted(f"{kind.lower()}/{name}" for kind, name in map(str.split, operator.applied())) == sorted(children)
    assert [noted(cluster, namespace, name) for name in children] == [["Update"]] * len(children)


def test_what_a_child_was_created_with_goes_when_it_is_no_longer_wanted(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    labels = {"labels": {"release": "kps"}}
    apply(
        cluster,
        namespace,
        manifest(
            monitoring={"serviceMonitor": labels, "prometheusRule": labels}, dashboard={"folder": "Notifications"}
        ),
    )
    ready(cluster, namespace)
    custom, core = ("servicemonitor/booking", "prometheusrule/booking"), "configmap/booking-dashboard"
    for name in custom:
        assert labels_of(cluster, namespace, name)["release"] == "kps"
        assert noted(cluster, namespace, name) == ["Update"]
    assert annotations_of(cluster, namespace, core)["grafana_folder"] == "Notifications"

    apply(cluster, namespace, manifest())

    def gone() -> bool:
        labelled = any("release" in labels_of(cluster, namespace, name) for name in custom)
        return not labelled and "grafana_folder" not in annotations_of(cluster, namespace, core)

    eventually(gone, "neither label nor folder is left")
    for name in (*custom, core):
        assert noted(cluster, namespace, name) == ["Apply"]


def test_taking_the_fields_over_does_not_roll_the_pods(
    cluster: Cluster, namespace: str, booking: dict[str, Any]
) -> None:
    before = get(cluster, namespace, "deployment/booking")["spec"]
    cluster.run_kubectl("-n", namespace, "patch", "deployment", "booking", "-p", '{"spec":{"replicas":3}}')
    eventually(lambda: noted(cluster, namespace, "deployment/booking") == ["Apply"], "the Deployment was applied")
    eventually(lambda: get(cluster, namespace, "deployment/booking")["spec"] == before, "it is as it was")
    assert len(get(cluster, namespace, "replicasets")["items"]) == 1


@pytest.mark.parametrize("labels", [{}, {PIPELINE_LABEL: "booking"}], ids=["unknown to the watch", "with our label"])
def test_nothing_of_somebody_elses_object_changes(
    cluster: Cluster, namespace: str, operator: OperatorProcess, labels: dict[str, str]
) -> None:
    slack_secret(cluster, namespace)
    foreign = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "booking-config", "labels": labels},
        "data": {"mine": "yes"},
    }
    # As if the operator itself had made it: the name of a field manager proves nothing.
    create = ("create", "--field-manager", FIELD_MANAGER, "-f", "-")
    cluster.run_kubectl("-n", namespace, *create, stdin=json.dumps(foreign))
    before = get(cluster, namespace, "configmap/booking-config", "--show-managed-fields")
    apply(cluster, namespace, manifest())

    def conflict() -> bool:
        return bool(condition(get(cluster, namespace, "npl", "booking"), "Ready").get("reason") == "Conflict")

    eventually(conflict, "the conflict is reported")
    tried = operator.requests(*WRITES)
    apply(cluster, namespace, manifest(alerts={}))
    eventually(lambda: get(cluster, namespace, "secret/booking-slack-alerts") is None, "it was looked at again")
    assert operator.requests(*WRITES) > tried
    assert get(cluster, namespace, "configmap/booking-config", "--show-managed-fields") == before
