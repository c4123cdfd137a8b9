"""Reads the files that `-f` names: YAML or JSON, several documents in each, `-` for standard input, and Lists opened.

`commands` and `dev` call `read`. What cannot be read is a finding like any other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from notification_operator.findings import Finding
from notification_operator.offline import yaml_reader
from notification_operator.offline.yaml_reader import YamlError

STANDARD_INPUT = "-"
_SHOWN = "standard input"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: a file, and the number of a document in it, from 1 (0: nowhere in particular)."""

    file: str
    document: int = 0

    def __str__(self) -> str:
        return f"{self.file}, document {self.document}" if self.document else self.file


@dataclass(frozen=True, slots=True)
class Document:
    """One object of a file."""

    place: Place
    content: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """Its kind as it says it; empty if it doesn't."""
        return str(self.content.get("kind") or "")

    @property
    def api_version(self) -> str:
        """Its apiVersion as it says it; empty if it doesn't."""
        return str(self.content.get("apiVersion") or "")

    @property
    def name(self) -> str:
        """Its name as it says it; empty if it doesn't."""
        metadata = self.content.get("metadata")
        return str(metadata.get("name") or "") if isinstance(metadata, Mapping) else ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What is no document."""

    place: Place
    finding: Finding


def read(files: Iterable[str], standard_input: IO[bytes] | None = None) -> Iterator[Document | Unreadable]:
    """Every object of the files, in order. Without `standard_input`, `-` is a file like any other."""
    for file in files:
        try:
            if file == STANDARD_INPUT and standard_input is not None:
                yield from parse(_SHOWN, standard_input.read())
            else:
                yield from parse(file, Path(file).read_bytes())
        except OSError as error:
            yield Unreadable(Place(file), Finding("", f"cannot be read: {error.strerror}"))


def parse(file: str, content: bytes) -> Iterator[Document | Unreadable]:
    """Every object of one file's content."""
    number = 0
    try:
        for number, document in enumerate(_values(content.decode("utf-8-sig")), start=1):
            if document is not None:
                yield from _objects(Place(file, number), document)
    except UnicodeDecodeError as error:
        yield Unreadable(Place(file), Finding("", f"is not text in UTF-8: byte {error.start + 1}"))
    except YamlError as error:
        yield Unreadable(Place(file, number + 1), Finding("", str(error)))


def _values(text: str) -> Iterator[Any]:
    values = _json(text) if text.lstrip().startswith("{") else None
    return yaml_reader.read(text) if values is None else iter(values)


def _json(text: str) -> list[Any] | None:
    """The JSON objects of a text; None where it isn't JSON alone, and so must be YAML."""
    decoder = json.JSONDecoder(object_pairs_hook=_once, parse_float=_number, parse_constant=_refused)
    found, rest = [], text.strip()
    while rest:
        try:
            value, end = decoder.raw_decode(rest)
        except ValueError:
            return None
        found.append(value)
        rest = rest[end:].lstrip()
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {}
    for name, value in pairs:
        if name in made:
            raise YamlError(f"the key {name} stands twice")
        made[name] = value
    return made


def _number(text: str) -> int | float:
    number = float(text)
    return int(number) if number.is_integer() else number


def _refused(text: str) -> Any:
    raise YamlError(f"{text} is no number that JSON knows")


def _objects(place: Place, document: Any) -> Iterator[Document | Unreadable]:
    if not isinstance(document, dict):
        yield Unreadable(place, Finding("", "must be an object with apiVersion, kind, metadata and spec"))
    elif document.get("kind") == "List" and isinstance(document.get("items"), list):
        for item in document["items"]:
            yield from _objects(place, item)
    else:
        yield Document(place, document)
