"""The schemas of a cluster's own API, as kubeconform reads them: one file for each kind, with all it refers to.

The API server publishes them; whatever it serves, other projects' definitions among it, can be checked strictly.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

LOCATION = "{{.ResourceKind}}{{.KindSuffix}}.json"
_GROUP_VERSION_KIND = "x-kubernetes-group-version-kind"
_HERE = "#/definitions/"
_SCALAR = [{"type": "string"}, {"type": "number"}]

Schema = dict[str, Any]


def write(published: Mapping[str, Any], kinds: Iterable[tuple[str, str]], folder: Path) -> None:
    """Write the schema of each of these kinds, an apiVersion and a name, as `/openapi/v2` has them."""
    definitions = published["definitions"]
    places = {
        (one["group"], one["version"], one["kind"]): name
        for name, schema in definitions.items()
        for one in schema.get(_GROUP_VERSION_KIND, ())
    }
    for api_version, kind in kinds:
        group, _, version = api_version.rpartition("/")
        suffix = "-".join(part for part in (group.partition(".")[0], version) if part)
        place = places[group, version, kind]
        needed = {name: _strict(name, definitions[name]) for name in _needed(place, definitions)}
        whole = {"$ref": f"{_HERE}{place}", "definitions": needed}
        (folder / f"{kind.lower()}-{suffix}.json").write_text(json.dumps(whole))


def _needed(place: str, definitions: Schema) -> set[str]:
    """This definition, and those that it refers to, however far away."""
    found: set[str] = set()
    waiting = {place}
    while waiting:
        name = waiting.pop()
        found.add(name)
        referred = re.findall(rf'"{_HERE}([^"]+)"', json.dumps(definitions[name]))
        waiting |= set(referred) - found
    return found


def _strict(name: str, schema: Schema) -> Schema:
    """The same, refusing fields that it doesn't name. What may be a number or a text is published as a text."""
    if name.endswith((".Quantity", ".IntOrString")):
        return {"oneOf": _SCALAR}
    return _closed(schema)


def _closed(schema: Schema) -> Schema:
    found = {key: value for key, value in schema.items() if key != _GROUP_VERSION_KIND}
    if found.get("x-kubernetes-int-or-string"):
        return {"oneOf": _SCALAR}
    if "properties" in found:
        found["properties"] = {name: _closed(one) for name, one in found["properties"].items()}
        if not found.get("x-kubernetes-preserve-unknown-fields"):
            found.setdefault("additionalProperties", False)
    for part in ("items", "additionalProperties"):
        if isinstance(found.get(part), dict):
            found[part] = _closed(found[part])
    return found
