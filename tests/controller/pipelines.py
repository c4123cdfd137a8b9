"""Pipelines for the operator's tests: the smallest useful one, and ways to look at what became of it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from notification_operator.group import API_VERSION, KIND
from notification_operator.pipeline import Pipeline
from tests.cluster import Cluster

SECONDS = 20.0

POSTGRESQL: dict[str, Any] = {
    "queue": {"engine": "PostgreSQL", "postgresql": {"dsnSecretRef": {"name": "database", "key": "uri"}}}
}
"""The smallest spec of a pipeline with a shared queue."""

PERSISTENT: dict[str, Any] = {"queue": {"persistence": {"size": "2Gi"}}}
"""One whose queue lies on a volume."""

_SELECTOR = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a"]}]}
_NODES = {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["4"]}]}
_NEAR = {"labelSelector": _SELECTOR, "topologyKey": "kubernetes.io/hostname", "namespaceSelector": {}}
SHAPED: dict[str, Any] = {
    "image": "registry.example.com/dispatcher:1",
    "imagePullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "resources": {"requests": {"cpu": 1, "memory": "1024Mi"}, "limits": {"cpu": "1.5", "memory": "1.5Gi"}},
    "nodeSelector": {"disk": "ssd"},
    "tolerations": [{"key": "dedicated", "value": "mail", "effect": "NoExecute", "tolerationSeconds": 60}],
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_NODES]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 5, "preference": _NODES}],
        },
        "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 1, "podAffinityTerm": _NEAR}]
        },
    },
    "topologySpreadConstraints": [{"topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2}],
    "priorityClassName": "system-cluster-critical",
    "serviceAccountName": "mailer",
    "podLabels": {"team": "crm"},
    "podAnnotations": {"example.com/note": "on call: crm"},
    "env": [
        {"name": "HTTPS_PROXY", "value": "http://proxy:3128"},
        {"name": "EMPTY", "value": ""},
        {"name": "TZ", "valueFrom": {"configMapKeyRef": {"name": "zone", "key": "tz"}}},
    ],
    "networkPolicy": {"enabled": True, "ingressFrom": [{"namespaceSelector": {}, "podSelector": _SELECTOR}]},
}
"""Everything that shapes the pods, in forms that the API server writes differently."""


def manifest(name: str = "booking", **spec: Any) -> dict[str, Any]:
    """The smallest useful pipeline, with what differs."""
    channels = [{"name": "crm", "webhook": {"url": "https://crm.example.com/hooks/notifications"}}]
    alerts = {"slack": {"webhookSecretRef": {"name": "slack", "key": "url"}}}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {"channels": channels, "alerts": alerts, **spec},
    }


def stored(name: str = "booking", namespace: str = "plannivo", **spec: Any) -> dict[str, Any]:
    """The same as the API server would return it."""
    made = manifest(name, **spec)
    made["metadata"] |= {"namespace": namespace, "uid": f"uid-of-{name}", "generation": 1}
    return made


def parsed(name: str = "booking", namespace: str = "plannivo", **spec: Any) -> Pipeline:
    """The same as the operator sees it."""
    return Pipeline.parse(stored(name, namespace, **spec))


def apply(cluster: Cluster, namespace: str, pipeline: Mapping[str, Any]) -> None:
    """kubectl apply."""
    cluster.run_kubectl("-n", namespace, "apply", "-f", "-", stdin=json.dumps(pipeline))


def slack_secret(cluster: Cluster, namespace: str, url: str = "https://hooks.slack.example/services/a") -> None:
    """The Secret that the smallest pipeline refers to."""
    cluster.run_kubectl("-n", namespace, "create", "secret", "generic", "slack", f"--from-literal=url={url}")


def condition(pipeline: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """One condition of a pipeline; empty while it isn't there."""
    conditions: list[dict[str, Any]] = pipeline.get("status", {}).get("conditions", [])
    return next((found for found in conditions if found["type"] == kind), {})


def get(cluster: Cluster, namespace: str, *what: str) -> Any:
    """kubectl get -o json; None for an object that isn't there."""
    found = cluster.run_kubectl("-n", namespace, "get", *what, "--ignore-not-found", "-o", "json")
    return json.loads(found) if found else None


def events(cluster: Cluster, namespace: str) -> list[dict[str, Any]]:
    """The operator's events, oldest first."""
    listed = json.loads(cluster.run_kubectl("-n", namespace, "get", "events.events.k8s.io", "-o", "json"))["items"]
    own = [event for event in listed if event.get("reportingController") == "notification-operator"]
    return sorted(own, key=lambda event: str(event["eventTime"]))


T = TypeVar("T")


def eventually(look: Callable[[], T | None], expectation: str, seconds: float = SECONDS) -> T:
    """Look until something is found; the API server's own events are what is waited for."""
    deadline = time.monotonic() + seconds
    while True:
        if found := look():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {expectation}")
        time.sleep(0.05)


def ready(cluster: Cluster, namespace: str, name: str = "booking") -> dict[str, Any]:
    """The pipeline, once its summary is True for the spec that is stored."""

    def look() -> dict[str, Any] | None:
        pipeline: dict[str, Any] | None = get(cluster, namespace, "npl", name)
        if pipeline is None:
            return None
        current = pipeline.get("status", {}).get("observedGeneration") == pipeline["metadata"]["generation"]
        return pipeline if current and condition(pipeline, "Ready").get("status") == "True" else None

    return eventually(look, f"{name} is Ready")
