"""The CRD: what is committed, what is structural, and what kubectl answers to those who read and err."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from notification_operator import crd, naming
from notification_operator.errors import InvalidSpecError
from notification_operator.pipeline import Pipeline
from notification_operator.resources import desired
from notification_operator.resources.base import Context
from tests.cluster import Cluster, ClusterError
from tests.controller.pipelines import PERSISTENT, POSTGRESQL, SHAPED, apply, manifest, parsed, stored

COMMITTED = Path(__file__).parents[2] / "crds" / "notifications.plannivo.io_notificationpipelines.yaml"
CHANNELS = manifest()["spec"]["channels"]


def fields(schema: dict[str, Any], path: str = "spec") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema below this one, with its path."""
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from fields(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if isinstance(schema.get(key), dict):
            yield from fields(schema[key], f"{path}[]")


def spec_schema() -> dict[str, Any]:
    version = crd.definition()["spec"]["versions"][0]
    schema: dict[str, Any] = version["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def test_the_committed_file_is_what_the_model_generates() -> None:
    assert COMMITTED.read_text() == crd.text(), "run `make generate` and commit the result"


def test_every_field_is_described_and_bounded() -> None:
    for path, schema in fields(spec_schema()):
        if not path.endswith("[]"):
            assert len(schema.get("description", "")) > 10, path
        if schema.get("type") == "string" and "enum" not in schema:
            assert "maxLength" in schema, path
            assert "pattern" in schema, path
        if schema.get("type") == "integer":
            assert "minimum" in schema, path
            assert "maximum" in schema, path
        if schema.get("type") == "array":
            assert "maxItems" in schema, path
        assert not {"$ref", "anyOf", "title", "const", "patternProperties"} & schema.keys(), path


def test_no_map_or_list_has_a_default_that_what_is_applied_later_would_be_merged_into() -> None:
    by_path = dict(fields(spec_schema()))
    for path, schema in by_path.items():
        if schema.get("type") == "array" or isinstance(schema.get("additionalProperties"), dict):
            assert "default" not in schema, path
        for name, value in schema.get("default", {}).items() if schema.get("type") == "object" else ():
            assert not isinstance(value, list), f"{path}.{name}"
            if isinstance(value, dict):
                assert "default" in by_path[f"{path}.{name}"], f"{path}.{name}"


def test_a_default_does_not_mix_with_what_is_applied_later(cluster: Cluster, namespace: str) -> None:
    apply(cluster, namespace, manifest())
    changed: dict[str, Any] = {
        "resources": {"limits": {"cpu": "1"}},
        "topologySpreadConstraints": [{"topologyKey": "zone"}],
        "dashboard": {"labels": {"team": "crm"}},
    }
    cluster.apply(json.dumps(manifest(**changed)), namespace)
    spec = cluster.get_json("npl", "booking", "-n", namespace)["spec"]
    assert spec["resources"] == changed["resources"]
    assert [one["topologyKey"] for one in spec["topologySpreadConstraints"]] == ["zone"]
    assert spec["dashboard"]["labels"] == {"team": "crm"}


def node_affinity(expression: dict[str, Any]) -> dict[str, Any]:
    terms = [{"matchExpressions": [expression]}]
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}}}


def expression(operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": "app", "operator": operator, "values": list(values)}]}


def peer(one: dict[str, Any]) -> dict[str, Any]:
    return {"enabled": True, "ingressFrom": [one]}


def override(**changes: Any) -> dict[str, Any]:
    return {"alerts": {"rules": {"NotificationHighWait": changes}}}


def slo(**changes: Any) -> dict[str, Any]:
    return {"monitoring": {"prometheusRule": {"slo": changes}}}


def relabeling(*steps: dict[str, Any]) -> dict[str, Any]:
    return {"monitoring": {"serviceMonitor": {"metricRelabelings": list(steps)}}}


INVALID_STEPS: list[tuple[str, dict[str, Any]]] = [
    ("action", {"action": "explode"}),
    ("targetLabel: this action needs it", {"regex": "a"}),
    ("targetLabel: this action needs it", {"action": "keepequal", "sourceLabels": ["a"]}),
    ("targetLabel", {"targetLabel": "not-a-name"}),
    ("sourceLabels", {"sourceLabels": ["not-a-name"], "action": "drop"}),
    ("sourceLabels", {"sourceLabels": [], "action": "drop"}),
    ("modulus: hashmod needs it", {"action": "hashmod", "targetLabel": "shard"}),
    ("modulus: hashmod needs it", {"action": "drop", "modulus": 2}),
    ("modulus", {"action": "hashmod", "targetLabel": "shard", "modulus": 0}),
    ("hashmod takes a plain name", {"action": "hashmod", "targetLabel": "a_$1", "modulus": 2}),
    ("replacement: this action takes none", {"action": "uppercase", "targetLabel": "team", "replacement": "x"}),
    ("labelmap needs the name of a label", {"action": "labelmap", "regex": "a_(.+)", "replacement": "b-$1"}),
    ("only sourceLabels and targetLabel", {"action": "dropequal", "targetLabel": "team", "separator": "-"}),
    ("this action needs a regex", {"action": "labeldrop"}),
    ("this action needs a regex", {"action": "labelkeep", "regex": ".+", "sourceLabels": ["a"]}),
    ("cannot be read as a regular expression|error parsing regexp", {"action": "drop", "regex": "("}),
    ("cannot be read as a regular expression|error parsing regexp", {"action": "drop", "regex": "(?=a)"}),
    ("tell pipelines apart", {"targetLabel": "pipeline", "replacement": "x"}),
    ("must stay", {"action": "labeldrop", "regex": "pipe.*"}),
    ("must stay", {"action": "labelkeep", "regex": "pipeline|namespace"}),
]
RESERVED: list[dict[str, Any]] = [
    *({"podLabels": {key: "x"}} for key in (*naming.labels("booking"), "pod-template-hash")),
    *({"podAnnotations": {key: "x"}} for key in (naming.TEMPLATE_ANNOTATION, "kubernetes.io/config.mirror")),
    {"monitoring": {"serviceMonitor": {"labels": {naming.PIPELINE_LABEL: "other"}}}},
    {"monitoring": {"prometheusRule": {"labels": {naming.PIPELINE_LABEL: "other"}}}},
    {"dashboard": {"labels": {naming.PIPELINE_LABEL: "other"}}},
    {"dashboard": {"annotations": {naming.HASH_ANNOTATION: "0"}}},
]
REFERENCE = {"secretKeyRef": {"name": "a", "key": "b"}}
INVALID = [
    ("alerts.failureThreshold", {"alerts": {"failureThreshold": 0}}),
    ("alerts.failureWindow", {"alerts": {"failureWindow": "5 minutes"}}),
    ("alerts.failureWindow", {"alerts": {"failureWindow": "0s"}}),
    ("alerts.cooldown", {"alerts": {"cooldown": "721h"}}),
    ("alerts.latencyThreshold", {"alerts": {"latencyThreshold": "-5s"}}),
    (
        "exactly one of webhook, slack, email and apprise",
        {"channels": [{**CHANNELS[0], "slack": {"webhookSecretRef": {"name": "slack", "key": "url"}}}]},
    ),
    ("exactly one of webhook, slack, email and apprise", {"channels": [{"name": "crm"}]}),
    ("exactly one of url and urlSecretRef", {"channels": [{"name": "crm", "webhook": {}}]}),
    ("channels[0].webhook.url", {"channels": [{"name": "crm", "webhook": {"url": "ftp://crm"}}]}),
    ("channels[0].webhook.url", {"channels": [{"name": "crm", "webhook": {"url": "https://u:p@crm.example.com"}}]}),
    ("channels[0].name", {"channels": [{**CHANNELS[0], "name": "Not a label"}]}),
    ("channels[1]", {"channels": [*CHANNELS, *CHANNELS]}),
    ("channels", {"channels": []}),
    ("jobTypes[].channels must be the name of one of", {"jobTypes": [{"name": "booking-created", "channels": ["x"]}]}),
    ("jobTypes[0].channels[1]", {"jobTypes": [{"name": "a", "channels": ["crm", "crm"]}]}),
    ("jobTypes[1]", {"jobTypes": [{"name": "a"}, {"name": "a"}]}),
    ("retry.initialBackoff must not be longer", {"retry": {"initialBackoff": "10m"}}),
    ("scrapeTimeout must not be longer", {"monitoring": {"serviceMonitor": {"scrapeTimeout": "1m"}}}),
    ("interval must be at most 2m", {"monitoring": {"serviceMonitor": {"interval": "2m1ms"}}}),
    ("monitoring.metricsPrefix", {"monitoring": {"metricsPrefix": "No-Prefix"}}),
    ("queue.overflow", {"queue": {"overflow": "Explode"}}),
    ("queue.capacity", {"queue": {"capacity": 0}}),
    ("queue.capacity", {"queue": {"capacity": "many"}}),
    ("workers.concurrency", {"workers": {"concurrency": 100_000}}),
    ("dashboard.labels", {"dashboard": {"labels": {"not a key": "x"}}}),
    ("one dispatcher at most can run", {"replicas": 2}),
    ("one dispatcher at most can run", {"autoscaling": {}}),
    ("replicas and autoscaling exclude each other", {**POSTGRESQL, "replicas": 2, "autoscaling": {}}),
    ("autoscaling needs resources.requests.cpu", {**POSTGRESQL, "autoscaling": {}, "resources": {}}),
    ("minReplicas must not be more than maxReplicas", {**POSTGRESQL, "autoscaling": {"minReplicas": 20}}),
    ("replicas", {**POSTGRESQL, "replicas": 101}),
    ("resources.requests.cpu", {"resources": {"requests": {"cpu": "plenty"}}}),
    ("must be a quantity|must be more than 0", {"resources": {"limits": {"memory": "0"}}}),
    ("resources.requests.cpu", {"resources": {"requests": {"cpu": 0.5}}}),
    (
        "resources.requests must not be more than resources.limits",
        {"resources": {"requests": {"memory": "1Gi"}, "limits": {"memory": "1G"}}},
    ),
    ("queue.postgresql must be set when", {"queue": {"engine": "PostgreSQL"}}),
    ("queue.postgresql must be set when", {"queue": {**POSTGRESQL["queue"], "engine": "Embedded"}}),
    (
        "queue.persistence belongs to the Embedded engine",
        {"queue": {**POSTGRESQL["queue"], **PERSISTENT["queue"]}},
    ),
    (
        "existingClaim has a size and a class of its own",
        {"queue": {"persistence": {"existingClaim": "mine", "size": "1Gi"}}},
    ),
    ("queue.persistence.existingClaim", {"queue": {"persistence": {"existingClaim": ""}}}),
    ("queue.persistence.existingClaim", {"queue": {"persistence": {"existingClaim": "Not a name"}}}),
    (
        "queue.postgresql.schema",
        {"queue": {"engine": "PostgreSQL", "postgresql": {**POSTGRESQL["queue"]["postgresql"], "schema": "a-b"}}},
    ),
    ("its operator must be Exists", {"tolerations": [{"value": "x"}]}),
    ("must have no value", {"tolerations": [{"key": "a", "operator": "Exists", "value": "x"}]}),
    ("belongs to the effect NoExecute", {"tolerations": [{"key": "a", "tolerationSeconds": 5}]}),
    ("minDomains belongs to", {"topologySpreadConstraints": [{"topologyKey": "zone", "minDomains": 2}]}),
    ("topologySpreadConstraints", {"topologySpreadConstraints": [{"topologyKey": "zone"}, {"topologyKey": "zone"}]}),
    ("In and NotIn need one at least", {"affinity": node_affinity({"key": "a", "operator": "In"})}),
    ("In and NotIn need one at least", {"affinity": node_affinity({"key": "a", "operator": "Gt", "values": ["x"]})}),
    (
        "In and NotIn need one at least",
        {"affinity": node_affinity({"key": "a", "operator": "Exists", "values": ["x"]})},
    ),
    ("values must be set", {"networkPolicy": peer({"podSelector": expression("In")})}),
    ("values must not be set", {"networkPolicy": peer({"podSelector": expression("Exists", "x")})}),
    ("needs a podSelector or a namespaceSelector", {"networkPolicy": peer({})}),
    ("SLACK_… are set by the operator", {"env": [{"name": "NOTIFICATION_PORT", "value": "1"}]}),
    ("at most one of value and valueFrom", {"env": [{"name": "A", "value": "1", "valueFrom": REFERENCE}]}),
    ("exactly one of secretKeyRef and", {"env": [{"name": "A", "valueFrom": {}}]}),
    ("env", {"env": [{"name": "A"}, {"name": "A"}]}),
    ("key", {"env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "a", "key": "."}}}]}),
    ("key", {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "a", "key": "..b"}}}]}),
    ("podAnnotations", {"podAnnotations": {"not a key": "x"}}),
    ("alerts.mode", {"alerts": {"mode": "Shout"}}),
    ("alerts.mode Both needs alerts.slack", {"alerts": {"mode": "Both"}}),
    (
        "need monitoring.prometheusRule.enabled",
        {"alerts": {"mode": "Alertmanager"}, "monitoring": {"prometheusRule": {"enabled": False}}},
    ),
    ("each key must be the name of an alert", {"alerts": {"rules": {"NotificationSpike": {"enabled": False}}}}),
    ("severity", override(severity="fatal")),
    ("for", override(**{"for": "721h"})),
    ("for", override(**{"for": "-1m"})),
    ("the labels alertname, namespace, pipeline", override(labels={"pipeline": "other"})),
    ("are the operator's", override(labels={"notifier": "dispatcher"})),
    ("underscores", override(labels={"not-a-name": "x"})),
    ("underscores|are the operator's", override(labels={"__name__": "x"})),
    ("labels", override(labels={"team": "{{ $labels.job_type }}"})),
    ("annotations", override(annotations={"summary": "{{ nonsense }}"})),
    ("annotations", override(annotations={"summary": "{{{ $value }}"})),
    ("underscores", override(annotations={"a.b": "x"})),
    ("objective", slo(objective="93.9")),
    ("objective", slo(objective="100")),
    ("objective", slo(objective=99.5)),
    ("slo.window must be at least 72h", slo(window="71h")),
    ("minEvents", slo(minEvents=0)),
    ("set one of the two", {"dashboard": {"folder": "a", "annotations": {"grafana_folder": "b"}}}),
    ("dashboard.annotations", {"dashboard": {"annotations": {"not a key": "x"}}}),
    *[("the operator's, or Kubernetes' own", spec) for spec in RESERVED],
    *[(said, relabeling(step)) for said, step in INVALID_STEPS],
    ("nonsense", {"nonsense": 1}),
    ("slackk", {"alerts": {"slackk": {}}}),
]


@pytest.mark.parametrize(("said", "spec"), INVALID, ids=[json.dumps(spec)[:60] for _, spec in INVALID])
def test_what_cannot_work_is_refused_with_the_fields_name(
    cluster: Cluster, namespace: str, said: str, spec: dict[str, Any]
) -> None:
    with pytest.raises(ClusterError) as refusal:
        cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest(**spec)))
    assert any(words in str(refusal.value) for words in said.split("|"))
    with pytest.raises(InvalidSpecError):
        Pipeline.parse(stored(**spec))


VOLUME = {"size": "2Gi", "storageClassName": "fast"}
DATABASE = POSTGRESQL["queue"]["postgresql"]
FORBIDDEN_CHANGES = [
    ("queue.engine cannot be changed", {}, POSTGRESQL),
    ("queue.engine cannot be changed", POSTGRESQL, {}),
    ("queue.persistence cannot be removed", {"queue": {"persistence": VOLUME}}, {}),
    ("storageClassName cannot be changed", {"queue": {"persistence": VOLUME}}, PERSISTENT),
    ("existingClaim cannot be changed", PERSISTENT, {"queue": {"persistence": {"existingClaim": "mine"}}}),
    (
        "schema cannot be changed",
        POSTGRESQL,
        {"queue": {"engine": "PostgreSQL", "postgresql": {**DATABASE, "schema": "other"}}},
    ),
]


@pytest.mark.parametrize(("said", "before", "after"), FORBIDDEN_CHANGES, ids=[said for said, _, _ in FORBIDDEN_CHANGES])
def test_a_change_that_would_leave_jobs_behind_is_refused(
    cluster: Cluster, namespace: str, said: str, before: dict[str, Any], after: dict[str, Any]
) -> None:
    apply(cluster, namespace, manifest(**before))
    with pytest.raises(ClusterError, match=said):
        apply(cluster, namespace, manifest(**after))


def test_a_volume_may_grow_and_a_growth_that_was_refused_be_taken_back(cluster: Cluster, namespace: str) -> None:
    for size in ("2Gi", "300Ti", "2Gi"):
        apply(cluster, namespace, manifest(queue={"persistence": {**VOLUME, "size": size}}))


def test_scaling_is_refused_where_the_queue_is_one_file(cluster: Cluster, namespace: str) -> None:
    apply(cluster, namespace, manifest())
    apply(cluster, namespace, manifest("shared", **POSTGRESQL))
    cluster.run_kubectl("-n", namespace, "scale", "npl/shared", "--replicas=3")
    assert cluster.get_json("npl", "shared", "-n", namespace)["spec"]["replicas"] == 3
    with pytest.raises(ClusterError, match="one dispatcher at most can run"):
        cluster.run_kubectl("-n", namespace, "scale", "npl/booking", "--replicas=3")


def test_what_shapes_the_pods_is_accepted_as_people_write_it(cluster: Cluster, namespace: str) -> None:
    for spec in (SHAPED, PERSISTENT, POSTGRESQL, {**POSTGRESQL, "autoscaling": {}}, {"replicas": 0}):
        cluster.run_kubectl("-n", namespace, "apply", "--dry-run=server", "-f", "-", stdin=json.dumps(manifest(**spec)))
        Pipeline.parse(stored(**spec))


MONITORED: list[dict[str, Any]] = [
    {"alerts": {"mode": "Alertmanager"}},
    {"alerts": {"mode": "Both", "slack": {"webhookSecretRef": {"name": "slack", "key": "url"}}}},
    {"alerts": {"mode": "InProcess"}, "monitoring": {"prometheusRule": {"enabled": False}}},
    override(**{"for": "0s"}, severity="info", labels={"team": "a {b} {c"}, enabled=False),
    override(annotations={"summary": "{{ $value }} of {{$labels.job_type}} {x}", "impact": "two\nlines {"}),
    slo(objective="99.999", window="168h", minEvents=1),
    slo(objective="94", enabled=False),
    {"dashboard": {"annotations": {"grafana_folder": "b", "example.com/team": "a b"}}},
    {"monitoring": {"serviceMonitor": {"scrapeClass": "mutual-tls"}}},
    {"monitoring": {"serviceMonitor": {"interval": "120s", "scrapeTimeout": "2m"}}},
    relabeling(
        {"sourceLabels": ["__name__"], "regex": "plannivo_python_.+", "action": "drop"},
        {"sourceLabels": ["a", "b"], "separator": "", "targetLabel": "${1}_x", "replacement": "$1", "regex": "(.*)"},
        {"action": "hashmod", "sourceLabels": ["instance"], "targetLabel": "shard", "modulus": 4},
        {"action": "labelmap", "regex": "a_(.+)", "replacement": "b_$1"},
        {"action": "labeldrop", "regex": "pod|container"},
        {"action": "labelkeep", "regex": ".+"},
        {"action": "lowercase", "sourceLabels": ["a"], "targetLabel": "a"},
        {"action": "keepequal", "sourceLabels": ["a"], "targetLabel": "b"},
    ),
]


@pytest.mark.parametrize("spec", MONITORED, ids=[json.dumps(spec)[:60] for spec in MONITORED])
def test_what_prometheus_is_told_is_accepted_as_people_write_it(
    cluster: Cluster, namespace: str, spec: dict[str, Any]
) -> None:
    """The children too: the API server knows what prometheus-operator's kinds look like."""
    dry = ("-n", namespace, "apply", "--dry-run=server", "-f", "-")
    cluster.run_kubectl(*dry, stdin=json.dumps(manifest(**spec)))
    made = desired(parsed(namespace=namespace, **spec), Context("image:1", slack_alerts={"URL": b"x"}))
    for child in made:
        if child["kind"] in {"ServiceMonitor", "PrometheusRule", "ConfigMap"}:
            cluster.run_kubectl(*dry, stdin=json.dumps(child))


def test_names_at_the_limit(cluster: Cluster, namespace: str) -> None:
    longest = "a" * naming.LONGEST_NAME
    dry = ("-n", namespace, "apply", "--dry-run=server", "-f", "-")
    cluster.run_kubectl(*dry, stdin=json.dumps(manifest(longest)))
    for name, said in ((f"{longest}a", "at most"), ("1st", "start with a letter"), ("a.b", "no dots")):
        with pytest.raises(ClusterError, match=said):
            cluster.run_kubectl(*dry, stdin=json.dumps(manifest(name)))


def test_defaults_are_filled_in_and_are_the_models_own(cluster: Cluster, namespace: str) -> None:
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(manifest()))
    found = cluster.get_json("npl", "booking", "-n", namespace)
    assert found["spec"]["alerts"]["failureThreshold"] == 20
    assert found["spec"]["alerts"]["failureWindow"] == "5m"
    assert found["spec"]["monitoring"]["serviceMonitor"]["interval"] == "15s"
    assert Pipeline.parse(found).spec == Pipeline.parse(stored()).spec


def test_kubectl_explains(cluster: Cluster) -> None:
    text = cluster.run_kubectl("explain", "npl.spec.alerts")
    for field in ("failureThreshold", "failureWindow", "backlogThreshold", "latencyThreshold", "cooldown", "slack"):
        assert field in text
    assert "Failure Spike: alert when at least this many jobs failed for good" in " ".join(text.split())
    assert "Default: 20." in text
