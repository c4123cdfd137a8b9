"""What several parts of the spec are made of: labels, links, names, each with the rule that the API server checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import AfterValidator, Field

from notification_dispatcher.schema import DNS_LABEL, ApiModel, rules
from notification_operator.group import GROUP

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
_OWN_KEYS = f"{GROUP}/"
_OWN_LABELS = (
    _OWN_KEYS,
    *(f"app.kubernetes.io/{name}" for name in ("name", "instance", "component", "part-of", "managed-by")),
    "pod-template-hash",
)
_OWN_ANNOTATIONS = (
    _OWN_KEYS,
    # Kubernetes obeys them, or refuses the pod for them. The spec has fields for what should be said.
    "kubernetes.io/config.",
    "scheduler.alpha.kubernetes.io/",
    "controller.kubernetes.io/",
    "seccomp.security.alpha.kubernetes.io/",
    "container.seccomp.security.alpha.kubernetes.io/",
    "container.apparmor.security.beta.kubernetes.io/",
)
_LABEL_KEYS = "each key must be a Kubernetes label key, such as release or example.com/team"
_ANNOTATION_KEYS = "each key must be a Kubernetes annotation key, such as example.com/team"


def keys_rule(pattern: str, words: str, longest: int = _LONGEST_KEY, *, reserved: Sequence[str] = ()) -> dict[str, Any]:
    """The CEL rules for a map's keys: the schema itself can only bound its values."""
    keys = (f"self.all(key, key.matches('{pattern}') && size(key) <= {longest})", words)
    if not reserved:
        return rules(keys)
    return rules(keys, (f"!self.exists(key, {list(reserved)}.exists(own, key.startsWith(own)))", _taken(reserved)))


def _free(reserved: Sequence[str]) -> AfterValidator:
    """The same of reserved keys, as Python."""

    def check(value: Mapping[str, str]) -> Mapping[str, str]:
        if any(key.startswith(tuple(reserved)) for key in value):
            raise ValueError(_taken(reserved))
        return value

    return AfterValidator(check)


def _taken(reserved: Sequence[str]) -> str:
    return f"keys that start like these are the operator's, or Kubernetes' own: {', '.join(reserved)}"


LabelKey = Annotated[str, Field(pattern=LABEL_KEY, min_length=1, max_length=_LONGEST_KEY)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE, max_length=63)]
Labels = Annotated[
    Mapping[LabelKey, LabelValue], Field(max_length=32, json_schema_extra=keys_rule(LABEL_KEY, _LABEL_KEYS))
]
AddedLabels = Annotated[
    Mapping[LabelKey, LabelValue],
    Field(max_length=32, json_schema_extra=keys_rule(LABEL_KEY, _LABEL_KEYS, reserved=_OWN_LABELS)),
    _free(_OWN_LABELS),
]
"""Labels beside the operator's own."""
AddedAnnotations = Annotated[
    Mapping[LabelKey, Annotated[str, Field(pattern=PLAIN_TEXT, max_length=4096)]],
    Field(max_length=32, json_schema_extra=keys_rule(LABEL_KEY, _ANNOTATION_KEYS, reserved=_OWN_ANNOTATIONS)),
    _free(_OWN_ANNOTATIONS),
]
"""Annotations beside the operator's own."""
ObjectName = Annotated[str, Field(pattern=DNS_SUBDOMAIN, min_length=1, max_length=253)]
OptionalObjectName = Annotated[str, Field(pattern=rf"^({_SUBDOMAIN})?$", max_length=253)]
NamespaceName = Annotated[str, Field(pattern=DNS_LABEL, min_length=1, max_length=63)]


class LocalObject(ApiModel):
    """Another object of the pipeline's own namespace."""

    name: ObjectName = Field(description="Name of the object.")
