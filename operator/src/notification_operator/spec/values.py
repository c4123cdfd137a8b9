"""What several parts of the spec are made of: labels, links, names, each with the rule that the API server checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from notification_dispatcher.schema import DNS_LABEL, ApiModel, rule

# No backslash: the patterns stand in CEL as well.
_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL_NAME = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_KEY = rf"^({_SUBDOMAIN}/)?{_LABEL_NAME}$"
LABEL_VALUE = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
DNS_SUBDOMAIN = rf"^{_SUBDOMAIN}$"
LABEL_NAME = r"^[a-zA-Z_][a-zA-Z0-9_]*$"
"""The name of a label in Prometheus."""
LINK = r"^(https?://[!-~]+)?$"
"""An http or https URL, or nothing."""
PLAIN_TEXT = r"^[^\x00]*$"
"""Any text that an object can hold."""

_LONGEST_KEY = 253


def keys_rule(pattern: str, words: str, longest: int = _LONGEST_KEY) -> dict[str, Any]:
    """The CEL rule for a map's keys: the schema itself can only bound its values."""
    return rule(f"self.all(key, key.matches('{pattern}') && size(key) <= {longest})", words)


LabelKey = Annotated[str, Field(pattern=LABEL_KEY, min_length=1, max_length=_LONGEST_KEY)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE, max_length=63)]
Labels = Annotated[
    Mapping[LabelKey, LabelValue],
    Field(
        max_length=32,
        json_schema_extra=keys_rule(
            LABEL_KEY, "each key must be a Kubernetes label key, such as release or example.com/team"
        ),
    ),
]
Annotations = Annotated[
    Mapping[LabelKey, Annotated[str, Field(pattern=PLAIN_TEXT, max_length=4096)]],
    Field(
        max_length=32,
        json_schema_extra=keys_rule(
            LABEL_KEY, "each key must be a Kubernetes annotation key, such as example.com/team"
        ),
    ),
]
ObjectName = Annotated[str, Field(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
OptionalObjectName = Annotated[str, Field(pattern=rf"^({_SUBDOMAIN})?$", max_length=253)]
NamespaceName = Annotated[str, Field(pattern=DNS_LABEL, min_length=1, max_length=63)]


class LocalObject(ApiModel):
    """Another object of the pipeline's own namespace."""

    name: ObjectName = Field(description="Name of the object.")
