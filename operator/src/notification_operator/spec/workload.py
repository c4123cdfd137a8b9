"""What the dispatcher's pods are: how many, of what size, with what around them."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.schema import ApiModel, Enumeration, SecretKeyRef, rule, rules
from notification_operator.spec.quantity import Quantity, same_or_less
from notification_operator.spec.selectors import LabelSelector

_ORDERED_REPLICAS = "autoscaling.minReplicas must not be more than maxReplicas"
_WITHIN_LIMIT = "resources.requests must not be more than resources.limits"
_ONE_SOURCE = "an environment variable must have at most one of value and valueFrom"
_ONE_REFERENCE = "valueFrom must have exactly one of secretKeyRef and configMapKeyRef"
_OURS = ("NOTIFICATION_", "SLACK_")
_NOT_OURS = "env: NOTIFICATION_… and SLACK_… are set by the operator; the spec has a field for each"


class ImagePullPolicy(Enumeration):
    """When the kubelet pulls the dispatcher's image."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class Autoscaling(ApiModel):
    """How many dispatchers there are, by their load."""

    model_config = ConfigDict(json_schema_extra=rule("self.minReplicas <= self.maxReplicas", _ORDERED_REPLICAS))

    min_replicas: int = Field(default=1, ge=1, le=100, description="There are never fewer.")
    max_replicas: int = Field(default=10, ge=1, le=100, description="There are never more.")
    backlog_per_replica: int = Field(
        default=100,
        ge=1,
        le=10_000_000,
        description="Where the cluster has KEDA, dispatchers are also added while more jobs than this are due for each "
        "of them. KEDA connects with the URI alone: what tls.caSecretRef names is not known to it.",
    )
    target_cpu: int = Field(
        default=80,
        alias="targetCPUUtilizationPercentage",
        ge=1,
        le=1000,
        description="Dispatchers are added while they use more of the CPU that resources.requests asks for, on "
        "average, in percent.",
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(_ORDERED_REPLICAS)
        return self


class ResourceList(ApiModel):
    """Amounts of what a container uses."""

    cpu: Quantity | None = Field(default=None, description="CPU, in cores: 500m is half a core.")
    memory: Quantity | None = Field(default=None, description="Memory, in bytes: 256Mi.")
    ephemeral_storage: Quantity | None = Field(
        default=None, alias="ephemeral-storage", description="Disk of the node, in bytes; a queue without a volume too."
    )

    @property
    def canonical(self) -> dict[str, str]:
        """Resource → amount, as the API server stores it."""
        named = {"cpu": self.cpu, "memory": self.memory, "ephemeral-storage": self.ephemeral_storage}
        return {name: quantity.canonical for name, quantity in named.items() if quantity is not None}


def _within_limit(field: str) -> str:
    return (
        f"!has(self.requests) || !has(self.limits) || !has(self.requests.{field}) || !has(self.limits.{field})"
        f" || {same_or_less(f'self.requests.{field}', f'self.limits.{field}')}"
    )


class Resources(ApiModel):
    """What each dispatcher is given of its node."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            *((_within_limit(field), _WITHIN_LIMIT) for field in ("cpu", "memory", "ephemeral__dash__storage"))
        )
    )

    requests: ResourceList | None = Field(default=None, description="What it is sure to get.")
    limits: ResourceList | None = Field(
        default=None, description="What it may use at most; beyond the memory limit it is killed."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.requests is None or self.limits is None:
            return self
        for name in ResourceList.model_fields:
            request, limit = getattr(self.requests, name), getattr(self.limits, name)
            if request is not None and limit is not None and request.amount > limit.amount:
                raise ValueError(_WITHIN_LIMIT)
        return self


class ValueSource(ApiModel):
    """Where an environment variable's value comes from, in the pipeline's own namespace."""

    model_config = ConfigDict(
        json_schema_extra=rule("has(self.secretKeyRef) != has(self.configMapKeyRef)", _ONE_REFERENCE)
    )

    secret_key_ref: SecretKeyRef | None = Field(default=None, description="A key of a Secret.")
    config_map_key_ref: SecretKeyRef | None = Field(default=None, description="A key of a ConfigMap.")

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.secret_key_ref is None) == (self.config_map_key_ref is None):
            raise ValueError(_ONE_REFERENCE)
        return self


class EnvVar(ApiModel):
    """An environment variable of the dispatcher's container beside the operator's own: a proxy, a time zone."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!has(self.value) || !has(self.valueFrom)", _ONE_SOURCE),
            (" && ".join(f"!self.name.startsWith('{prefix}')" for prefix in _OURS), _NOT_OURS),
        )
    )

    name: str = Field(
        pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", min_length=1, max_length=128, description="The variable's name."
    )
    value: str | None = Field(
        default=None, pattern=r"^[^\x00]*$", max_length=4096, description="Its value. Default: an empty one."
    )
    value_from: ValueSource | None = Field(default=None, description="Where its value comes from.")

    @model_validator(mode="after")
    def _sensible(self) -> Self:
        if self.value is not None and self.value_from is not None:
            raise ValueError(_ONE_SOURCE)
        if self.name.startswith(_OURS):
            raise ValueError(_NOT_OURS)
        return self


class PodDisruptionBudget(ApiModel):
    """What keeps a node's maintenance from taking all dispatchers at once."""

    enabled: bool = Field(
        default=True, description="Create one, where more than one dispatcher is wanted: one at a time may be evicted."
    )


class NetworkPeer(ApiModel):
    """Pods that may call, by their labels and their namespace's."""

    model_config = ConfigDict(
        json_schema_extra=rule(
            "has(self.podSelector) || has(self.namespaceSelector)",
            "networkPolicy.ingressFrom: each entry needs a podSelector or a namespaceSelector",
        )
    )

    pod_selector: LabelSelector | None = Field(default=None, description="Which pods. Default: all.")
    namespace_selector: LabelSelector | None = Field(
        default=None, description="Of which namespaces. Default: the pipeline's own."
    )

    @model_validator(mode="after")
    def _some(self) -> Self:
        if self.pod_selector is None and self.namespace_selector is None:
            raise ValueError("networkPolicy.ingressFrom: each entry needs a podSelector or a namespaceSelector")
        return self


class NetworkPolicy(ApiModel):
    """Who may call the dispatchers, and where they may go. The cluster's network must enforce such policies."""

    enabled: bool = Field(
        default=False,
        description="Create one: calls reach the API's port alone; deliveries go anywhere but to the addresses where "
        "clouds hand out credentials.",
    )
    ingress_from: tuple[NetworkPeer, ...] = Field(
        default=(),
        max_length=16,
        description="Who may call. Prometheus, and whoever posts notifications, must be among them. Default: everyone.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
