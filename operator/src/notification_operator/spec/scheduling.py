"""Where the dispatcher's pods may run, in Kubernetes' own words.

Written out, not passed through: what a Deployment would refuse is refused here, by `kubectl apply`, with the field.
"""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.schema import ApiModel, Enumeration, rules
from notification_operator.spec.selectors import LabelSelector
from notification_operator.spec.values import LabelKey, LabelValue, NamespaceName

_ATOMIC: dict[str, Any] = {"x-kubernetes-list-type": "atomic"}
_SET: dict[str, Any] = {"x-kubernetes-list-type": "set"}

_ALL_KEYS = "a toleration without a key tolerates every taint: its operator must be Exists"
_NO_VALUE = "a toleration with the operator Exists must have no value"
_ONLY_NO_EXECUTE = "tolerationSeconds belongs to the effect NoExecute"
_NODE_VALUES = "values: In and NotIn need one at least, Exists and DoesNotExist none, Gt and Lt one whole number"
_NODE_VALUES_RULE = (
    "self.operator in ['In', 'NotIn'] ? has(self.values) && self.values.size() > 0"
    " : self.operator in ['Gt', 'Lt'] ? has(self.values) && self.values.size() == 1"
    " && self.values[0].matches('^[0-9]{1,18}$')"
    " : !has(self.values) || self.values.size() == 0"
)
_MIN_DOMAINS = "minDomains belongs to whenUnsatisfiable: DoNotSchedule"


class TolerationOperator(Enumeration):
    """How a taint is compared."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(Enumeration):
    """What a taint does to pods that don't tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """A taint that doesn't keep the pods away."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("has(self.key) || self.operator == 'Exists'", _ALL_KEYS),
            ("self.operator != 'Exists' || !has(self.value)", _NO_VALUE),
            ("!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')", _ONLY_NO_EXECUTE),
        )
    )

    key: LabelKey | None = Field(default=None, description="The taint's key. Default: every taint.")
    operator: TolerationOperator = Field(default=TolerationOperator.EQUAL, description="Equal or Exists.")
    value: LabelValue | None = Field(default=None, description="The taint's value, for Equal. Default: an empty one.")
    effect: TaintEffect | None = Field(default=None, description="The taint's effect. Default: every effect.")
    toleration_seconds: int | None = Field(
        default=None,
        ge=0,
        le=2_592_000,
        description="For NoExecute: how many seconds the taint is tolerated. Default: for ever.",
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if self.key is None and self.operator is not TolerationOperator.EXISTS:
            raise ValueError(_ALL_KEYS)
        if self.operator is TolerationOperator.EXISTS and self.value is not None:
            raise ValueError(_NO_VALUE)
        if self.toleration_seconds is not None and self.effect is not TaintEffect.NO_EXECUTE:
            raise ValueError(_ONLY_NO_EXECUTE)
        return self


class NodeOperator(Enumeration):
    """How a node's label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"
    GT = "Gt"
    LT = "Lt"


class NodeExpression(ApiModel):
    """One demand on a node's label."""

    model_config = ConfigDict(json_schema_extra=rules((_NODE_VALUES_RULE, _NODE_VALUES)))

    key: LabelKey = Field(description="The label's key.")
    operator: NodeOperator = Field(description="In, NotIn, Exists, DoesNotExist, Gt or Lt.")
    values: tuple[LabelValue, ...] = Field(
        default=(), max_length=32, description="The label's values.", json_schema_extra=_ATOMIC
    )

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        match self.operator:
            case NodeOperator.IN | NodeOperator.NOT_IN:
                fit = bool(self.values)
            case NodeOperator.GT | NodeOperator.LT:
                fit = len(self.values) == 1 and self.values[0].isdecimal() and len(self.values[0]) <= 18
            case _:
                fit = not self.values
        if not fit:
            raise ValueError(_NODE_VALUES)
        return self


class NodeSelectorTerm(ApiModel):
    """Demands on a node's labels, all of which must hold."""

    match_expressions: tuple[NodeExpression, ...] = Field(
        min_length=1, max_length=16, description="The demands.", json_schema_extra=_ATOMIC
    )


class NodeSelector(ApiModel):
    """Nodes that are meant: those that one of the terms matches."""

    node_selector_terms: tuple[NodeSelectorTerm, ...] = Field(
        min_length=1, max_length=8, description="One of these must match.", json_schema_extra=_ATOMIC
    )


class PreferredNode(ApiModel):
    """Nodes that are liked better."""

    weight: int = Field(ge=1, le=100, description="How much it counts beside others.")
    preference: NodeSelectorTerm = Field(description="The nodes that are meant.")


class NodeAffinity(ApiModel):
    """Which nodes the pods may, or would rather, run on."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = Field(
        default=None, description="Nodes that they may run on. Default: all."
    )
    preferred_during_scheduling_ignored_during_execution: tuple[PreferredNode, ...] = Field(
        default=(), max_length=8, description="Nodes that they would rather run on.", json_schema_extra=_ATOMIC
    )


class PodAffinityTerm(ApiModel):
    """Pods, and the part of the cluster that being near them means."""

    label_selector: LabelSelector | None = Field(default=None, description="Which pods, by label. Default: none.")
    topology_key: LabelKey = Field(description="Node label whose value says what is near: kubernetes.io/hostname, …")
    namespaces: tuple[NamespaceName, ...] = Field(
        default=(),
        max_length=32,
        description="Namespaces of those pods. Default: the pipeline's own.",
        json_schema_extra=_SET,
    )
    namespace_selector: LabelSelector | None = Field(
        default=None, description="Namespaces of those pods, by label; they add up with the listed ones."
    )

    @model_validator(mode="after")
    def _unique(self) -> Self:
        if len(set(self.namespaces)) != len(self.namespaces):
            raise ValueError("namespaces: one stands more than once")
        return self


class WeightedPodAffinityTerm(ApiModel):
    """A place that is liked better, or worse."""

    weight: int = Field(ge=1, le=100, description="How much it counts beside others.")
    pod_affinity_term: PodAffinityTerm = Field(description="The place that is meant.")


class PodAffinity(ApiModel):
    """Which pods the dispatchers should be near to, or away from."""

    required_during_scheduling_ignored_during_execution: tuple[PodAffinityTerm, ...] = Field(
        default=(), max_length=8, description="It must be so.", json_schema_extra=_ATOMIC
    )
    preferred_during_scheduling_ignored_during_execution: tuple[WeightedPodAffinityTerm, ...] = Field(
        default=(), max_length=8, description="It would rather be so.", json_schema_extra=_ATOMIC
    )


class Affinity(ApiModel):
    """What the pods are drawn to, and what they avoid."""

    node_affinity: NodeAffinity | None = Field(default=None, description="Nodes, by their labels.")
    pod_affinity: PodAffinity | None = Field(default=None, description="Pods to be near to.")
    pod_anti_affinity: PodAffinity | None = Field(default=None, description="Pods to be away from.")


class WhenUnsatisfiable(Enumeration):
    """What happens to a pod that can't be placed evenly."""

    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


class TopologySpread(ApiModel):
    """How evenly the pods are spread over a part of the cluster."""

    model_config = ConfigDict(
        json_schema_extra=rules(("!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'", _MIN_DOMAINS))
    )

    max_skew: int = Field(default=1, ge=1, le=100, description="How many more pods one part may have than another.")
    topology_key: LabelKey = Field(description="Node label whose values are the parts: kubernetes.io/hostname, …")
    when_unsatisfiable: WhenUnsatisfiable = Field(
        default=WhenUnsatisfiable.SCHEDULE_ANYWAY, description="ScheduleAnyway, or DoNotSchedule: the pod waits."
    )
    min_domains: int | None = Field(
        default=None, ge=1, le=1000, description="For DoNotSchedule: how many parts there must be. Default: 1."
    )

    @model_validator(mode="after")
    def _domains(self) -> Self:
        if self.min_domains is not None and self.when_unsatisfiable is not WhenUnsatisfiable.DO_NOT_SCHEDULE:
            raise ValueError(_MIN_DOMAINS)
        return self
