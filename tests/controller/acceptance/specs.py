"""Whole specs: a sound one, with some of its fields changed. Each field of the schema is changed in some.

`test_acceptance_fuzz` draws them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

from hypothesis import strategies as st

from notification_operator.crd import spec_schema
from notification_operator.naming import LONGEST_NAME
from tests.controller.acceptance import values
from tests.controller.acceptance.values import Draw, Schema, allowed, beyond, of_another_kind, one_of
from tests.controller.pipelines import PERSISTENT, POSTGRESQL, SHAPED, manifest

_ITEM = "[]"
_ANY_KEY = "{}"


Kind = Callable[[Draw, Schema], Any]


class Place(NamedTuple):
    """A field of the spec: the way to it, and its schema."""

    way: tuple[str, ...]
    schema: Schema

    def __str__(self) -> str:
        return ".".join(("spec", *self.way))


def _places(schema: Schema, way: tuple[str, ...]) -> Iterator[Place]:
    yield Place(way, schema)
    for name, inner in schema.get("properties", {}).items():
        yield from _places(inner, (*way, name))
    for key, step in (("items", _ITEM), ("additionalProperties", _ANY_KEY)):
        if isinstance(schema.get(key), Mapping):
            yield from _places(schema[key], (*way, step))


PLACES: Sequence[Place] = tuple(_places(spec_schema(), ()))
"""Every field that a spec can have; the first is the spec itself."""

_REF = {"name": "a", "key": "b"}
_MAIL = {"smtpURLSecretRef": _REF, "from": "a@example.com", "to": ["{{ payload.email }}"]}
_CHANNELS = [
    {
        "name": "crm",
        "webhook": {"url": "https://crm.example.com", "headers": {"X-A": "b"}},
        "rateLimit": {"perSecond": 5},
    },
    {"name": "own", "webhook": {"urlSecretRef": _REF, "signingSecretRef": _REF}},
    {"name": "team", "slack": {"webhookSecretRef": _REF, "text": "{{ type }}"}},
    {"name": "mail", "email": _MAIL},
    {"name": "any", "apprise": {"urlSecretRef": _REF, "text": "{{ type }}"}},
]
_STEPS = [
    {"action": "drop", "sourceLabels": ["__name__"], "regex": "python_.+"},
    {"action": "labeldrop", "regex": "pod"},
    {"action": "hashmod", "sourceLabels": ["instance"], "targetLabel": "shard", "modulus": 4},
    {"sourceLabels": ["a", "b"], "separator": "", "targetLabel": "c", "replacement": "$1", "regex": "(.*)"},
]
_MONITORED = {
    "alerts": {"mode": "Both", "slack": {"webhookSecretRef": _REF}, "rules": {"NotificationHighWait": {"for": "0s"}}},
    "monitoring": {"serviceMonitor": {"metricRelabelings": _STEPS}, "prometheusRule": {"slo": {"objective": "99.9"}}},
    "dashboard": {"labels": {"a": "b"}, "annotations": {"c": "d"}},
}
_ROUTED = {
    "channels": _CHANNELS,
    "jobTypes": [
        {"name": "booking-created", "channels": ["crm", "mail"], "retry": {"maxAttempts": 2}, "timeout": "5s"}
    ],
}
_CHANGES: Sequence[Mapping[str, Any]] = (
    {},
    _ROUTED,
    _MONITORED,
    SHAPED,
    PERSISTENT,
    {**POSTGRESQL, "replicas": 3},
    {**POSTGRESQL, "autoscaling": {"minReplicas": 2}},
    {"queue": {"persistence": {"existingClaim": "mine"}}},
)
BASES: Sequence[Mapping[str, Any]] = tuple({**manifest()["spec"], **change} for change in _CHANGES)
"""Specs that are sound, and between them have most of what there is."""


def _reached(value: Any, way: Sequence[str]) -> int:
    """How many steps of the way there are in a value."""
    if not way:
        return 0
    step, *rest = way
    if isinstance(value, list):
        below = value
    elif isinstance(value, Mapping):
        below = list(value.values()) if step == _ANY_KEY else [value[name] for name in (step,) if name in value]
    else:
        below = []
    return max((1 + _reached(inner, rest) for inner in below), default=0)


@cache
def _fitting(way: tuple[str, ...]) -> Sequence[Mapping[str, Any]]:
    """The bases that reach furthest on the way to a place: there, a change of it has the best chance to be sound."""
    furthest = max(_reached(base, way) for base in BASES)
    return [base for base in BASES if _reached(base, way) == furthest]


_NAMES = ("a", "booking", "a" * LONGEST_NAME, "a-config", f"a{'-' * (LONGEST_NAME - 2)}a")
_ODD_NAMES = ("a" * (LONGEST_NAME + 1), "1a", "a.b", "-a", "a-", "A", "a_b", "a\n", "é", "a" * 254)


def _change(draw: Draw, spec: dict[str, Any], place: Place, kind: Kind) -> None:
    """Give the field at this place another value, with all that must be around it."""
    value = kind(draw, place.schema)
    node: Any = spec
    schema: Schema = spec_schema()
    for step, following in pairwise(place.way):
        schema = _below(schema, step)
        node = _entered(draw, node, step, following, schema)
        if node is None:
            return
    last = place.way[-1]
    if last == _ITEM and isinstance(node, list):
        node[:] = [*node[:1], value] if one_of(draw, (False, True)) else [value]
    elif isinstance(node, dict):
        node[one_of(draw, ("a", "team", "NotificationHighWait")) if last == _ANY_KEY else last] = value


def _kind(draw: Draw) -> Kind:
    return one_of(draw, (*(allowed,) * 5, *(beyond,) * 3, of_another_kind))


def _below(schema: Schema, step: str) -> Schema:
    found: Schema = (
        schema["items"] if step == _ITEM else schema.get("properties", {}).get(step) or schema["additionalProperties"]
    )
    return found


def _entered(draw: Draw, node: Any, step: str, following: str, schema: Schema) -> Any:
    """What stands at this step of the way, made if it isn't there; None where an earlier change made it impassable."""
    if isinstance(node, list):
        if not node:
            node.append(_least(draw, schema))
        fitting = [item for item in node if isinstance(item, dict) and following in item]
        found = one_of(draw, fitting or node)
    elif isinstance(node, dict):
        key = (next(iter(node), None) or _some_key(schema)) if step == _ANY_KEY else step
        if key not in node:
            node[key] = _least(draw, schema)
        found = node[key]
    else:
        return None
    return found if isinstance(found, list if schema.get("type") == "array" else dict) else None


def _some_key(schema: Schema) -> str:
    return "NotificationHighWait" if "severity" in schema.get("properties", {}) else "a"


def _least(draw: Draw, schema: Schema) -> Any:
    """The smallest value: an empty list or map, an object with what it must have."""
    match schema.get("type"):
        case "array":
            return [_least(draw, schema["items"]) for _ in range(schema.get("minItems", 0))]
        case "object":
            return {name: _least(draw, schema["properties"][name]) for name in schema.get("required", ())}
        case _:
            return allowed(draw, schema)


def prepare() -> None:
    """What takes long and is the same for all pipelines."""
    for place in PLACES:
        values.prepare(place.schema)


@st.composite
def pipelines(draw: Draw, place: Place) -> dict[str, Any]:
    """A manifest, sound or not, with something of its own at this place."""
    spec = copy.deepcopy(dict(one_of(draw, one_of(draw, (_fitting(place.way), BASES)))))
    if place.way:
        for other in [one_of(draw, PLACES[1:]) for _ in range(one_of(draw, (0, 1, 0, 2)))]:
            _change(draw, spec, other, allowed)
        _change(draw, spec, place, _kind(draw))
    else:
        spec = _kind(draw)(draw, place.schema)
    name = one_of(draw, (*("booking",) * 60, *_NAMES, *_ODD_NAMES))
    return manifest(name) | {"spec": spec}
