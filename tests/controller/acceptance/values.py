"""Values for a schema of the CRD: what it allows, what lies just beyond, and what is of another kind altogether.

`specs` puts them together. Nothing here knows a field by name: what a text or a key may be is told by its pattern.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

from hypothesis import Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from notification_dispatcher.schema import DNS_LABEL, DURATION_PATTERN
from notification_operator.spec.values import LINK
from tests.controller.acceptance import samples

Schema = Mapping[str, Any]
T = TypeVar("T")
Draw = Callable[[SearchStrategy[Any]], Any]

_TEXTS: Mapping[str, Sequence[str]] = {
    DNS_LABEL: samples.NAMES,
    DURATION_PATTERN: samples.DURATIONS,
    LINK: samples.LINKS,
}


def one_of(draw: Draw, options: Sequence[T]) -> T:
    """One of these; the first is the simplest."""
    # Ten times as fast as a strategy of their own for each choice.
    return options[up_to(draw, len(options) - 1)]


def some_of(draw: Draw, options: Sequence[T], most: int) -> Sequence[T]:
    """Up to so many of these, none twice."""
    if not options:
        return ()
    return tuple(dict.fromkeys(one_of(draw, options) for _ in range(up_to(draw, most))))


def up_to(draw: Draw, most: int) -> int:
    """A number from 0 on."""
    number: int = draw(_numbers(most))
    return number


@cache
def _numbers(most: int) -> SearchStrategy[int]:
    return st.integers(0, most)


def prepare(schema: Schema) -> None:
    """Draw the texts that a schema allows, before values of it are drawn."""
    if "pattern" in schema and "x-kubernetes-int-or-string" not in schema:
        _texts(schema)


def allowed(draw: Draw, schema: Schema) -> Any:
    """A value that the schema takes, but for rules that go beyond one field."""
    if "enum" in schema:
        return one_of(draw, schema["enum"])
    if "x-kubernetes-int-or-string" in schema:
        return one_of(draw, samples.SOUND_QUANTITIES)
    return _ALLOWED[schema["type"]](draw, schema)


def beyond(draw: Draw, schema: Schema) -> Any:
    """A value at the schema's edge, or across it."""
    if "enum" in schema:
        word = one_of(draw, schema["enum"])
        return one_of(draw, (word.lower(), word.upper(), f"{word}s", f" {word}", word[:-1], ""))
    if "x-kubernetes-int-or-string" in schema:
        return one_of(draw, samples.QUANTITIES)
    return _BEYOND[schema["type"]](draw, schema)


def of_another_kind(draw: Draw, _schema: Schema) -> Any:
    """A value of any kind."""
    return one_of(draw, samples.OTHER_KINDS)


def _list(draw: Draw, schema: Schema) -> list[Any]:
    least, most = schema.get("minItems", 0), schema["maxItems"]
    count = least + up_to(draw, min(most - least, 2))
    return [allowed(draw, schema["items"]) for _ in range(count)]


def _list_beyond(draw: Draw, schema: Schema) -> list[Any]:
    one = allowed(draw, schema["items"])
    least, most = schema.get("minItems", 0), schema["maxItems"]
    count = one_of(draw, (max(least - 1, 0), least, 2, most, most + 1))
    different = one_of(draw, (False, True))
    items = [_numbered(one, number, schema) if different else one for number in range(count)]
    return [*items, one_of(draw, samples.OTHER_KINDS)] if up_to(draw, 5) == 5 else items


def _numbered(one: Any, number: int, schema: Schema) -> Any:
    """The same again, told apart where the list must have no two of a kind."""
    if isinstance(one, str):
        return f"a{number}"
    key = (schema.get("x-kubernetes-list-map-keys") or [None])[0]
    return {**one, key: f"a{number}"} if isinstance(one, dict) and key else one


def _object(draw: Draw, schema: Schema) -> dict[str, Any]:
    if values := schema.get("additionalProperties"):
        return {
            key: allowed(draw, values) for key in some_of(draw, samples.SOUND_KEYS, min(2, schema["maxProperties"]))
        }
    properties, required = schema["properties"], schema.get("required", ())
    chosen = {*required, *some_of(draw, sorted(properties), 3)}
    return {name: allowed(draw, properties[name]) for name in sorted(chosen)}


def _object_beyond(draw: Draw, schema: Schema) -> dict[str, Any]:
    if values := schema.get("additionalProperties"):
        if up_to(draw, 5) == 5:
            one, most = allowed(draw, values), schema["maxProperties"]
            return {f"a{number}": one for number in range(one_of(draw, (most, most + 1)))}
        return {key: one_of(draw, (allowed, beyond))(draw, values) for key in some_of(draw, samples.KEYS, 2)}
    value = _object(draw, schema)
    match up_to(draw, 2):
        case 0:
            return {
                **value,
                one_of(draw, ("nonsense", "Name", "", "x-y")): one_of(draw, samples.OTHER_KINDS),
            }
        case 1 if value:
            del value[one_of(draw, sorted(value))]
        case _ if schema["properties"]:
            value[one_of(draw, sorted(schema["properties"]))] = one_of(draw, (None, {}, [], ""))
    return value


def _integer(draw: Draw, schema: Schema) -> int:
    least, most = schema["minimum"], schema["maximum"]
    number: int = one_of(draw, (least, most, (least + most) // 2, min(least + 1, most), max(most - 1, least)))
    return number


def _integer_beyond(draw: Draw, schema: Schema) -> Any:
    least, most = schema["minimum"], schema["maximum"]
    return one_of(draw, (least, most, least - 1, most + 1, -least, 2**31, 2**63, float(most), most - 0.5, str(least)))


def _text(draw: Draw, schema: Schema) -> str:
    return one_of(draw, _texts(schema))


def _texts(schema: Schema) -> Sequence[str]:
    return _matching(schema["pattern"], schema.get("minLength", 0), min(schema["maxLength"], 40))


def _text_beyond(draw: Draw, schema: Schema) -> str:
    text, most = _text(draw, schema), schema["maxLength"]
    match up_to(draw, 3):
        case 0:
            at = up_to(draw, len(text))
            return text[:at] + one_of(draw, samples.ODD_CHARACTERS) + text[at:]
        case 1:
            return one_of(draw, (*_stretched(schema["pattern"], most), *_stretched(schema["pattern"], most + 1)))
        case 2:
            return one_of(draw, ("", "\n", f"{text}\n", text.upper(), text[1:], text * 2, f" {text}"))
        case _:
            return one_of(
                draw, (*_TEXTS.get(schema["pattern"], ()), *samples.EXPRESSIONS, "é", "a", "9", "{{", "{% x %}")
            )


@cache
def _matching(pattern: str, least: int, most: int) -> Sequence[str]:
    """Texts that match, of a sensible length, the shortest first.

    Drawn once for each pattern, before the values are: to draw a text letter by letter takes longer than all the rest.
    """
    if pattern in _TEXTS:
        return [text for text in _TEXTS[pattern] if re.fullmatch(pattern, text)]
    if "[:" in pattern:
        return samples.SOUND_EXPRESSIONS
    found: set[str] = set()

    @seed(pattern)
    @settings(max_examples=_TEXTS_DRAWN, phases=[Phase.generate], database=None, deadline=None)
    # `$` of Python's expressions lets a newline through at the end.
    @given(st.from_regex(re.compile(pattern.removesuffix("$") + r"\Z"), alphabet=_ALPHABET))
    def collect(text: str) -> None:
        found.add(text[:most])

    collect()
    return sorted((text for text in found if len(text) >= least and re.fullmatch(pattern, text)), key=len)


_TEXTS_DRAWN = 60
_ALPHABET = st.characters(codec="ascii") | st.sampled_from("é\u2028\U0001f600")


@cache
def _stretched(pattern: str, length: int) -> Sequence[str]:
    """Texts of just this length that match as far as that can be guessed."""
    guesses = (
        ("", "a"),
        ("", "9"),
        ("", "A"),
        ("https://", "a"),
        ("a@", "b"),
        ("94.", "1"),
        ("", "1s"),
        ("", "a_"),
        ("a/", "b"),
    )
    texts = [start + (rest * length)[: length - len(start)] for start, rest in guesses]
    return [text for text in texts if re.fullmatch(pattern, text)] or texts[:1]


_ALLOWED: Mapping[str, Callable[[Draw, Schema], Any]] = {
    "object": _object,
    "array": _list,
    "integer": _integer,
    "string": _text,
    "boolean": lambda draw, _: one_of(draw, (False, True)),
}
_BEYOND: Mapping[str, Callable[[Draw, Schema], Any]] = {
    "object": _object_beyond,
    "array": _list_beyond,
    "integer": _integer_beyond,
    "string": _text_beyond,
    "boolean": of_another_kind,
}
