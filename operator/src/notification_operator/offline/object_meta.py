"""`metadata` as the API server checks it for every object. `validating` reads a manifest's with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from notification_dispatcher.schema import ApiModel
from notification_operator import naming
from notification_operator.spec.values import LabelKey, LabelValue, NamespaceName, ObjectName

_MOST_ANNOTATION_BYTES = 256 * 1024
_NAME_NEEDED = "is required: a pipeline is applied by its name"

Filled = Any
"""What the API server fills in, and a manifest that was read from it repeats."""


class ObjectMeta(ApiModel):
    """Identity, labels and annotations of one object."""

    name: ObjectName | None = Field(default=None)
    namespace: NamespaceName | None = Field(default=None)
    labels: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    annotations: Mapping[LabelKey, str] = Field(default_factory=dict)
    finalizers: tuple[Annotated[str, Field(min_length=1)], ...] = Field(default=())
    generate_name: str | None = Field(default=None)
    owner_references: Filled = None
    managed_fields: Filled = None
    uid: Filled = None
    resource_version: Filled = None
    generation: Filled = None
    creation_timestamp: Filled = None
    deletion_timestamp: Filled = None
    deletion_grace_period_seconds: Filled = None
    self_link: Filled = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.name is None:
            raise ValueError(f"metadata.name {_NAME_NEEDED}")
        for pattern, message in naming.NAME_RULES:
            if not re.search(pattern, self.name):
                raise ValueError(message)
        if sum(len(key) + len(value.encode()) for key, value in self.annotations.items()) > _MOST_ANNOTATION_BYTES:
            raise ValueError("metadata.annotations must have at most 256 KiB in all")
        return self
