"""The builders: pure functions from a pipeline to its children."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from ipaddress import ip_address, ip_network
from itertools import product
from typing import Any

import pytest

from notification_dispatcher.pipeline import Routing
from notification_dispatcher.queue_names import SCHEMA_PATTERN
from notification_dispatcher.variables import ROUTING_FILE, Variable
from notification_operator import naming
from notification_operator.pipeline import Pipeline
from notification_operator.resources import CHILDREN, Child, desired
from notification_operator.resources.base import Context, Manifest
from tests.controller.pipelines import PERSISTENT, POSTGRESQL, SHAPED, parsed

# Between them they have every child.
VARIANTS: dict[str, dict[str, Any]] = {
    "least": {},
    "volume": {**PERSISTENT, "networkPolicy": {"enabled": True}},
    "autoscaled": {**POSTGRESQL, "autoscaling": {}},
    "shaped": SHAPED,
}
CONTEXT = Context("image:1", slack_alerts={"SLACK_ALERT_WEBHOOK_URL": b"https://x"}, credentials={"team.x": b"y"})
WITH_KEDA = replace(CONTEXT, keda=True)


@dataclass
class Case:
    """A child and what it is built from."""

    child: Child
    pipeline: Pipeline
    context: Context

    def build(self) -> Manifest | None:
        return self.child.build(self.pipeline, self.context)


def built(child: Child) -> tuple[Case, Manifest]:
    """The child of the first variant that has it."""
    for spec, context in product(VARIANTS.values(), (CONTEXT, WITH_KEDA)):
        pipeline = parsed(**spec)
        if manifest := child.build(pipeline, context):
            return Case(child, pipeline, context), manifest
    raise AssertionError(f"no variant has {child.kind.name} {child.name('')}")


@pytest.mark.parametrize("child", CHILDREN, ids=lambda child: f"{child.kind.name}-{child.name('x')}")
def test_a_builder_is_pure(child: Child) -> None:
    case, first = built(child)
    second = case.build()
    assert first == second
    assert second is not None
    first["metadata"]["labels"]["scribbled"] = "on"
    first["metadata"]["ownerReferences"].clear()
    assert case.build() == second


@pytest.mark.parametrize("child", CHILDREN, ids=lambda child: f"{child.kind.name}-{child.name('x')}")
def test_every_child_is_named_labelled_and_owned(child: Child) -> None:
    _, manifest = built(child)
    metadata = manifest["metadata"]
    assert metadata["name"] == child.name("booking")
    assert metadata["labels"][naming.PIPELINE_LABEL] == "booking"
    assert metadata["labels"]["app.kubernetes.io/managed-by"] == "notification-operator"
    assert [owner["uid"] for owner in metadata["ownerReferences"]] == ["uid-of-booking"]


def test_no_two_pipelines_children_share_a_name() -> None:
    suffixes = ("", *(child.name("") for child in CHILDREN))
    names = {f"booking{first}{second}" for first in suffixes for second in suffixes}
    made = [(child.kind, child.name(name)) for name in names for child in CHILDREN]
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
    labels = {"release": "kps"}
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


def test_failures_are_counted_over_the_scrapes_that_there_are() -> None:
    found = the("PrometheusRule", alerts={"failureWindow": "1m"}, monitoring={"serviceMonitor": {"interval": "1m"}})
    expressions = [rule["expr"] for group in found["groups"] for rule in group["rules"]]
    assert any("job_failures_total" in expr and "[4m]" in expr for expr in expressions)


def of_kind(kind: str, context: Context = CONTEXT, **spec: Any) -> Manifest | None:
    return next((one for one in desired(parsed(**spec), context) if one["kind"] == kind), None)


def the(kind: str, context: Context = CONTEXT, **spec: Any) -> Any:
    found = of_kind(kind, context, **spec)
    assert found is not None
    return found["spec"]


def container(**spec: Any) -> Any:
    return the("Deployment", **spec)["template"]["spec"]["containers"][0]


def environment(**spec: Any) -> dict[str, str]:
    return {one["name"]: one.get("value", "") for one in container(**spec)["env"]}


def test_a_queue_on_a_volume_has_one_dispatcher_at_a_time() -> None:
    claim = the("PersistentVolumeClaim", **PERSISTENT)
    assert claim == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}
    wanted = the("Deployment", **PERSISTENT)
    assert wanted["strategy"] == {"type": "Recreate"}
    (data,) = [one for one in wanted["template"]["spec"]["volumes"] if one["name"] == "data"]
    assert data["persistentVolumeClaim"] == {"claimName": "booking-queue"}


@pytest.mark.parametrize(
    ("live", "asked"),
    [(None, "2Gi"), ("1Gi", "2Gi"), ("2048Mi", "2Gi"), ("3Gi", "3Gi"), ("5e9", "5e9"), ("1Ei", "1Ei")],
)
def test_a_claim_that_was_grown_by_hand_keeps_its_size(live: str | None, asked: str) -> None:
    claim = the("PersistentVolumeClaim", replace(CONTEXT, claimed=live), **PERSISTENT)
    assert claim["resources"]["requests"]["storage"] == asked


def test_an_empty_class_is_no_class() -> None:
    def claimed(**persistence: Any) -> Any:
        return the("PersistentVolumeClaim", queue={"persistence": persistence}).get("storageClassName")

    assert claimed() is None
    assert claimed(storageClassName="") == ""
    assert claimed(storageClassName="fast") == "fast"


def test_a_claim_that_is_there_is_used_and_left_alone() -> None:
    spec: dict[str, Any] = {"queue": {"persistence": {"existingClaim": "mine"}}}
    assert of_kind("PersistentVolumeClaim", **spec) is None
    volumes = the("Deployment", **spec)["template"]["spec"]["volumes"]
    assert {"name": "data", "persistentVolumeClaim": {"claimName": "mine"}} in volumes


def test_an_autoscaler_has_the_replicas_to_itself() -> None:
    spec: dict[str, Any] = {**POSTGRESQL, "autoscaling": {"minReplicas": 2, "maxReplicas": 4}}
    assert "replicas" not in the("Deployment", **spec)
    scaler = the("HorizontalPodAutoscaler", **spec)
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (2, 4)
    assert scaler["scaleTargetRef"] == {"apiVersion": "apps/v1", "kind": "Deployment", "name": "booking"}
    assert the("Deployment", **POSTGRESQL, replicas=3)["replicas"] == 3
    assert of_kind("HorizontalPodAutoscaler", **POSTGRESQL) is None


def test_with_keda_the_backlog_counts_too() -> None:
    spec: dict[str, Any] = {**POSTGRESQL, "autoscaling": {"backlogPerReplica": 50}}
    stopped = the("Deployment", replace(WITH_KEDA, stopped=True), **spec)
    assert "replicas" not in stopped, "somebody has paused it, or KEDA will start it"
    assert of_kind("HorizontalPodAutoscaler", WITH_KEDA, **spec) is None
    scaled = the("ScaledObject", WITH_KEDA, **spec)
    backlog, cpu = scaled["triggers"]
    assert backlog["metadata"]["targetQueryValue"] == "50"
    assert environment(**spec)[Variable.QUEUE_SCHEMA] in backlog["metadata"]["query"]
    assert cpu["metadata"] == {"value": "80"}
    (parameter,) = the("TriggerAuthentication", WITH_KEDA, **spec)["secretTargetRef"]
    assert parameter == {"parameter": "connection", "name": "database", "key": "uri"}
    assert of_kind("ScaledObject", WITH_KEDA, **POSTGRESQL) is None
    assert of_kind("TriggerAuthentication", WITH_KEDA, **POSTGRESQL) is None


def test_a_single_dispatcher_does_not_keep_a_node_from_draining() -> None:
    assert of_kind("PodDisruptionBudget", **POSTGRESQL) is None
    assert the("PodDisruptionBudget", **POSTGRESQL, replicas=2)["maxUnavailable"] == 1
    assert of_kind("PodDisruptionBudget", **POSTGRESQL, autoscaling={}) is not None
    off: dict[str, Any] = {"podDisruptionBudget": {"enabled": False}}
    assert of_kind("PodDisruptionBudget", **POSTGRESQL, **off, replicas=2) is None


def test_the_engine_is_told_where_it_is() -> None:
    assert environment()[Variable.QUEUE_ENGINE] == "sqlite"
    told = environment(**POSTGRESQL)
    assert (told[Variable.QUEUE_ENGINE], told[Variable.QUEUE_POOL_SIZE]) == ("postgresql", "4")
    assert Variable.QUEUE_PATH not in told
    named = {"queue": {"engine": "PostgreSQL", "postgresql": {**POSTGRESQL["queue"]["postgresql"], "schema": "mine"}}}
    assert environment(**named)[Variable.QUEUE_SCHEMA] == "mine"


def test_every_pipeline_has_a_schema_of_its_own() -> None:
    schemas = {
        naming.queue_schema(namespace, name)
        for namespace, name in (("a", "b-c"), ("a-b", "c"), ("a", "b"), ("b", "a"), ("n" * 63, "x" * 50))
    }
    assert len(schemas) == 5
    for schema in schemas:
        assert re.fullmatch(SCHEMA_PATTERN, schema)


def test_a_token_that_is_named_must_be_there() -> None:
    assert environment()[Variable.API_TOKEN_REQUIRED] == "false"
    spec: dict[str, Any] = {"api": {"authTokenSecretRef": {"name": "token", "key": "token"}}}
    assert environment(**spec)[Variable.API_TOKEN_REQUIRED] == "true"


def test_pods_are_shaped_as_the_spec_says() -> None:
    template = the("Deployment", **SHAPED)["template"]
    pod = template["spec"]
    assert template["metadata"]["labels"]["team"] == "crm"
    assert template["metadata"]["labels"][naming.PIPELINE_LABEL] == "booking"
    assert template["metadata"]["annotations"]["example.com/note"] == "on call: crm"
    assert pod["nodeSelector"] == {"disk": "ssd"}
    assert pod["tolerations"] == SHAPED["tolerations"]
    assert pod["affinity"] == SHAPED["affinity"]
    assert pod["topologySpreadConstraints"] == [
        {
            "maxSkew": 1,
            "topologyKey": "zone",
            "whenUnsatisfiable": "DoNotSchedule",
            "minDomains": 2,
            "labelSelector": {"matchLabels": naming.selector("booking")},
        }
    ]
    assert pod["serviceAccountName"] == "mailer"
    assert pod["containers"][0]["resources"] == {
        "requests": {"cpu": "1", "memory": "1Gi"},
        "limits": {"cpu": "1500m", "memory": "1536Mi"},
    }


def test_the_own_account_stays_when_pods_run_as_another() -> None:
    """Pods of the old template run as it until the last of them is gone, and again when the change is taken back."""
    accounts = [desired(parsed(**spec), CONTEXT)[0] for spec in ({}, {"serviceAccountName": "mailer"})]
    assert accounts[0] == accounts[1]
    assert accounts[0]["kind"] == "ServiceAccount"


def test_deliveries_go_to_pods_and_anywhere_but_where_clouds_hand_out_credentials() -> None:
    deliveries, dns = the("NetworkPolicy", networkPolicy={"enabled": True})["egress"]
    assert {"namespaceSelector": {}} in deliveries["to"]
    kept_out = [ip_network(one) for peer in deliveries["to"] for one in peer.get("ipBlock", {}).get("except", [])]
    for address in (
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "fd00:ec2::254",
        "fe80::1",
    ):
        assert any(ip_address(address) in network for network in kept_out), address
    assert dns == {"ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}]}


def test_what_is_spread_is_said_or_the_default() -> None:
    def spread(**spec: Any) -> Any:
        return the("Deployment", **spec)["template"]["spec"].get("topologySpreadConstraints", [])

    assert [one["topologyKey"] for one in spread()] == ["kubernetes.io/hostname"]
    assert [one["topologyKey"] for one in spread(topologySpreadConstraints=[{"topologyKey": "zone"}])] == ["zone"]
    assert spread(topologySpreadConstraints=[]) == []


def test_resources_that_are_set_replace_the_default_as_a_whole() -> None:
    assert container()["resources"] == {"requests": {"cpu": "50m", "memory": "96Mi"}, "limits": {"memory": "512Mi"}}
    assert container(resources={"limits": {"memory": "64Mi"}})["resources"] == {"limits": {"memory": "64Mi"}}
    assert container(resources={})["resources"] == container(resources={"limits": {}})["resources"] == {}


def test_what_the_scrape_is_told_reaches_the_monitor_as_it_was_written() -> None:
    steps = [
        {"action": "drop", "sourceLabels": ["__name__"], "regex": "plannivo_python_.+"},
        {"action": "replace", "targetLabel": "team", "replacement": "", "separator": ""},
    ]
    (plain,) = [one for one in desired(parsed(), CONTEXT) if one["kind"] == "ServiceMonitor"]
    assert not {"scrapeClass", "metricRelabelings"} & (plain["spec"].keys() | plain["spec"]["endpoints"][0].keys())

    spec: dict[str, Any] = {"monitoring": {"serviceMonitor": {"scrapeClass": "tls", "metricRelabelings": steps}}}
    (monitor,) = [one for one in desired(parsed(**spec), CONTEXT) if one["kind"] == "ServiceMonitor"]
    assert monitor["spec"]["scrapeClass"] == "tls"
    assert monitor["spec"]["endpoints"][0]["metricRelabelings"] == steps


def test_the_dashboards_annotations_stand_beside_its_folder() -> None:
    def annotations(**dashboard: Any) -> Any:
        (found,) = [
            one
            for one in desired(parsed(dashboard=dashboard), CONTEXT)
            if one["metadata"]["name"] == "booking-dashboard"
        ]
        return found["metadata"].get("annotations", {})

    assert annotations() == {}
    assert annotations(folder="A b") == {"grafana_folder": "A b"}
    own = {"k8s-sidecar-target-directory": "/var/lib/boards"}
    assert annotations(folder="A b", annotations=own) == {**own, "grafana_folder": "A b"}
    assert annotations(annotations={"grafana_folder": "c"}) == {"grafana_folder": "c"}


def test_the_dashboards_labels_replace_the_default_as_a_whole() -> None:
    def labels(**dashboard: Any) -> Any:
        made = desired(parsed(dashboard=dashboard), CONTEXT)
        found = next(one for one in made if one["metadata"]["name"] == "booking-dashboard")["metadata"]["labels"]
        return {key: found[key] for key in found.keys() - naming.labels("booking").keys()}

    assert labels() == {"grafana_dashboard": "1"}
    assert labels(labels={"team": "crm"}) == {"team": "crm"}
    assert labels(labels={}) == {}
