"""The operator as a process against a real API server: what a person sees who applies, edits, breaks and deletes."""

from __future__ import annotations

import base64
import json
import time
from pathlib import Path
from typing import Any

import pytest

from notification_operator.resources import deployment
from notification_operator.resources.base import Context
from tests.cluster import Cluster
from tests.controller import pipelines
from tests.controller.pipelines import (
    PERSISTENT,
    POSTGRESQL,
    SHAPED,
    apply,
    condition,
    eventually,
    get,
    manifest,
    ready,
    slack_secret,
)
from tests.operator_process import OperatorProcess

WRITES = ("POST", "PATCH", "PUT", "DELETE")
CHILDREN = (
    "serviceaccount/booking",
    "configmap/booking-config",
    "secret/booking-slack-alerts",
    "service/booking",
    "deployment/booking",
    "servicemonitor/booking",
    "prometheusrule/booking",
    "configmap/booking-dashboard",
)

EDITS: dict[str, Any] = {
    "serviceaccount/booking": {"automountServiceAccountToken": True},
    "configmap/booking-config": {"data": {"NOTIFICATION_ALERT_FAILURE_THRESHOLD": "1"}},
    "secret/booking-slack-alerts": {"data": {"SLACK_ALERT_WEBHOOK_URL": base64.b64encode(b"http://evil").decode()}},
    "service/booking": {"spec": {"selector": {"app.kubernetes.io/instance": "other"}}},
    "deployment/booking": {"spec": {"replicas": 7}},
    "servicemonitor/booking": {"metadata": {"labels": {"notifications.plannivo.io/pipeline": None}}},
    "prometheusrule/booking": {"spec": {"groups": []}},
    "configmap/booking-dashboard": {"metadata": {"labels": {"grafana_dashboard": "0"}}},
}


ADDED: dict[str, Any] = {
    "service/booking": {"spec": {"selector": {"tier": "front"}}},
    "servicemonitor/booking": {"spec": {"selector": {"matchLabels": {"tier": "front"}}}},
}
"""One label more selects nothing."""


def spec_of(found: dict[str, Any]) -> Any:
    """What a hand can change of an object."""
    metadata = {key: found["metadata"].get(key) for key in ("labels", "annotations", "ownerReferences")}
    return metadata, {key: value for key, value in found.items() if key not in ("metadata", "status")}


def undone(cluster: Cluster, namespace: str, name: str, edit: dict[str, Any]) -> dict[str, Any]:
    """Edit an object by hand, and wait until it is as it was before. Returns that."""
    before: dict[str, Any] = get(cluster, namespace, name)
    cluster.run_kubectl("-n", namespace, "patch", name, "--type", "merge", "-p", json.dumps(edit))
    eventually(
        lambda: spec_of(get(cluster, namespace, name)) == spec_of(before), f"{name} is as it was before the edit", 5
    )
    return before


def test_a_pipeline_becomes_its_children(cluster: Cluster, namespace: str, booking: dict[str, Any]) -> None:
    for name in CHILDREN:
        owners = get(cluster, namespace, name)["metadata"]["ownerReferences"]
        assert [owner["uid"] for owner in owners] == [booking["metadata"]["uid"]], name
    listed = {f"{child['kind'].lower()}/{child['name']}" for child in booking["status"]["children"]}
    assert listed == set(CHILDREN)
    assert {child["state"] for child in booking["status"]["children"]} == {"Applied"}
    assert booking["status"]["endpoint"] == f"http://booking.{namespace}.svc:4000"
    assert "annotations" not in booking["metadata"] or not any(
        "kopf" in key for key in booking["metadata"]["annotations"]
    )
    assert "finalizers" not in booking["metadata"]
    printed = cluster.run_kubectl("-n", namespace, "get", "npl").splitlines()
    assert printed[0].split() == ["NAME", "READY", "ENGINE", "ALERTS", "SCRAPED", "REASON", "AGE"]
    assert printed[1].split()[:6] == [*("booking", "1/1", "Embedded", "Configured", "SelectionUnknown", "Ready")]


@pytest.mark.parametrize("name", CHILDREN)
def test_a_child_deleted_or_edited_by_hand_is_back_within_five_seconds(
    cluster: Cluster, namespace: str, booking: dict[str, Any], name: str
) -> None:
    before = undone(cluster, namespace, name, EDITS[name])

    cluster.run_kubectl("-n", namespace, "delete", name, "--wait=false")

    def back() -> bool:
        found = get(cluster, namespace, name)
        return found is not None and found["metadata"]["uid"] != before["metadata"]["uid"]

    eventually(back, f"{name} is back after its deletion", 5)


@pytest.mark.parametrize("name", ADDED)
def test_a_label_that_a_hand_adds_to_a_selector_is_taken_out(
    cluster: Cluster, namespace: str, booking: dict[str, Any], name: str
) -> None:
    undone(cluster, namespace, name, ADDED[name])


def test_deleting_a_pipeline_with_the_operator_stopped_leaves_nothing(
    cluster: Cluster, namespace: str, booking: dict[str, Any], operator: OperatorProcess
) -> None:
    assert operator.stop() == 0
    cluster.run_kubectl("-n", namespace, "delete", "npl", "booking", "--timeout=20s")

    def gone() -> bool:
        return not any(get(cluster, namespace, name) for name in CHILDREN)

    eventually(gone, "no child is left", 60)


def test_nothing_is_written_in_a_steady_state_nor_after_a_restart(
    cluster: Cluster, namespace: str, booking: dict[str, Any], operator: OperatorProcess
) -> None:
    eventually(lambda: get(cluster, namespace, "deployment/booking")["status"].get("readyReplicas") == 1, "pods run")
    before = operator.requests(*WRITES)
    # Nothing can be awaited: it is the absence of something that is looked for.
    time.sleep(5)
    assert operator.requests(*WRITES) == before

    operator.stop()
    operator.start()
    eventually(lambda: operator.requests("GET") > 8, "the pipeline was looked at again")
    time.sleep(2)
    assert operator.requests(*WRITES) == 0


def test_a_status_edited_by_hand_is_written_again(cluster: Cluster, namespace: str, booking: dict[str, Any]) -> None:
    patch = ("patch", "npl", "booking", "--subresource=status", "--type=merge", "-p", '{"status":{"endpoint":"x"}}')
    cluster.run_kubectl("-n", namespace, *patch)
    endpoint = booking["status"]["endpoint"]
    eventually(
        lambda: get(cluster, namespace, "npl", "booking")["status"]["endpoint"] == endpoint, "it is as it was", 5
    )


def test_a_threshold_reaches_the_settings_without_touching_the_pods(
    cluster: Cluster, namespace: str, booking: dict[str, Any]
) -> None:
    generation = get(cluster, namespace, "deployment/booking")["metadata"]["generation"]
    expected = {
        "NOTIFICATION_ALERT_FAILURE_THRESHOLD": "7",
        "NOTIFICATION_ALERT_FAILURE_WINDOW_MS": "5400000",
        "NOTIFICATION_ALERT_LATENCY_THRESHOLD_MS": "250",
    }
    alerts = {"failureThreshold": 7, "failureWindow": "1h30m", "latencyThreshold": "250ms"}
    cluster.run_kubectl(
        "-n", namespace, "patch", "npl", "booking", "--type", "merge", "-p", json.dumps({"spec": {"alerts": alerts}})
    )

    def changed() -> bool:
        data = get(cluster, namespace, "configmap/booking-config")["data"]
        return bool(expected.items() <= data.items())

    eventually(changed, "the ConfigMap has the new thresholds")
    ready(cluster, namespace)
    assert get(cluster, namespace, "deployment/booking")["metadata"]["generation"] == generation


def test_a_missing_secret_is_named_and_heals(cluster: Cluster, namespace: str, operator: OperatorProcess) -> None:
    apply(cluster, namespace, manifest())

    def alerting(reason: str) -> dict[str, Any] | None:
        found = condition(get(cluster, namespace, "npl", "booking"), "AlertingConfigured")
        return found if found.get("reason") == reason else None

    missing = eventually(lambda: alerting("SecretNotFound"), "the missing Secret is a condition")
    assert "slack" in missing["message"]
    assert "alerts.slack.webhookSecretRef" in missing["message"]
    assert get(cluster, namespace, "deployment/booking"), "the rest of the pipeline works"

    cluster.run_kubectl("-n", namespace, "create", "secret", "generic", "slack", "--from-literal=other=x")
    assert "no key url" in eventually(lambda: alerting("SecretKeyMissing"), "the missing key is named")["message"]

    spaced = json.dumps({"stringData": {"url": "https://hooks.slack.example/services/ spaced"}})
    cluster.run_kubectl("-n", namespace, "patch", "secret", "slack", "-p", spaced)
    wrong = eventually(lambda: alerting("SecretInvalid"), "a value that the dispatcher would refuse is named")[
        "message"
    ]
    assert "the key url of the Secret slack must be an http:// or https:// URL" in wrong
    assert "spaced" not in wrong

    cluster.run_kubectl("-n", namespace, "delete", "secret", "slack")
    slack_secret(cluster, namespace)
    ready(cluster, namespace)


def test_a_rotated_secret_follows_within_five_seconds(
    cluster: Cluster, namespace: str, booking: dict[str, Any]
) -> None:
    rotated = base64.b64encode(b"https://hooks.slack.example/services/rotated").decode()
    cluster.run_kubectl("-n", namespace, "patch", "secret", "slack", "-p", json.dumps({"data": {"url": rotated}}))

    def followed() -> bool:
        data = get(cluster, namespace, "secret/booking-slack-alerts")["data"]
        return bool(data["SLACK_ALERT_WEBHOOK_URL"] == rotated)

    eventually(followed, "the mounted Secret has the new URL", 5)


def test_what_is_no_longer_wanted_goes(cluster: Cluster, namespace: str, booking: dict[str, Any]) -> None:
    labelled = manifest(
        monitoring={"serviceMonitor": {"labels": {"release": "kps"}}}, dashboard={"folder": "Notifications"}
    )
    apply(cluster, namespace, labelled)
    monitor, board = "servicemonitor/booking", "configmap/booking-dashboard"
    eventually(lambda: get(cluster, namespace, monitor)["metadata"]["labels"].get("release") == "kps", "labelled")

    def folder() -> Any:
        return get(cluster, namespace, board)["metadata"]["annotations"].get("grafana_folder")

    eventually(lambda: folder() == "Notifications", "the board has its folder")

    bare = manifest(monitoring={"prometheusRule": {"enabled": False}}, alerts={})
    apply(cluster, namespace, bare)
    eventually(lambda: "release" not in get(cluster, namespace, monitor)["metadata"]["labels"], "the label is gone")
    eventually(lambda: folder() is None, "the folder is gone")
    eventually(lambda: get(cluster, namespace, "prometheusrule/booking") is None, "the rules are gone")
    eventually(lambda: get(cluster, namespace, "secret/booking-slack-alerts") is None, "the Secret is gone")


def test_somebody_elses_object_is_never_touched(cluster: Cluster, namespace: str, operator: OperatorProcess) -> None:
    slack_secret(cluster, namespace)
    cluster.run_kubectl("-n", namespace, "create", "configmap", "booking-config", "--from-literal=mine=yes")
    before = get(cluster, namespace, "configmap/booking-config")
    apply(cluster, namespace, manifest())

    def conflict() -> dict[str, Any] | None:
        found = condition(get(cluster, namespace, "npl", "booking"), "Ready")
        return found if found.get("reason") == "Conflict" else None

    assert "booking-config" in eventually(conflict, "the conflict is reported")["message"]
    assert get(cluster, namespace, "configmap/booking-config") == before
    assert get(cluster, namespace, "deployment/booking"), "the rest is there"

    cluster.run_kubectl("-n", namespace, "delete", "configmap", "booking-config")
    ready(cluster, namespace)


def test_a_pipeline_made_again_under_its_name_gets_children_of_its_own(
    cluster: Cluster, namespace: str, booking: dict[str, Any]
) -> None:
    cluster.run_kubectl("-n", namespace, "delete", "npl", "booking", "--wait=false")
    apply(cluster, namespace, manifest())

    def own() -> bool:
        pipeline = get(cluster, namespace, "npl", "booking")
        if pipeline is None or pipeline["metadata"]["uid"] == booking["metadata"]["uid"]:
            return False
        owners = [get(cluster, namespace, name) for name in CHILDREN]
        return all(
            found is not None and found["metadata"]["ownerReferences"][0]["uid"] == pipeline["metadata"]["uid"]
            for found in owners
        )

    eventually(own, "every child belongs to the new pipeline", 60)
    ready(cluster, namespace)


def test_a_paused_pipeline_is_left_alone(cluster: Cluster, namespace: str, booking: dict[str, Any]) -> None:
    cluster.run_kubectl("-n", namespace, "patch", "npl", "booking", "--type", "merge", "-p", '{"spec":{"paused":true}}')
    eventually(
        lambda: condition(get(cluster, namespace, "npl", "booking"), "Ready").get("reason") == "Paused", "it says so"
    )
    cluster.run_kubectl("-n", namespace, "delete", "service", "booking")
    time.sleep(2)
    assert get(cluster, namespace, "service/booking") is None

    # That nothing is changed doesn't mean that nothing is seen.
    cluster.run_kubectl("-n", namespace, "scale", "deployment/booking", "--replicas=0")
    paused = eventually(
        lambda: (found := get(cluster, namespace, "npl", "booking"))["status"]["ready"] == "0/0" and found,
        "none is left",
    )
    assert condition(paused, "DispatcherAvailable")["reason"] == "ScaledToZero"
    assert paused["status"]["endpoint"]

    cluster.run_kubectl(
        "-n", namespace, "patch", "npl", "booking", "--type", "merge", "-p", '{"spec":{"paused":false}}'
    )
    ready(cluster, namespace)
    assert get(cluster, namespace, "service/booking")


def test_a_restart_after_a_kill_repairs_what_was_missed(
    cluster: Cluster, namespace: str, booking: dict[str, Any], operator: OperatorProcess
) -> None:
    operator.kill()
    cluster.run_kubectl("-n", namespace, "delete", "service", "booking")
    cluster.run_kubectl("-n", namespace, "patch", "deployment", "booking", "-p", '{"spec":{"replicas":3}}')
    operator.start()
    eventually(lambda: get(cluster, namespace, "service/booking"), "the Service is back", 5)
    eventually(lambda: get(cluster, namespace, "deployment/booking")["spec"]["replicas"] == 1, "one replica", 5)


@pytest.mark.parametrize("level", ["info", "debug"])
def test_the_slack_url_is_nowhere_but_in_the_secrets(
    cluster: Cluster, namespace: str, tmp_path: Path, level: str
) -> None:
    canary = "sUp3rS3cr3tCanary"
    encoded = base64.b64encode(canary.encode()).decode().rstrip("=")
    log = tmp_path / "operator.log"
    with OperatorProcess(cluster, namespace, log, level=level):
        slack_secret(cluster, namespace, f"https://hooks.slack.example/services/{canary}")
        apply(cluster, namespace, manifest())
        ready(cluster, namespace)
        assert canary.encode() in base64.b64decode(
            get(cluster, namespace, "secret/booking-slack-alerts")["data"]["SLACK_ALERT_WEBHOOK_URL"]
        )
        kinds = "npl,events,serviceaccounts,configmaps,services,deployments,pods,servicemonitors,prometheusrules"
        objects = cluster.run_kubectl("-n", namespace, "get", kinds, "-o", "yaml", "--show-managed-fields")
        secrets = [one["metadata"] for one in get(cluster, namespace, "secrets")["items"]]
    for place, text in {"log": log.read_text(), "objects": objects, "Secrets' metadata": json.dumps(secrets)}.items():
        assert len(text) > 100, place
        assert canary not in text, place
        assert encoded not in text, place


@pytest.mark.parametrize("spec", [{}, SHAPED, PERSISTENT, POSTGRESQL], ids=["least", "shaped", "volume", "database"])
def test_pods_pass_the_restricted_standard(cluster: Cluster, namespace: str, spec: dict[str, Any]) -> None:
    cluster.run_kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=restricted")
    made = deployment.build(pipelines.parsed(namespace=namespace, **spec), Context("image"))
    template = made["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe", **template["metadata"]}}
    pod["spec"] = {**template["spec"], "serviceAccountName": "default"}
    cluster.run_kubectl("-n", namespace, "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))
