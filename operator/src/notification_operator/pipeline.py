"""One NotificationPipeline as the API server stores it, in its typed form: `reconcile` parses, builders take it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import msgspec
from pydantic import ValidationError

from notification_operator import findings, naming
from notification_operator.crd import spec_schema
from notification_operator.errors import InvalidSpecError
from notification_operator.spec import PipelineSpec


@dataclass(frozen=True, slots=True)
class Pipeline:
    """One NotificationPipeline as read from the API server."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: PipelineSpec

    @property
    def queue_schema(self) -> str:
        """The database schema of its tables, where the queue is in PostgreSQL."""
        database = self.spec.queue.postgresql
        named = None if database is None else database.schema_name
        return named or naming.queue_schema(self.namespace, self.name)

    def owns(self, live: Mapping[str, Any]) -> bool:
        """Whether a live object is this pipeline's: not that of a deleted one of its name, nor somebody else's."""
        owners = live.get("metadata", {}).get("ownerReferences", [])
        return any(owner["uid"] == self.uid for owner in owners)

    @classmethod
    def parse(cls, stored: Mapping[str, Any]) -> Self:
        """Read a stored object. Raises InvalidSpecError, naming each field that is wrong."""
        metadata = stored["metadata"]
        try:
            # JSON mode: a list of JSON is a tuple here, and nothing else is converted.
            spec = PipelineSpec.model_validate_json(msgspec.json.encode(stored.get("spec", {})))
        except ValidationError as error:
            raise InvalidSpecError(findings.read(error, spec_schema())) from None
        return cls(
            namespace=metadata["namespace"],
            name=metadata["name"],
            uid=metadata["uid"],
            generation=metadata["generation"],
            spec=spec,
        )
