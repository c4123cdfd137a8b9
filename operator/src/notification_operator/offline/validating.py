"""The API server's verdict on a manifest, without it. `commands` and `dev` call `judge`.

The spec's model and the CRD's schema come from one source; here is what the API server does around them: it takes an
unknown field for an error, drops a field that is null, and checks apiVersion, kind and metadata.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from pydantic import ValidationError

from notification_operator import findings
from notification_operator.crd import spec_schema, structural
from notification_operator.errors import InvalidSpecError
from notification_operator.findings import Finding, Schema
from notification_operator.group import API_VERSION, GROUP, KIND
from notification_operator.offline.object_meta import ObjectMeta
from notification_operator.pipeline import Pipeline

DEFAULT_NAMESPACE = "default"
_TOP = ("apiVersion", "kind", "metadata", "spec", "status")
_MOST_BYTES = 1_500_000
"""What etcd takes for one object, less a margin for what the API server adds."""


class Judged:
    """A manifest's findings; and, if there are none, the pipeline."""

    def __init__(self, found: list[Finding], pipeline: Pipeline | None = None) -> None:
        self.findings = found
        self.pipeline = pipeline


def concerns(api_version: str, kind: str) -> bool:
    """Whether a manifest is, or is meant to be, a pipeline: its kind or its group says so, or it says nothing."""
    return not (api_version and kind) or kind == KIND or api_version.partition("/")[0] == GROUP


def judge(manifest: Mapping[str, Any], namespace: str | None = None) -> Judged:
    """Check a manifest that `concerns` us. `namespace` is the one that was asked for; None: the manifest's own."""
    found = _type_findings(manifest)
    if found:
        return Judged(found)
    found += [findings.unknown("", name, _TOP) for name in manifest if name not in _TOP]
    metadata = _metadata(manifest, found)
    spec = _spec(manifest, found)
    if metadata is not None and namespace is not None and metadata.namespace not in (None, namespace):
        message = f"is {metadata.namespace}, and --namespace is {namespace}: leave one of them out"
        found.append(Finding("metadata.namespace", message))
    stored = {
        "metadata": {
            "name": "" if metadata is None else metadata.name,
            "namespace": namespace or (metadata and metadata.namespace) or DEFAULT_NAMESPACE,
            "uid": "",
            "generation": 0,
        },
        "spec": spec,
    }
    pipeline = None
    try:
        if spec is not None:
            pipeline = Pipeline.parse(stored)
    except InvalidSpecError as error:
        found += error.findings
    if len(msgspec.json.encode(manifest)) > _MOST_BYTES:
        found.append(Finding("", "is larger than 1.5 MB, more than the API server stores for one object"))
    return Judged(found) if found else Judged([], pipeline)


def _type_findings(manifest: Mapping[str, Any]) -> list[Finding]:
    expected = {"apiVersion": API_VERSION, "kind": KIND}
    return [
        Finding(field, f"must be {value}" if manifest.get(field) else f"is required: {value}")
        for field, value in expected.items()
        if manifest.get(field) != value
    ]


@cache
def _meta_schema() -> Schema:
    return structural(ObjectMeta)


def _metadata(manifest: Mapping[str, Any], found: list[Finding]) -> ObjectMeta | None:
    schema = _meta_schema()
    stated = manifest.get("metadata")
    pruned = _pruned({} if stated is None else stated, schema, "metadata", found)
    try:
        return ObjectMeta.model_validate_json(msgspec.json.encode(pruned))
    except ValidationError as error:
        found += findings.read(error, schema, "metadata")
        return None


def _spec(manifest: Mapping[str, Any], found: list[Finding]) -> Any:
    """The spec without what is null; None where there is none."""
    if manifest.get("spec") is None:
        found.append(Finding("spec", "is required"))
        return None
    return _pruned(manifest["spec"], spec_schema(), "spec", found)


def _pruned(value: Any, schema: Schema, field: str, found: list[Finding]) -> Any:
    """The value without fields that are null, and without unknown ones, which are findings."""
    items, properties, others = schema.get("items"), schema.get("properties"), schema.get("additionalProperties")
    if isinstance(value, list) and isinstance(items, Mapping):
        return [_pruned(item, items, findings.joined(field, place), found) for place, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    if properties is None and not isinstance(others, Mapping):
        return copy.deepcopy(value)
    kept = {}
    for name, inner in value.items():
        below = (properties or {}).get(name, others)
        if not isinstance(below, Mapping):
            found.append(findings.unknown(field, name, list(properties or {})))
        elif inner is not None:
            kept[name] = _pruned(inner, below, findings.joined(field, name), found)
    return kept
