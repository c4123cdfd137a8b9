"""The fields of the spec that shape the dispatcher's pods: image, number, size, place, surroundings.

Maps and lists have no default in the schema: the API server would store it, and merge what a person applies later into
it. The builders fill them in.
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from notification_dispatcher.schema import LIST_BY_NAME, ApiModel, duplicates
from notification_operator.spec.scheduling import Affinity, Toleration, TopologySpread
from notification_operator.spec.values import AddedAnnotations, AddedLabels, Labels, LocalObject, OptionalObjectName
from notification_operator.spec.workload import (
    Autoscaling,
    EnvVar,
    ImagePullPolicy,
    NetworkPolicy,
    PodDisruptionBudget,
    Resources,
)

_BY_TOPOLOGY: dict[str, Any] = {
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["topologyKey", "whenUnsatisfiable"],
}


class PodFields(ApiModel):
    """What `PipelineSpec` says of its pods."""

    image: str = Field(
        default="",
        max_length=512,
        pattern=r"^[!-~]*$",
        description="Image of the dispatcher. Default: the one that the operator was installed with.",
    )
    image_pull_policy: ImagePullPolicy = Field(
        default=ImagePullPolicy.IF_NOT_PRESENT, description="When the image is pulled."
    )
    image_pull_secrets: tuple[LocalObject, ...] = Field(
        default=(),
        max_length=16,
        description="Secrets that the kubelet pulls the image with.",
        json_schema_extra=LIST_BY_NAME,
    )
    replicas: int = Field(
        default=1,
        ge=0,
        le=100,
        description="Dispatchers, where they aren't many by autoscaling. The Embedded engine allows one. With 0 "
        "nothing is taken or delivered, and what waits stays where it is. `kubectl scale` sets it too.",
    )
    autoscaling: Autoscaling | None = Field(
        default=None,
        description="As many dispatchers as their load asks for: by CPU with a HorizontalPodAutoscaler, or by backlog "
        "and CPU with a ScaledObject where the cluster has KEDA. PostgreSQL only, and not together with replicas. "
        "Taken away, it leaves as many as replicas says: 1, where it says nothing.",
    )
    resources: Resources | None = Field(
        default=None,
        description="CPU, memory and disk of each dispatcher. What you set replaces the default as a whole. Default: "
        "requests of 50m CPU and 96Mi memory, a limit of 512Mi memory.",
    )
    node_selector: Labels = Field(default_factory=dict, description="Labels that a node must have.")
    tolerations: tuple[Toleration, ...] = Field(
        default=(),
        max_length=32,
        description="Taints that don't keep the dispatchers away.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    affinity: Affinity = Field(default_factory=Affinity, description="What the dispatchers are drawn to, and avoid.")
    topology_spread_constraints: tuple[TopologySpread, ...] | None = Field(
        default=None,
        max_length=8,
        description="How the dispatchers are spread over the cluster. What you set replaces the default as a whole; an "
        "empty list is no wish. Default: evenly over nodes (kubernetes.io/hostname), where that is possible.",
        json_schema_extra=_BY_TOPOLOGY,
    )
    priority_class_name: OptionalObjectName = Field(default="", description="PriorityClass of the pods.")
    service_account_name: OptionalObjectName = Field(
        default="", description="Account that the pods run as. Default: one is made, without any rights."
    )
    pod_labels: AddedLabels = Field(default_factory=dict, description="Labels to add to the pods.")
    pod_annotations: AddedAnnotations = Field(default_factory=dict, description="Annotations to add to the pods.")
    env: tuple[EnvVar, ...] = Field(
        default=(),
        max_length=64,
        description="Environment variables to add: a proxy, a time zone.",
        json_schema_extra=LIST_BY_NAME,
    )
    pod_disruption_budget: PodDisruptionBudget = Field(
        default_factory=PodDisruptionBudget,
        description="What keeps a node's maintenance from taking all dispatchers at once.",
    )
    network_policy: NetworkPolicy = Field(
        default_factory=NetworkPolicy, description="Who may call the dispatchers, and where they may go."
    )

    @property
    def most_replicas(self) -> int:
        """So many dispatchers there may be."""
        return self.replicas if self.autoscaling is None else self.autoscaling.max_replicas


def check_pods(fields: PodFields) -> None:
    """Raise ValueError when a name stands twice in a list that is a map for the API server."""
    spreads = (f"{one.topology_key} {one.when_unsatisfiable}" for one in fields.topology_spread_constraints or ())
    for field, names in (
        ("imagePullSecrets", (one.name for one in fields.image_pull_secrets)),
        ("env", (one.name for one in fields.env)),
        ("topologySpreadConstraints", spreads),
    ):
        if twice := duplicates(names):
            raise ValueError(f"{field}: {twice[0]} stands more than once")
