"""What is wrong with a spec, field by field, in kubectl's way of writing paths. `pipeline` and `offline` read it so.

Everything here is a pure function. No value stands in a finding: it may be a secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

Schema = Mapping[str, Any]
Location = tuple[int | str, ...]

_LIST = "must be a list"
_FIELDS = "must be a mapping of fields"
_SAYS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "is required",
    "string_type": lambda _: "must be text: put the value in quotes",
    "int_type": lambda _: "must be a whole number, without quotes",
    "int_from_float": lambda _: "must be a whole number",
    "bool_type": lambda _: "must be true or false, without quotes",
    "greater_than_equal": lambda limit: f"must be at least {limit['ge']}",
    "less_than_equal": lambda limit: f"must be at most {limit['le']}",
    "string_too_short": lambda limit: f"must have at least {limit['min_length']} characters",
    "string_too_long": lambda limit: f"must have at most {limit['max_length']} characters",
    "string_pattern_mismatch": lambda limit: f"must match {limit['pattern']}",
    "too_short": lambda limit: f"must have at least {limit['min_length']} entries",
    "too_long": lambda limit: f"must have at most {limit['max_length']} entries",
    "enum": lambda limit: f"must be one of {limit['expected']}",
    "list_type": lambda _: _LIST,
    "tuple_type": lambda _: _LIST,
    "dict_type": lambda _: _FIELDS,
    "mapping_type": lambda _: _FIELDS,
    "model_type": lambda _: _FIELDS,
    "value_error": lambda limit: str(limit["error"]),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One field that is wrong, and how to put it right."""

    field: str
    """Its path as kubectl writes it: `spec.channels[0].webhook.url`."""

    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


def read(error: ValidationError, schema: Schema, root: str = "spec") -> list[Finding]:
    """The findings of a model, each with what its field is for, as the schema at `root` describes it."""
    found: dict[str, Finding] = {}
    for one in error.errors(include_url=False, include_input=False):
        field, leaf = _walk(root, one["loc"], schema)
        # A list is too short for pydantic when what is wrong in it is taken out.
        if one["type"] != "too_short" or not any(name.startswith(f"{field}[") for name in found):
            found.setdefault(field, Finding(field, _with_help(_said(one, leaf), leaf)))
    return list(found.values())


def unknown(field: str, name: str, known: Sequence[str]) -> Finding:
    """A field that is not in the schema; `field` is the path of what it stands in."""
    close = get_close_matches(name, known, n=1)
    advice = f"did you mean {close[0]}?" if close else f"known here: {', '.join(sorted(known))}"
    return Finding(joined(field, name), f"unknown field: {advice}")


def joined(field: str, name: int | str) -> str:
    """The path of what stands in `field` under this name, or at this place."""
    if isinstance(name, int):
        return f"{field}[{name}]"
    plain = name.replace("-", "").replace("_", "").isalnum()
    if not plain:
        return f"{field}[{name}]"
    return f"{field}.{name}" if field else name


def _walk(field: str, location: Location, schema: Schema) -> tuple[str, Schema]:
    """The path of a place, and its schema. What pydantic adds to a location is no field, and ends it."""
    for step, inner in _steps(location, schema):
        field, schema = joined(field, step), inner
    return field, schema


def _steps(location: Location, schema: Schema) -> Iterator[tuple[int | str, Schema]]:
    for step in location:
        inner: Any
        if isinstance(step, int):
            inner = schema.get("items")
        else:
            inner = schema.get("properties", {}).get(step, schema.get("additionalProperties"))
        if not isinstance(inner, Mapping) or step == "[key]":
            return
        yield step, inner
        schema = inner


def _said(one: Mapping[str, Any], leaf: Schema) -> str:
    if "x-kubernetes-int-or-string" in leaf:
        # Neither of the two that it may be: the rule names both.
        message: str = leaf["x-kubernetes-validations"][0]["message"]
        return message
    if one["loc"] and one["loc"][-1] == "[key]":
        return f"the key {one['loc'][-2]} is wrong: it {_words(one)}"
    return _words(one)


def _words(one: Mapping[str, Any]) -> str:
    say = _SAYS.get(one["type"])
    words: str = one["msg"] if say is None else say(one.get("ctx", {}))
    return words


def _with_help(words: str, leaf: Schema) -> str:
    description = leaf.get("description")
    # What is said of a whole object says nothing of the field that is wrong in it.
    if not description or "properties" in leaf:
        return words
    return f"{words}. {description}"
