"""Label selectors, in Kubernetes' own words: who may call the dispatchers, and what they are placed beside."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict, Field, model_validator

from notification_dispatcher.schema import ApiModel, Enumeration, rules
from notification_operator.spec.values import LabelKey, Labels, LabelValue

_IN_HAS_VALUES = "values must be set for the operators In and NotIn"
_EXISTS_HAS_NONE = "values must not be set for the operators Exists and DoesNotExist"


class SelectorOperator(Enumeration):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class SelectorExpression(ApiModel):
    """One demand on a label."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            ("!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)", _IN_HAS_VALUES),
            (
                "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || self.values.size() == 0",
                _EXISTS_HAS_NONE,
            ),
        )
    )

    key: LabelKey = Field(description="The label's key.")
    operator: SelectorOperator = Field(description="In, NotIn, Exists or DoesNotExist.")
    values: tuple[LabelValue, ...] = Field(
        default=(),
        max_length=32,
        description="The label's values, for In and NotIn.",
        json_schema_extra={"x-kubernetes-list-type": "set"},
    )

    @model_validator(mode="after")
    def _values_fit(self) -> Self:
        if self.operator in {SelectorOperator.IN, SelectorOperator.NOT_IN} and not self.values:
            raise ValueError(_IN_HAS_VALUES)
        if self.operator in {SelectorOperator.EXISTS, SelectorOperator.DOES_NOT_EXIST} and self.values:
            raise ValueError(_EXISTS_HAS_NONE)
        if len(set(self.values)) != len(self.values):
            raise ValueError("values: one stands more than once")
        return self


class LabelSelector(ApiModel):
    """Which objects are meant, by their labels. An empty one means all of them."""

    match_labels: Labels = Field(default_factory=dict, description="Labels that they have, with these values.")
    match_expressions: tuple[SelectorExpression, ...] = Field(
        default=(),
        max_length=16,
        description="Further demands on their labels.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
