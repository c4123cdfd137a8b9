"""The builders: pure functions from a pipeline to its children."""

from __future__ import annotations

import json
from typing import Any

import pytest

from notification_dispatcher.pipeline import Routing
from notification_dispatcher.variables import ROUTING_FILE, Variable
from notification_operator import naming
from notification_operator.resources import CHILDREN, Child, desired
from notification_operator.resources.base import Context
from tests.controller.pipelines import parsed

CONTEXT = Context("image:1", slack_alerts={"SLACK_ALERT_WEBHOOK_URL": b"https://x"}, credentials={"team.x": b"y"})


@pytest.mark.parametrize("child", CHILDREN, ids=lambda child: f"{child.kind.name}-{child.name('x')}")
def test_a_builder_is_pure(child: Child) -> None:
    pipeline = parsed()
    first, second = child.build(pipeline, CONTEXT), child.build(pipeline, CONTEXT)
    assert first == second
    assert first is not None
    assert second is not None
    first["metadata"]["labels"]["scribbled"] = "on"
    first["metadata"]["ownerReferences"].clear()
    assert child.build(pipeline, CONTEXT) == second


@pytest.mark.parametrize("child", CHILDREN, ids=lambda child: f"{child.kind.name}-{child.name('x')}")
def test_every_child_is_named_labelled_and_owned(child: Child) -> None:
    built = child.build(parsed(), CONTEXT)
    assert built is not None
    metadata = built["metadata"]
    assert metadata["name"] == child.name("booking")
    assert metadata["labels"][naming.PIPELINE_LABEL] == "booking"
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "notification-operator"
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["uid-of-booking"]


def test_no_two_pipelines_children_share_a_name() -> None:
    suffixes = ("", "-config", "-dashboard", "-slack-alerts", "-credentials")
    names = [f"booking{first}{second}" for first in suffixes for second in suffixes]
    made = [(one["kind"], one["metadata"]["name"]) for name in set(names) for one in desired(parsed(name), CONTEXT)]
    assert len(made) == len(set(made))


def test_secrets_stand_in_secrets_alone() -> None:
    context = Context("image:1", slack_alerts={"URL": b"canary-one"}, credentials={"file": b"canary-two"})
    assert "canary" not in repr(context)
    for manifest in desired(parsed(), context):
        if manifest["kind"] != "Secret":
            assert "canary" not in json.dumps(manifest)


def test_the_settings_are_the_dispatchers_own_words() -> None:
    spec: dict[str, Any] = {
        "queue": {"capacity": 5, "overflow": "Reject", "dedupWindow": "1m"},
        "jobTypes": [{"name": "booking-created", "priority": "High", "channels": ["crm"]}],
    }
    (settings,) = [one for one in desired(parsed(**spec), CONTEXT) if one["metadata"]["name"] == "booking-config"]
    data = settings["data"]
    assert data[Variable.QUEUE_CAPACITY] == "5"
    assert data[Variable.QUEUE_OVERFLOW] == "reject"
    assert data[Variable.DEDUP_WINDOW_MS] == "60000"
    assert all(isinstance(value, str) for value in data.values())
    routing = Routing.model_validate_json(data[ROUTING_FILE])
    assert routing == parsed(**spec).spec.routing


def test_pods_tell_which_template_they_were_made_from() -> None:
    def template(**spec: Any) -> Any:
        (deployment,) = [one for one in desired(parsed(**spec), CONTEXT) if one["kind"] == "Deployment"]
        return deployment["spec"]["template"]["metadata"]["annotations"][naming.TEMPLATE_ANNOTATION]

    assert template() == template(alerts={"failureThreshold": 7})
    assert template() != template(image="other:2")


def test_the_pod_template_has_nothing_of_the_deployments_own_metadata() -> None:
    (deployment,) = [one for one in desired(parsed(), CONTEXT) if one["kind"] == "Deployment"]
    assert "ownerReferences" not in deployment["spec"]["template"]["metadata"]
    assert (
        deployment["spec"]["selector"]["matchLabels"].items()
        <= deployment["spec"]["template"]["metadata"]["labels"].items()
    )


def test_what_is_switched_off_is_not_made() -> None:
    off: dict[str, Any] = {
        "monitoring": {"serviceMonitor": {"enabled": False}, "prometheusRule": {"enabled": False}},
        "dashboard": {"enabled": False},
    }
    kinds = [(one["kind"], one["metadata"]["name"]) for one in desired(parsed(**off), Context("image"))]
    assert sorted(kinds) == [
        ("ConfigMap", "booking-config"),
        ("Deployment", "booking"),
        ("Service", "booking"),
        ("ServiceAccount", "booking"),
    ]


def test_a_persons_labels_never_replace_ours() -> None:
    labels = {naming.PIPELINE_LABEL: "stolen", "release": "kps"}
    (monitor,) = [
        one
        for one in desired(parsed(monitoring={"serviceMonitor": {"labels": labels}}), CONTEXT)
        if one["kind"] == "ServiceMonitor"
    ]
    assert monitor["metadata"]["labels"]["release"] == "kps"
    assert monitor["metadata"]["labels"][naming.PIPELINE_LABEL] == "booking"


def test_durations_reach_prometheus_in_its_own_form() -> None:
    spec: dict[str, Any] = {"monitoring": {"serviceMonitor": {"interval": "1s90s", "scrapeTimeout": "1500ms"}}}
    (monitor,) = [one for one in desired(parsed(**spec), CONTEXT) if one["kind"] == "ServiceMonitor"]
    endpoint = monitor["spec"]["endpoints"][0]
    assert (endpoint["interval"], endpoint["scrapeTimeout"]) == ("1m31s", "1s500ms")
