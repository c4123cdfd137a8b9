"""Reads YAML as kubectl does, and more strictly: what a value is follows kubectl's rules, and no key may stand twice.

`documents` calls `read`. PyYAML's own rules differ: `1:30` is a number to it, `1e3` is text and a date is a date, where
kubectl sees text, a number and text. A number without a fraction is a whole one, as it is in JSON.
Source: https://github.com/yaml/go-yaml/tree/v2, https://github.com/kubernetes-sigs/yaml
"""

from __future__ import annotations

import binascii
import math
import re
from base64 import b64decode
from collections.abc import Iterator
from typing import Any

import yaml

_PLAIN = "plain"
_TAG = "tag:yaml.org,2002:"
_TEXT = f"{_TAG}str"
_SCALARS: dict[str, tuple[type, ...]] = {
    _PLAIN: (object,),
    f"{_TAG}bool": (bool,),
    f"{_TAG}float": (int, float),
    f"{_TAG}int": (int,),
    f"{_TAG}null": (type(None),),
    f"{_TAG}timestamp": (str,),
}
"""What a tag allows a plain value to be."""
_MOST_VALUES = 1_000_000
"""Aliases of aliases can stand for more than any memory holds."""
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"), True),
    **dict.fromkeys(("n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"), False),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
    **dict.fromkeys((".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF"), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
}
_QUOTED = re.compile(r""" ('[^'<][^']{3,}'|"[^"<][^"]{3,}")""")
"""What a message repeats of the text: it may be a secret that begins with `*` or `!`, and is no alias and no tag."""
_INTEGER = re.compile(r"([-+]?)(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_POINT_FIRST = re.compile(r"\.[0-9]+(_[0-9]+)*([eE][-+]?[0-9]+)?")
_BASES = {"x": 16, "b": 2, "o": 8}


class YamlError(Exception):
    """A document that cannot be read; the message says where, and what is wrong."""


class _Loader(yaml.SafeLoader):
    """Builds nodes, and leaves to `_Reader` what they mean."""

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node that names none."""
        if kind is yaml.ScalarNode:
            return _PLAIN if implicit[0] else _TEXT
        tag: str = super().resolve(kind, value, implicit)  # type: ignore[no-untyped-call]
        return tag


def read(text: str) -> Iterator[Any]:
    """The documents of a stream, in the types of JSON; None for an empty one. Raises YamlError."""
    try:
        for node in yaml.compose_all(text, _Loader):
            yield _Reader().value(node)
    except yaml.MarkedYAMLError as error:
        problem = _QUOTED.sub(" …", error.problem or error.context or "not YAML")
        raise YamlError(_at(error.problem_mark, problem)) from None
    except yaml.YAMLError as error:
        raise YamlError(str(error).replace("\n", ", ")) from None


class _Reader:
    """Turns one document's nodes into values."""

    def __init__(self) -> None:
        self._values = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node) -> Any:
        """What a node stands for."""
        self._values += 1
        if self._values > _MOST_VALUES or id(node) in self._open:
            raise YamlError(_at(node.start_mark, "aliases that stand for too much"))
        if isinstance(node, yaml.ScalarNode):
            return _scalar(node)
        self._open.add(id(node))
        try:
            if isinstance(node, yaml.SequenceNode):
                return [self.value(item) for item in node.value]
            return self._mapping(node)
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag == _PLAIN and key.value == "<<":
                merged |= self._merged(item)
                continue
            name = self._key(key)
            if name in own:
                raise YamlError(_at(key.start_mark, f"the key {name} stands twice"))
            own[name] = self.value(item)
        return merged | own

    def _merged(self, node: yaml.Node) -> dict[str, Any]:
        found = self.value(node)
        parts = found if isinstance(found, list) else [found]
        if not all(isinstance(part, dict) for part in parts):
            raise YamlError(_at(node.start_mark, "only mappings can be merged with <<"))
        return {name: item for part in reversed(parts) for name, item in part.items()}

    def _key(self, node: yaml.Node) -> str:
        key = self.value(node) if isinstance(node, yaml.ScalarNode) else None
        if key is None:
            raise YamlError(_at(node.start_mark, "a key must be text"))
        return str(key).lower() if isinstance(key, bool) else str(key)


def _scalar(node: yaml.ScalarNode) -> Any:
    text: str = node.value
    if node.tag == _TEXT:
        return text
    if node.tag == f"{_TAG}binary":
        try:
            return b64decode(text).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise YamlError(_at(node.start_mark, "not base64 of text in UTF-8")) from None
    if node.tag not in _SCALARS:
        raise YamlError(_at(node.start_mark, "a tag that has no meaning here; text that begins with ! needs quotes"))
    value = _WORDS[text] if text in _WORDS else _number(text)
    if not isinstance(value, _SCALARS[node.tag]):
        raise YamlError(_at(node.start_mark, f"not what its tag {node.tag.removeprefix(_TAG)} says"))
    if isinstance(value, float) and not math.isfinite(value):
        raise YamlError(_at(node.start_mark, "no number that JSON knows"))
    return value


def _number(text: str) -> int | float | str:
    if text[0] not in "+-.0123456789" or (text[0] == "." and not _POINT_FIRST.fullmatch(text)):
        return text
    plain = text.replace("_", "")
    if found := _INTEGER.fullmatch(plain):
        sign, digits = found.groups()
        base = _BASES.get(digits[1:2].lower(), 8 if digits[0] == "0" else 10)
        size = int(digits.lower().removeprefix("0b").removeprefix("0o").removeprefix("0x"), base)
        whole = -size if sign == "-" else size
        if -(2**63) <= whole < 2**64:
            return whole
    number = float(plain) if _FLOAT.fullmatch(plain) else math.inf
    # What is too large for a number stays text.
    return _whole(number) if math.isfinite(number) else text


def _whole(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < 1e21 else number


def _at(mark: yaml.Mark | None, problem: str) -> str:
    return problem if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
