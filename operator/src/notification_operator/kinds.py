"""The kinds of objects that the operator reads and writes, and their paths in the API.

Used by `cluster`, `watching`, `lease`, `events` and `reconcile`; `permissions` says what the operator may do with each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from notification_operator.group import API_VERSION, KIND, PLURAL

MONITORING = "monitoring.coreos.com/v1"
MONITORING_ALPHA = "monitoring.coreos.com/v1alpha1"
KEDA = "keda.sh/v1alpha1"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind, as the API server names it."""

    api_version: str
    name: str
    plural: str
    optional: bool = False
    """Its API may be missing, appear later, or go away."""
    namespaced: bool = True
    streamed: bool = False
    """Never listed: its watch begins with what is there, so that nobody need grant a list of it."""
    outlined: bool = False
    """Watched by its metadata alone: the rest is long, and asked for when somebody else has changed it."""

    @property
    def group(self) -> str:
        """Its API group; the core's is empty."""
        return self.api_version.rpartition("/")[0]

    @property
    def group_path(self) -> str:
        """Path of its API group and version."""
        return f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Path of one object, or of all of a namespace, or (namespace None) of all."""
        parts = [self.group_path]
        if namespace is not None:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        parts += [part for part in (name, subresource) if part is not None]
        return "/".join(parts)


PIPELINE = Kind(API_VERSION, KIND, PLURAL)
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps", outlined=True)
SECRET = Kind("v1", "Secret", "secrets", streamed=True)
SERVICE = Kind("v1", "Service", "services")
NAMESPACE = Kind("v1", "Namespace", "namespaces", namespaced=False)
POD = Kind("v1", "Pod", "pods")
VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
TRIGGER_AUTHENTICATION = Kind(KEDA, "TriggerAuthentication", "triggerauthentications", optional=True)
SCALED_OBJECT = Kind(KEDA, "ScaledObject", "scaledobjects", optional=True)
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
EVENT = Kind("events.k8s.io/v1", "Event", "events")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
SERVICE_MONITOR = Kind(MONITORING, "ServiceMonitor", "servicemonitors", optional=True)
PROMETHEUS_RULE = Kind(MONITORING, "PrometheusRule", "prometheusrules", optional=True, outlined=True)
PROMETHEUS = Kind(MONITORING, "Prometheus", "prometheuses", optional=True)
PROMETHEUS_AGENT = Kind(MONITORING_ALPHA, "PrometheusAgent", "prometheusagents", optional=True)

CHILDREN = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    SECRET,
    SERVICE,
    VOLUME_CLAIM,
    DEPLOYMENT,
    AUTOSCALER,
    TRIGGER_AUTHENTICATION,
    SCALED_OBJECT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SERVICE_MONITOR,
    PROMETHEUS_RULE,
)
"""Every kind of child, in the order in which people are shown them."""

_BY_NAME = {(kind.api_version, kind.name): kind for kind in (*CHILDREN, PIPELINE, EVENT)}


def kind_of(manifest: Mapping[str, Any]) -> Kind:
    """The kind of an object that a builder made."""
    return _BY_NAME[manifest["apiVersion"], manifest["kind"]]
