"""`metadata` as the API server checks it for every object. `validating` reads a manifest's with it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from notification_dispatcher.schema import ApiModel
from notification_operator import naming
from notification_operator.spec.values import LABEL_KEY, LabelKey, LabelValue, NamespaceName, ObjectName

_MOST_ANNOTATION_BYTES = 256 * 1024
_NAME_NEEDED = "is required: a pipeline is applied by its name"

# The API server looks at an annotation's key as if it were written in small letters.
AnnotationKey = Annotated[str, Field(pattern=rf"(?i:{LABEL_KEY})", min_length=1, max_length=317)]


class OwnerReference(ApiModel):
    """Whom garbage collection looks for."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(ApiModel):
    """Identity, labels and annotations of one object."""

    name: ObjectName | None = Field(default=None)
    namespace: NamespaceName | None = Field(default=None)
    labels: Mapping[LabelKey, LabelValue] = Field(default_factory=dict)
    annotations: Mapping[AnnotationKey, str] = Field(default_factory=dict)
    finalizers: tuple[LabelKey, ...] = Field(default=())
    owner_references: tuple[OwnerReference, ...] = Field(default=())
    generate_name: str | None = Field(default=None)

    # What the API server fills in, and a manifest that was read from it repeats.
    uid: str | None = Field(default=None)
    resource_version: str | None = Field(default=None)
    generation: int | None = Field(default=None)
    creation_timestamp: str | None = Field(default=None)
    deletion_timestamp: str | None = Field(default=None)
    deletion_grace_period_seconds: int | None = Field(default=None)
    managed_fields: tuple[Any, ...] = Field(default=())
    self_link: str | None = Field(default=None)

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
