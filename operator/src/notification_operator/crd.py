"""The CustomResourceDefinition, made from the typed spec.

`python -m notification_operator.crd FOLDER` writes it (`make generate`); a test fails when the committed file differs.
Pydantic's JSON schema is not what Kubernetes calls structural: `$ref`, `anyOf` with null, `patternProperties`, `title`
and `additionalProperties: false` are rewritten here, and the defaults of nested objects are added, so that the API
server fills them in.
Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import core_schema, to_jsonable_python

from notification_operator import naming
from notification_operator.group import GROUP, KIND, PLURAL, VERSION
from notification_operator.spec import PipelineSpec
from notification_operator.status import ConditionType

Schema = dict[str, Any]

_DROPPED = ("$defs", "title", "propertyNames", "additionalProperties")
_RULES = "x-kubernetes-validations"
_NAMES = {
    "kind": KIND,
    "listKind": f"{KIND}List",
    "plural": PLURAL,
    "singular": KIND.lower(),
    "shortNames": ["npl"],
    "categories": ["all"],
}
_SCALE = {
    "specReplicasPath": ".spec.replicas",
    "statusReplicasPath": ".status.replicas",
    "labelSelectorPath": ".status.selector",
}


class _WithFactoryDefaults(GenerateJsonSchema):
    """Pydantic leaves the result of a default factory out of the schema; the API server needs it."""

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> Schema:
        result = super().default_schema(schema)
        if "default_factory" in schema:
            value = schema["default_factory"]()  # type: ignore[call-arg]
            # In full: the API server checks the rules of an object's default before it fills in the inner defaults.
            result["default"] = _tidy(to_jsonable_python(value, by_alias=True))
            if result["default"] in ({}, []):
                del result["default"]
        return result


def _tidy(value: Any) -> Any:
    """Without what is unset or empty, which is no default worth storing."""
    if isinstance(value, list):
        return [_tidy(item) for item in value]
    if not isinstance(value, dict):
        return value
    inner = {key: _tidy(item) for key, item in value.items()}
    return {key: item for key, item in inner.items() if item not in (None, "", {}, [])}


def structural(model: type[BaseModel]) -> Schema:
    """The structural schema of a model, with every reference resolved."""
    raw = model.model_json_schema(schema_generator=_WithFactoryDefaults)
    return _rewrite(raw, raw.get("$defs", {}))


def _rewrite(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    schema = _merged(schema, definitions)
    result: Schema = {}
    for key, value in schema.items():
        if key in _DROPPED and not (key == "additionalProperties" and isinstance(value, dict)):
            continue
        if key == "default" and value in (None, "", [], ()):
            continue
        result[key] = value
    if "properties" in result:
        result["properties"] = {name: _rewrite(field, definitions) for name, field in result["properties"].items()}
    if "items" in result:
        result["items"] = _rewrite(result["items"], definitions)
    if "patternProperties" in result:
        (value_schema,) = result.pop("patternProperties").values()
        result["additionalProperties"] = _rewrite(value_schema, definitions)
    elif isinstance(result.get("additionalProperties"), dict):
        result["additionalProperties"] = _rewrite(result["additionalProperties"], definitions)
    if result.get("type") == "integer":
        result["format"] = "int32"
    return _with_default_said(result)


def _with_default_said(schema: Schema) -> Schema:
    """`kubectl explain` shows descriptions and no defaults: say the simple ones there."""
    default, description = schema.get("default"), schema.get("description", "")
    if isinstance(default, (bool, int, str)) and "Default:" not in description:
        said = str(default).lower() if isinstance(default, bool) else default
        schema["description"] = f"{description} Default: {said}."
    return schema


def _merged(schema: Schema, definitions: dict[str, Schema]) -> Schema:
    """Replace `$ref` and `anyOf: [X, null]` by what they stand for; what stands beside them wins, rules add up."""
    if "anyOf" in schema:
        (inner,) = [option for option in schema["anyOf"] if option != {"type": "null"}]
    elif "$ref" in schema:
        inner = definitions[schema["$ref"].removeprefix("#/$defs/")]
    else:
        return schema
    inner = _merged(inner, definitions)
    outer = {key: value for key, value in schema.items() if key not in ("anyOf", "$ref")}
    both = {**inner, **outer}
    if found := [*inner.get(_RULES, []), *outer.get(_RULES, [])]:
        both[_RULES] = found
    return both


def _condition_schema() -> Schema:
    return {
        "type": "object",
        "required": ["type", "status", "reason", "message", "lastTransitionTime"],
        "properties": {
            "type": {"type": "string", "description": "What is judged: " + ", ".join(ConditionType) + "."},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "The verdict."},
            "reason": {"type": "string", "description": "The verdict's cause, one CamelCase word, for programs."},
            "message": {"type": "string", "description": "The verdict's cause, for people: what is wrong, what to do."},
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "The generation of the spec that was judged.",
            },
            "lastTransitionTime": {
                "type": "string",
                "format": "date-time",
                "description": "When the status last changed.",
            },
        },
    }


def _status_schema() -> Schema:
    child = {
        "type": "object",
        "required": ["kind", "name", "state"],
        "properties": {
            "kind": {"type": "string", "description": "Kind of the child."},
            "name": {"type": "string", "description": "Name of the child."},
            "state": {
                "type": "string",
                "description": "Applied, Conflict (another owner), Failed, or Unavailable (its API is not installed).",
            },
        },
    }
    return {
        "type": "object",
        "description": "What the operator found and did.",
        "properties": {
            "observedGeneration": {
                "type": "integer",
                "format": "int64",
                "description": "The generation of the spec that this status speaks of.",
            },
            "ready": {"type": "string", "description": "Dispatchers that are ready, of those wanted: 1/1."},
            "replicas": {"type": "integer", "format": "int32", "description": "Dispatchers there are."},
            "readyReplicas": {"type": "integer", "format": "int32", "description": "Dispatchers that are ready."},
            "selector": {"type": "string", "description": "Selects the dispatchers' pods, as a text."},
            "endpoint": {"type": "string", "description": "Where to POST notifications, inside the cluster."},
            "image": {"type": "string", "description": "The dispatcher's image in force."},
            "conditions": {
                "type": "array",
                "description": "Verdicts on the pipeline; Ready sums them up.",
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["type"],
                "items": _condition_schema(),
            },
            "children": {
                "type": "array",
                "description": "The objects that make up the pipeline.",
                "x-kubernetes-list-type": "atomic",
                "items": child,
            },
        },
    }


def _condition_column(name: str, condition: ConditionType, field: str, description: str) -> Schema:
    return {
        "name": name,
        "type": "string",
        "description": description,
        "jsonPath": f'.status.conditions[?(@.type=="{condition}")].{field}',
    }


def _columns() -> list[Schema]:
    return [
        {"name": "Ready", "type": "string", "jsonPath": ".status.ready", "description": "Dispatchers ready, of wanted"},
        {"name": "Engine", "type": "string", "jsonPath": ".spec.queue.engine", "description": "Where jobs wait"},
        _condition_column("Alerts", ConditionType.ALERTING_CONFIGURED, "reason", "Can Slack be told?"),
        _condition_column("Scraped", ConditionType.MONITORING_SELECTED, "reason", "Does a Prometheus select it?"),
        _condition_column("Reason", ConditionType.READY, "reason", "The first thing that is wrong"),
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
        {"name": "Endpoint", "type": "string", "priority": 1, "jsonPath": ".status.endpoint"},
        {"name": "Image", "type": "string", "priority": 1, "jsonPath": ".status.image"},
    ]


def _name_rules() -> list[Schema]:
    return [
        {"rule": f"self.metadata.name.matches('{pattern}')", "message": message}
        for pattern, message in naming.NAME_RULES
    ]


@cache
def spec_schema() -> Schema:
    """The schema of `spec`. It is shared: don't change it."""
    return structural(PipelineSpec) | {"description": "What the pipeline should be."}


def definition() -> Schema:
    """The whole CustomResourceDefinition, as an object ready to be applied."""
    schema = {
        "type": "object",
        "description": "A notification pipeline: one dispatcher with its queue, its channels, its alerts, its scrape "
        "and its dashboard.",
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec_schema(),
            "status": _status_schema(),
        },
        _RULES: _name_rules(),
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "names": _NAMES,
            "scope": "Namespaced",
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": schema},
                    "subresources": {"status": {}, "scale": _SCALE},
                    "additionalPrinterColumns": _columns(),
                }
            ],
        },
    }


class _Dumper(yaml.SafeDumper):
    """YAML without anchors: a reader of the schema should not have to jump."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002  the base class's signature
        return True


def text() -> str:
    """The committed file's text."""
    body = yaml.dump(definition(), Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)
    return f"# Generated by `make generate` from notification_operator/spec/. Do not edit.\n{body}"


def main() -> None:
    """Write the file into the folder that the command line names."""
    folder = Path(sys.argv[1])
    (folder / f"{GROUP}_{PLURAL}.yaml").write_text(text())


if __name__ == "__main__":
    main()
