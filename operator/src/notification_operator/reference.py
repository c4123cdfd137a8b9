"""The reference of the custom resource, as Markdown, made from its definition.

`python -m notification_operator.reference FILE` writes it (`make generate`); a test fails when the committed file
differs. It says what `kubectl explain` says, and the limits and rules that `explain` leaves out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from notification_operator.crd import definition
from notification_operator.group import API_VERSION, KIND

Schema = Mapping[str, Any]

_INTRODUCTION = f"""# {KIND}

`apiVersion: {API_VERSION}`, `kind: {KIND}`, short name `npl`. Generated from the
resource's definition by `make generate`.

Durations are Go's, such as `90s`, `10m` or `1h30m`. A field that is required says so; all others may be left out. What
the API server refuses, it refuses with the field's name and one of the sentences below.
"""


def markdown() -> str:
    """The whole page."""
    schema = definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = (part for name in ("spec", "status") for part in _sections(name, schema["properties"][name]))
    return "\n".join([_INTRODUCTION, *parts])


def _sections(path: str, schema: Schema) -> Iterator[str]:
    """An object, then the objects within it."""
    inner = dict(_objects(path, schema))
    yield f"## {path}\n"
    if description := _words(schema):
        yield f"{description}\n"
    yield "| field | type | default | what it is |\n| --- | --- | --- | --- |"
    required = schema.get("required", ())
    for name, field in schema["properties"].items():
        place = f"{path}.{name}"
        default = "required" if name in required else _default(field)
        yield f"| `{name}` | {_type(place, field, inner)} | {_cell(default)} | {_cell(_words(field))} |"
    yield ""
    if rules := list(_rules(schema)):
        yield "\n".join(f"- {rule}" for rule in rules) + "\n"
    for place, one in inner.items():
        yield from _sections(place, one)


def _objects(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The objects with fields of their own that stand in this one, by their path."""
    for name, field in schema["properties"].items():
        place, found = f"{path}.{name}", field
        if field.get("type") == "array":
            place, found = f"{place}[]", field["items"]
        if "properties" in found:
            yield place, found


def _rules(schema: Schema) -> Iterator[str]:
    """What is refused: an object's own rules, and those of its fields that are no objects."""
    fields = {f"`{name}`: ": field for name, field in schema["properties"].items() if "properties" not in field}
    for whose, one in {"": schema, **fields}.items():
        for rule in one.get("x-kubernetes-validations", ()):
            yield f"{whose}{rule['message']}."


def _type(place: str, field: Schema, inner: Mapping[str, Schema]) -> str:
    if "x-kubernetes-int-or-string" in field:
        return "integer or string"
    kind = str(field["type"])
    if kind == "array":
        items = field["items"]
        of = _link(f"{place}[]") if f"{place}[]" in inner else _type(place, items, inner)
        return _limited(f"list of {of}", field, "minItems", "maxItems", "entries")
    if kind == "object" and place in inner:
        return _link(place)
    if kind == "object":
        return _limited("map of strings", field, "minProperties", "maxProperties", "entries")
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if kind == "string":
        return _limited(kind, field, "minLength", "maxLength", "characters")
    return _limited(kind, field, "minimum", "maximum")


def _limited(kind: str, field: Schema, least: str, most: str, unit: str = "") -> str:
    low, high = field.get(least), field.get(most)
    words = {
        (True, True): f"{low} to {high:,}" if isinstance(high, int) else "",
        (True, False): f"at least {low}",
        (False, True): f"at most {high:,}" if isinstance(high, int) else "",
    }.get((low is not None, high is not None), "")
    return f"{kind}, {words} {unit}".rstrip() if words else kind


def _link(place: str) -> str:
    anchor = place.lower().translate({ord(character): None for character in ".[]"})
    return f"[object](#{anchor})"


def _default(field: Schema) -> str:
    value = field.get("default")
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if isinstance(value, (int, str)) else ""


def _words(field: Schema) -> str:
    """The description, without the default that stands in a column of its own."""
    text = str(field.get("description", ""))
    return text.rpartition(" Default: ")[0] if _default(field) and " Default: " in text else text


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ")


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(markdown())
