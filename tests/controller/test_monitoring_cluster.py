"""What the operator says of the scrape, with real Prometheus objects and with their API missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster, install_prometheus_crds
from tests.controller.pipelines import apply, condition, events, eventually, get, manifest, ready, slack_secret
from tests.operator_process import OperatorProcess

RULES = "customresourcedefinition/prometheusrules.monitoring.coreos.com"
MONITORS = "customresourcedefinition/servicemonitors.monitoring.coreos.com"


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    # What no Prometheus does can be said only by one that looks at all namespaces.
    with OperatorProcess(cluster, None, tmp_path / "operator.log") as running:
        yield running


def prometheus(cluster: Cluster, namespace: str, *, agent: bool = False, **spec: Any) -> None:
    body = {
        "apiVersion": f"monitoring.coreos.com/{'v1alpha1' if agent else 'v1'}",
        "kind": "PrometheusAgent" if agent else "Prometheus",
        "metadata": {"name": "kps"},
        "spec": spec,
    }
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(body))


def selected(cluster: Cluster, namespace: str, reason: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        found = condition(get(cluster, namespace, "npl", "booking") or {}, "MonitoringSelected")
        return found if found.get("reason") == reason else None

    return eventually(look, f"MonitoringSelected has the reason {reason}", 30)


def test_the_label_that_a_prometheus_asks_for_is_named_and_turns_the_condition(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    prometheus(cluster, namespace, serviceMonitorSelector={"matchLabels": {"release": "kps"}})
    apply(cluster, namespace, manifest())

    said = selected(cluster, namespace, "NoPrometheusSelects")
    assert said["status"] == "False"
    assert f"Prometheus {namespace}/kps wants the label release: kps" in said["message"]
    assert "spec.monitoring.serviceMonitor.labels" in said["message"]
    # Notifications flow without a scrape: it is mentioned, and holds nothing up.
    assert said["message"] in condition(ready(cluster, namespace), "Ready")["message"]

    apply(cluster, namespace, manifest(monitoring={"serviceMonitor": {"labels": {"release": "kps"}}}))
    assert selected(cluster, namespace, "Selected")["status"] == "True"

    release = {"matchLabels": {"release": "kps"}}
    prometheus(cluster, namespace, serviceMonitorSelector=release, ruleSelector=release)
    said = selected(cluster, namespace, "NoPrometheusSelects")
    assert "No Prometheus selects the PrometheusRule" in said["message"]
    assert "spec.monitoring.prometheusRule.labels" in said["message"]
    both = {"serviceMonitor": {"labels": {"release": "kps"}}, "prometheusRule": {"labels": {"release": "kps"}}}
    apply(cluster, namespace, manifest(monitoring=both))
    assert selected(cluster, namespace, "Selected")["status"] == "True"

    prometheus(cluster, namespace, serviceMonitorSelector={"matchLabels": {"release": "other"}})
    selected(cluster, namespace, "NoPrometheusSelects")

    apply(cluster, namespace, manifest(monitoring={"serviceMonitor": {"enabled": False}}))
    selected(cluster, namespace, "Disabled")


def test_an_agent_that_selects_it_will_do(cluster: Cluster, namespace: str, operator: OperatorProcess) -> None:
    slack_secret(cluster, namespace)
    prometheus(cluster, namespace, serviceMonitorSelector={"matchLabels": {"release": "other"}})
    apply(cluster, namespace, manifest())
    selected(cluster, namespace, "NoPrometheusSelects")
    prometheus(cluster, namespace, agent=True, serviceMonitorSelector={})
    said = selected(cluster, namespace, "Selected")
    assert said["message"] == f"PrometheusAgent {namespace}/kps selects the ServiceMonitor."


def bind(cluster: Cluster, namespace: str, generation: int, status: str) -> None:
    """Say of the ServiceMonitor what prometheus-operator would."""
    accepted = {
        "type": "Accepted",
        "status": status,
        "message": "" if status == "True" else "it has no such scrape class",
        "observedGeneration": generation,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    whose = {"group": "monitoring.coreos.com", "resource": "prometheuses", "namespace": namespace, "name": "kps"}
    patch = json.dumps({"status": {"bindings": [{**whose, "conditions": [accepted]}]}})
    where = ("-n", namespace, "patch", "servicemonitor/booking", "--subresource=status", "--type=merge")
    cluster.run_kubectl(*where, "-p", patch)


def test_what_prometheus_operator_says_itself_is_believed_until_the_monitor_changes(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    prometheus(cluster, namespace, serviceMonitorSelector={"matchLabels": {"release": "kps"}})
    apply(cluster, namespace, manifest())
    selected(cluster, namespace, "NoPrometheusSelects")
    generation = get(cluster, namespace, "servicemonitor/booking")["metadata"]["generation"]

    bind(cluster, namespace, generation, "False")
    said = selected(cluster, namespace, "Rejected")
    assert f"Prometheus {namespace}/kps refuses it: it has no such scrape class" in said["message"]
    bind(cluster, namespace, generation, "True")
    assert selected(cluster, namespace, "Selected")["status"] == "True"

    apply(cluster, namespace, manifest(monitoring={"serviceMonitor": {"scrapeClass": "mutual-tls"}}))
    selected(cluster, namespace, "NoPrometheusSelects")


def test_a_prometheus_out_of_sight_may_select_it(cluster: Cluster, namespace: str, tmp_path: Path) -> None:
    slack_secret(cluster, namespace)
    with OperatorProcess(cluster, namespace, tmp_path / "operator.log"):
        apply(cluster, namespace, manifest())
        said = selected(cluster, namespace, "SelectionUnknown")
        assert said["status"] == "Unknown"
        assert f"The operator looks at no other namespace than {namespace}" in said["message"]
        assert said["message"] not in condition(ready(cluster, namespace), "Ready")["message"]

        prometheus(cluster, namespace, serviceMonitorSelector={"matchLabels": {"release": "kps"}})
        eventually(
            lambda: "wants the label release: kps" in selected(cluster, namespace, "SelectionUnknown")["message"],
            "what one in sight lacks is said all the same",
        )
        prometheus(cluster, namespace, serviceMonitorSelector={})
        selected(cluster, namespace, "Selected")
        assert "NoPrometheusSelects" not in [event["reason"] for event in events(cluster, namespace)]


def test_without_a_servicemonitor_nothing_selects_it(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    prometheus(cluster, namespace, serviceMonitorSelector={})
    foreign = {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": "booking"},
        "spec": {"selector": {}, "endpoints": []},
    }
    cluster.run_kubectl("-n", namespace, "create", "-f", "-", stdin=json.dumps(foreign))
    apply(cluster, namespace, manifest())
    assert "is not there" in selected(cluster, namespace, "SelectionUnknown")["message"]
    cluster.run_kubectl("-n", namespace, "delete", "servicemonitor", "booking")
    selected(cluster, namespace, "Selected")

    # A new pipeline's is there by the time it is judged: nothing comes and goes.
    apply(cluster, namespace, manifest("second", alerts={}))
    ready(cluster, namespace, "second")
    found = condition(get(cluster, namespace, "npl", "second"), "MonitoringSelected")
    assert found["reason"] == "Selected"
    told = [one for one in events(cluster, namespace) if one["regarding"]["name"] == "second"]
    assert not [one for one in told if one["action"] == "MonitoringSelected"]


def test_alertmanagers_mode_without_rules_is_no_alerting(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    def told(reason: str) -> dict[str, Any] | None:
        found = condition(get(cluster, namespace, "npl", "booking") or {}, "AlertingConfigured")
        return found if found.get("reason") == reason else None

    apply(cluster, namespace, manifest(alerts={"mode": "Alertmanager"}))
    message = eventually(lambda: told("Configured"), "Alertmanager is told", 30)["message"]
    assert "by the PrometheusRule booking" in message
    assert get(cluster, namespace, "secret/booking-slack-alerts") is None
    try:
        cluster.run_kubectl("delete", RULES, "--timeout=60s")
        eventually(lambda: told("MonitoringAPIAbsent"), "without the API nobody is told", 30)
        pipeline = get(cluster, namespace, "npl", "booking")
        assert condition(pipeline, "Ready")["status"] == "False"
    finally:
        install_prometheus_crds(cluster)
    eventually(lambda: told("Configured"), "Alertmanager is told again", 30)


def test_without_the_api_the_rest_works_and_it_is_taken_up_when_it_comes(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    slack_secret(cluster, namespace)
    apply(cluster, namespace, manifest())
    ready(cluster, namespace)
    try:
        cluster.run_kubectl("delete", MONITORS, "--timeout=60s")
        assert selected(cluster, namespace, "MonitoringAPIAbsent")["status"] == "Unknown"
        pipeline = ready(cluster, namespace)
        states = {child["kind"]: child["state"] for child in pipeline["status"]["children"]}
        assert states["ServiceMonitor"] == "Unavailable"
        assert states["PrometheusRule"] == "Applied"
    finally:
        install_prometheus_crds(cluster)
    eventually(lambda: get(cluster, namespace, "servicemonitor/booking"), "the ServiceMonitor follows its API", 30)
    selected(cluster, namespace, "NoPrometheusSelects")
